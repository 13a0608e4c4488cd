package agent

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/agent/agenttest"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
	"github.com/aws-multi-eni/aws-multi-eni/internal/podnetwork"
)

const resourceX, resourceY = v1alpha1.PodResourcePrefix + "x", v1alpha1.PodResourcePrefix + "y"

// networkFor offers the addresses of that many IPv4 prefixes to pods.
func networkFor(nodeENI string, ready bool, prefixes int) podnetwork.Network {
	e := podnetwork.ENI{Ready: ready}
	for i := range prefixes {
		e.Ranges = append(e.Ranges, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(16 * i)}), 28))
	}
	return podnetwork.Network{NodeENI: nodeENI, NodeENIUID: nodeENI, ENIs: []podnetwork.ENI{e}}
}

func (c resourceChange) String() string {
	var words []string
	for _, name := range slices.Sorted(maps.Keys(c)) {
		words = append(words, fmt.Sprintf("%s=%s", strings.TrimPrefix(name, v1alpha1.PodResourcePrefix), c[name]))
	}
	return strings.Join(words, ", ")
}

func TestChangeResources(t *testing.T) {
	const long = "a-name-of-seventy-characters-is-more-than-a-label-may-have-of-such-text"
	all := func(state readinessState, names ...string) map[types.UID]nodeENIReadiness {
		all := map[types.UID]nodeENIReadiness{}
		for _, name := range names {
			all[types.UID(name)] = nodeENIReadiness{nodeENI: name, state: state}
		}
		return all
	}
	networks := func(all ...podnetwork.Network) []podnetwork.Network { return all }
	shown := func(x string) kube.PodResources { return kube.PodResources{resourceX: x} }
	none := kube.PodResources{}
	// 62 prefixes and an ENI with its own address only.
	thousand := networkFor("x", true, 62)
	for range 8 {
		thousand.ENIs = append(thousand.ENIs, podnetwork.ENI{Ready: true, Addresses: []netip.Addr{netip.IPv4Unspecified()}})
	}
	for name, test := range map[string]struct {
		shown    kube.PodResources
		all      map[types.UID]nodeENIReadiness // all for pods but for those named plain
		networks []podnetwork.Network
		want     string
	}{
		"nothing to do":                     {none, nil, nil, ""},
		"it is ready":                       {none, all(allReady, "x"), networks(networkFor("x", true, 1)), "x=16"},
		"and shown":                         {shown("16"), all(allReady, "x"), networks(networkFor("x", true, 1)), ""},
		"it has grown":                      {shown("16"), all(allReady, "x"), networks(networkFor("x", true, 2)), "x=32"},
		"the kubelet has set it to 0":       {shown("0"), all(allReady, "x"), networks(networkFor("x", true, 1)), "x=16"},
		"two NodeENIs":                      {none, all(allReady, "x", "y"), networks(networkFor("x", true, 1), networkFor("y", true, 2)), "x=16, y=32"},
		"only one differs":                  {shown("16"), all(allReady, "x", "y"), networks(networkFor("x", true, 1), networkFor("y", true, 2)), "y=32"},
		"a thousand as the server words it": {shown("1k"), all(allReady, "x"), networks(thousand), ""},
		"not a thousand":                    {shown("1M"), all(allReady, "x"), networks(thousand), "x=1k"},
		"a long name":                       {none, all(allReady, long), networks(networkFor(long, true, 1)), long[:52] + "-2f0c969b6a=16"},

		"not ready yet":         {none, all(notReady, "x"), networks(networkFor("x", false, 1)), ""},
		"no longer":             {shown("16"), all(notReady, "x"), networks(networkFor("x", false, 1)), "x=0"},
		"and shown as 0":        {shown("0"), all(notReady, "x"), networks(networkFor("x", false, 1)), ""},
		"not for a moment":      {shown("16"), all(degraded, "x"), networks(networkFor("x", false, 1)), ""},
		"it is not known":       {shown("16"), all(degraded, "x"), nil, ""},
		"it is not known yet":   {shown("16"), all(allReady, "x"), nil, ""},
		"nor of a former one":   {shown("16"), all(notReady, "x"), networks(podnetwork.Network{NodeENI: "x", NodeENIUID: "former"}), ""},
		"one of its two is not": {shown("32"), all(notReady, "x"), networks(podnetwork.Network{NodeENI: "x", NodeENIUID: "x", ENIs: append(networkFor("x", true, 1).ENIs, networkFor("x", false, 1).ENIs...)}), "x=16"},

		"it does not select the node": {shown("16"), nil, nil, "x="},
		"nor is it for pods":          {kube.PodResources{v1alpha1.PodResource("plain"): "16"}, all(degraded, "plain"), nil, "plain="},
		"another takes its place":     {shown("16"), all(allReady, "y"), networks(networkFor("y", true, 1)), "x=, y=16"},
		"0 of one that has gone":      {shown("0"), nil, nil, "x="},

		"the kubelet has reported nothing yet": {nil, all(allReady, "x"), networks(networkFor("x", true, 1)), ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := Snapshot{NodeExists: true, NodeUID: "1", Resources: test.shown}
			forPods := map[types.UID]string{}
			for uid, r := range test.all {
				if r.nodeENI != "plain" {
					forPods[uid] = r.nodeENI
				}
			}
			if got := changeResources(s, test.all, forPods, test.networks).String(); got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
			for _, s := range []Snapshot{
				{Resources: test.shown}, {NodeExists: true, Incomplete: true, Resources: test.shown},
				{NodeExists: true, NodeProblem: "another instance", Resources: test.shown},
			} {
				if got := changeResources(s, test.all, forPods, test.networks); len(got) > 0 {
					t.Errorf("%v, although not all is known: %+v", got, s)
				}
			}
		})
	}
}

// TestStatusPatch applies patches as an API server does.
func TestStatusPatch(t *testing.T) {
	change := resourceChange{resourceX: "16", resourceY: ""}
	const before = `{"metadata":{"uid":"1"},"status":{"capacity":{"cpu":"2","networking.k8s.aws/y":"1"},"allocatable":{"cpu":"2"}}}`
	const done = `{"metadata":{"uid":"1"},"status":{"capacity":{"cpu":"2","networking.k8s.aws/x":"16"},"allocatable":{"cpu":"2"}}}`
	for name, test := range map[string]struct{ node, want string }{
		"nothing has changed":     {before, done},
		"others have changed":     {strings.Replace(before, `"2"`, `"4"`, 2), strings.Replace(done, `"2"`, `"4"`, 2)},
		"it is there already":     {strings.Replace(before, `{"cpu"`, `{"networking.k8s.aws/x":"0","cpu"`, 1), done},
		"what goes has gone":      {strings.Replace(before, `,"networking.k8s.aws/y":"1"`, "", 1), ""},
		"another Node":            {strings.Replace(before, `"uid":"1"`, `"uid":"2"`, 1), ""},
		"a Node without a status": {`{"metadata":{"uid":"1"}}`, ""},
	} {
		patch, err := jsonpatch.DecodePatch(change.patch(Snapshot{NodeUID: "1"}))
		if err != nil {
			t.Fatal(err)
		}
		got, err := patch.Apply([]byte(test.node))
		switch {
		case test.want == "" && err == nil:
			t.Errorf("%s: %s becomes %s", name, test.node, got)
		case test.want != "" && (err != nil || !jsonpatch.Equal(got, []byte(test.want))):
			t.Errorf("%s: %s becomes %s (%v), want %s", name, test.node, got, err, test.want)
		}
	}
}

// advertiser is an agent whose NodeENI x has 16 addresses for pods, and a Node that does
// not show it.
func advertiser(p *patcher) (*Agent, *agenttest.Recorder, *strings.Builder) {
	a, events, logged := shower(p)
	a.NodeReadiness = NodeReadiness{PodResources: true, Patcher: p}
	a.selection.snapshot.Resources = kube.PodResources{}
	a.desired.pods = map[types.UID]string{"x": "x"}
	a.node.offer([]podnetwork.Network{networkFor("x", true, 1)})
	return a, events, logged
}

const patchX = `[{"op":"test","path":"/metadata/uid","value":"1"},{"op":"add","path":"/status/capacity/networking.k8s.aws~1x","value":"16"}]`

// One change is one patch of the status, and nothing else of the Node is patched.
func TestOneStatusPatchPerChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &patcher{}
		a, events, logged := advertiser(p)
		a.updateNode(t, false)
		for range 3 {
			a.updateNode(t, true)
			synctest.Wait()
		}
		(<-a.calls.results)()
		if !slices.Equal(p.patches, []string{patchX}) || !slices.Equal(p.parts, []string{"status"}) {
			t.Errorf("patches %s of %q\nwant one of the status, %s", p.patches, p.parts, patchX)
		}
		if len(events.Reasons) > 0 || strings.Count(logged.String(), "changed the extended resources of the Node") != 1 {
			t.Errorf("Events %v, log %s", events.Reasons, logged)
		}
		a.selection.snapshot.Resources[resourceX] = "16"
		if a.show(t); len(p.patches) != 1 {
			t.Errorf("patched again: %s", p.patches)
		}
	})
}

// Before EC2 has answered it is not known what the node has, and what the Node shows stays.
func TestResourcesStayUntilEC2Answers(t *testing.T) {
	p := &patcher{}
	a, _, _ := advertiser(p)
	a.selection.snapshot.Resources[resourceY] = "1"
	a.node.take(a.desired, a.reporter.current.ENIs, false, time.Now())
	if a.node.update(t.Context(), a.selection.snapshot, true, time.Now()); a.calls.busy(statusPart.key) {
		t.Error("the Node is patched before EC2 has answered")
	}
}

// A kubelet that registers its Node again sets the resource to 0; it is set again at once. A
// client that does so without end gets an answer every few seconds, and people are told.
func TestResourceThatIsSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &patcher{}
		a, events, logged := advertiser(p)
		live := func(d time.Duration, setBack bool) {
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
				made := len(p.patches)
				a.show(t)
				if len(p.patches) > made {
					a.selection.snapshot.Resources[resourceX] = map[bool]string{true: "0", false: "16"}[setBack]
				}
			}
		}
		live(time.Second, false)
		for range 20 { // kubelets, over the years
			a.selection.snapshot.Resources[resourceX] = "0"
			made := len(p.patches)
			if a.show(t); len(p.patches) != made+1 {
				t.Fatal("a kubelet has set the resource to 0, and it is not set again at once")
			}
			a.selection.snapshot.Resources[resourceX] = "16"
			time.Sleep(2 * time.Minute)
		}
		if len(events.Reasons) > 0 || strings.Contains(logged.String(), "WARN") {
			t.Fatalf("Events %v, log %s", events.Reasons, logged)
		}
		made := len(p.patches)
		a.selection.snapshot.Resources[resourceX] = "0"
		live(10*time.Minute, true)
		// Eight at first, then one every 2.5 to 5 s.
		if n := len(p.patches) - made; n < 600/5 || n > 8+600*2/5 {
			t.Errorf("%d patches in ten minutes", n)
		}
		if !slices.Equal(events.Reasons, []string{"NodeNotPatched"}) || !strings.Contains(logged.String(), "another client keeps reverting them") {
			t.Errorf("Events %v, log\n%s", events.Reasons, logged)
		}
	})
}

// What may not be patched is told with what allows it, and holds up no other patch.
func TestStatusMayNotBePatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &patcher{errs: []error{forbidden, forbidden}}
		a, events, logged := advertiser(p)
		for range 3 {
			a.show(t)
			time.Sleep(time.Minute)
		}
		if len(p.patches) != 3 || !slices.Equal(events.Reasons, []string{"NodeNotPatched"}) || strings.Count(logged.String(), "manifests/pods") != 1 {
			t.Errorf("%d patches, Events %v, log\n%s", len(p.patches), events.Reasons, logged)
		}
		a.NodeReadiness.Labels = true
		a.failures.Failed(statusPart.key, forbidden, time.Now())
		if a.show(t); len(p.patches) != 4 || p.parts[3] != "" {
			t.Errorf("the labels wait for the status: patches of %q", p.parts)
		}
	})
}

// A NodeENI whose ENIs are not ready keeps its resource for as long as its label, and then
// has 0; the agent wakes for that.
func TestResourcesFade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &patcher{}
		a, _, _ := advertiser(p)
		a.selection.read = true
		a.selection.snapshot.Resources[resourceX] = "16"
		a.show(t)
		a.reporter.current.ENIs = entriesIn(v1alpha1.PhaseAttaching)
		a.node.offer([]podnetwork.Network{networkFor("x", false, 1)})
		if a.show(t); len(p.patches) > 0 {
			t.Fatalf("a short repair changes the Node: %s", p.patches)
		}
		if next := time.Until(a.next(time.Now())); next != readyPatience {
			t.Fatalf("the next reconcile is in %v, want %v", next, readyPatience)
		}
		time.Sleep(readyPatience)
		if a.show(t); len(p.patches) != 1 || !strings.Contains(p.patches[0], `"value":"0"`) {
			t.Fatalf("patches %s, want 0", p.patches)
		}
	})
}

// An agent whose node does not match any more leaves no resource behind.
func TestLastPassRemovesResources(t *testing.T) {
	p := &patcher{errs: []error{tooLate}}
	a, _, _ := advertiser(p)
	source := &source{Known: true, Desired: Snapshot{NodeExists: true, NodeUID: "1", Resources: kube.PodResources{resourceX: "16"}}}
	source.Desired.NodeENIs = []v1alpha1.NodeENI{nodeENI("x", nil)}
	a.Source = source
	a.node.offer(nil)
	a.shutDown(t.Context())
	if len(p.patches) != 2 || !strings.Contains(p.patches[1], `"op":"remove","path":"/status/capacity/networking.k8s.aws~1x"`) {
		t.Errorf("patches %s", p.patches)
	}
}

// Of a Node's resources only those are kept that agents advertise.
func TestResourcesOfANode(t *testing.T) {
	for text, want := range map[string]kube.PodResources{
		`{}`:                         nil,
		`{"status":{}}`:              nil,
		`{"status":{"capacity":{}}}`: {},
		`{"status":{"capacity":{"cpu":"2","hugepages-2Mi":"0","networking.k8s.aws/x":"16","vpc.amazonaws.com/pod-eni":"9"},"allocatable":{"cpu":"1"}}}`: {resourceX: "16"},
	} {
		var node kube.Node
		if err := json.Unmarshal([]byte(text), &node); err != nil {
			t.Fatal(err)
		}
		if got := node.Status.Capacity; !maps.Equal(got, want) || (got == nil) != (want == nil) {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}
