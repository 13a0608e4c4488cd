package coordinator

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

func nodeIn(name, providerID string) *kube.Node {
	n := &kube.Node{Spec: kube.NodeSpec{ProviderID: providerID}}
	n.Name = name
	return n
}

func TestRegionMismatch(t *testing.T) {
	east, lax, west := nodeIn("east", "aws:///us-east-1a/i-1"), nodeIn("lax", "aws:///us-west-2-lax-1a/i-2"), nodeIn("west", "aws:///us-west-2a/i-3")
	hybrid, nameless := nodeIn("hybrid", "eks-hybrid:///eu-west-1/c/mi-1"), nodeIn("nameless", "")
	for _, test := range []struct {
		name  string
		here  string
		nodes []*kube.Node
		want  string // in the message; "" for none
	}{
		{"no Node", "us-east-1", nil, ""},
		{"no Region", "", []*kube.Node{east}, ""},
		{"the right one", "us-east-1", []*kube.Node{east}, ""},
		{"a Local Zone of it", "us-west-2", []*kube.Node{lax}, ""},
		{"one of two", "us-east-1", []*kube.Node{west, lax, east}, ""},
		{"Nodes that are not of EC2", "us-east-1", []*kube.Node{hybrid, nameless}, ""},
		{"another one", "eu-west-1", []*kube.Node{east, hybrid}, "uses EC2 in Region eu-west-1, but the Nodes of the cluster are in us-east-1 (east)"},
		{"another one than that of most", "eu-west-1", []*kube.Node{east, west, lax}, "are in us-west-2 (lax; west)"},
	} {
		got := regionMismatch(test.here, test.nodes)
		if (got.Reason == wrongRegion) != (test.want != "") || !strings.Contains(got.Message, test.want) {
			t.Errorf("%s: got %+v, want %q", test.name, got, test.want)
		}
	}
}

func TestContradicts(t *testing.T) {
	c := reportedENI{ENI: "eni-1", NodeENI: "uid-1", Node: "node-a", Instance: "i-1", At: location{"us-east-1", "123456789012"}}
	shown := func(change func(*eni.ENI)) map[string]eni.ENI {
		e := wantedENI()
		change(&e)
		return map[string]eni.ENI{e.ID: e}
	}
	other := func(e *eni.ENI) { e.Owner.Cluster = "other" }
	here, elsewhere := location{"us-east-1", "123456789012"}, location{"us-east-1", "999999999999"}
	for _, test := range []struct {
		name string
		t    observation
		want string
	}{
		{"the instance is there, and the ENI is not", observation{here: here, instances: map[string]bool{"i-1": true}}, ""},
		{"though the report names another account", observation{here: elsewhere, instances: map[string]bool{"i-1": true}}, ""},
		{"the instance is gone, in the right Region and account", observation{here: here, instanceSeen: true}, ""},
		{"account not known", observation{here: location{"us-east-1", ""}, instanceSeen: true}, ""},
		{"no instance was ever shown", observation{here: here}, instancesUnknown},
		{"another account", observation{here: elsewhere, instanceSeen: true}, eniElsewhere},
		{"another Region", observation{here: location{"eu-west-1", ""}, instanceSeen: true}, eniElsewhere},
		{"another cluster's name", observation{here: here, enis: shown(other), instanceSeen: true}, otherClusterName},
		{"another cluster's name, while the instance is there", observation{here: here, enis: shown(other), instances: map[string]bool{"i-1": true}}, otherClusterName},
		{"another cluster's ENI of another NodeENI", observation{here: here, enis: shown(func(e *eni.ENI) { other(e); e.Owner.NodeENIUID = "uid-2" })}, ""},
		{"another cluster's ENI of another instance", observation{here: here, enis: shown(func(e *eni.ENI) { other(e); e.Owner.Instance = arn("i-2") })}, ""},
		{"an ENI without our tags", observation{here: here, enis: shown(func(e *eni.ENI) { e.Owner = eni.Owner{} })}, ""},
		{"the cluster's own", observation{here: here, enis: shown(func(*eni.ENI) {})}, ""},
	} {
		if got := test.t.contradicts(c, testCluster); got.Reason != test.want {
			t.Errorf("%s: got %+v, want %q", test.name, got, test.want)
		}
	}
}

// A report is no proof of where its Node is when the Node itself says so, one of a
// former instance counts for nothing, and one that names many ENIs is cut off.
func TestReportedENIs(t *testing.T) {
	report := func(node, instance, region string, enis int) *v1alpha1.NodeENIState {
		s := &v1alpha1.NodeENIState{Status: v1alpha1.NodeENIStateStatus{InstanceID: instance, Region: region, Account: "1"}}
		s.Name = node
		for range enis {
			s.Status.ENIs = append(s.Status.ENIs, v1alpha1.ENIState{ENIID: "eni-1"}, v1alpha1.ENIState{})
		}
		return s
	}
	nodes := map[string]*kube.Node{"a": nodeIn("a", "aws:///us-east-1a/i-1"), "b": nodeIn("b", "")}
	got := reportedENIs([]*v1alpha1.NodeENIState{
		report("a", "i-1", "eu-west-1", 1), report("a", "i-0", "eu-west-1", 1), report("b", "i-2", "eu-west-1", 1000), report("gone", "i-3", "", 1),
	}, func(name string) *kube.Node { return nodes[name] })
	if len(got) != 1+maxReported || got[0].At != (location{"us-east-1", "1"}) || got[1].At != (location{"eu-west-1", "1"}) {
		t.Errorf("got %d ENIs: %+v …", len(got), got[:2])
	}
}

// In the wrong Region or account all ENIs seem to be gone.
func TestWrongRegionAndAccount(t *testing.T) {
	for _, test := range []struct{ name, region, account, reason, text string }{
		{"Region", "eu-west-1", "123456789012", wrongRegion, "uses EC2 in Region eu-west-1, but the Nodes of the cluster are in us-east-1 (node-a)"},
		{"account", "us-east-1", "999999999999", instancesUnknown, "EC2 in Region us-east-1 shows none of the instances whose agents report ENIs: node-a ("},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, n, a, id := newENIRig(t)
			r.report(n, "node-a", a, v1alpha1.PhaseReady, id)
			there, wrong := r.another(test.region, test.account)
			// Another cluster of that name is there.
			stranger, err := there.CreateNetworkInterface(cloud.CreateNetworkInterfaceInput{SubnetID: subnetA, Tags: map[string]string{eni.TagCluster: testCluster}})
			if err != nil {
				t.Fatal(err)
			}
			first := r.start("leader", wrong, func(cfg *Config) { cfg.SweepInterval = 100 * time.Millisecond })
			r.awaitBlocked("multi", test.reason, test.text)
			late := r.nodeENI("late") // and deleted when all has been reported of the others
			r.awaitFinalizer(late)
			r.remove(r.kube.API, kube.NodeENIs, late.Name)
			r.await("an Event about it", func() bool {
				return slices.ContainsFunc(r.events(test.reason), func(e string) bool { return strings.HasPrefix(e, "Warning late: ") })
			})
			r.remove(r.kube.API, kube.NodeENIs, "multi")
			r.report(n, "node-a", a, v1alpha1.PhaseReleased, id)
			u := r.uninstall(3 * time.Second)
			u.awaitSaid("- multi: " + test.reason + ": ")
			if err := u.wait(); err == nil || strings.Contains(u.said(), "is gone") {
				t.Errorf("the uninstall returns %v, having said\n%s", err, u.said())
			}
			if text := u.said(); strings.Contains(text, "\n  "+test.reason+": ") {
				t.Errorf("the uninstall repeats as an Event what it has just said:\n%s", text)
			}
			r.awaitBlocked("multi", test.reason, test.text)
			r.await("kubectl get -o wide shows why", func() bool {
				c := meta.FindStatusCondition(r.getNodeENI("multi").Status.Conditions, v1alpha1.ConditionReady)
				return c.Reason == "Deleting" && strings.Contains(c.Message, test.text)
			})
			if _, there := there.Interface(stranger.ID); !there || !r.attached(id) {
				t.Errorf("the stranger is there: %v, the ENI is attached: %v", there, r.attached(id))
			}
			first.end()
			r.startLeading()
			r.awaitNoNodeENI("multi", id)
		})
	}
}

// No report contradicts: the Nodes that had ENIs are gone, and their ENIs are not. But
// EC2 shows none of the instances that the cluster has.
func TestWrongAccountWithoutReports(t *testing.T) {
	r := newRig(t)
	r.newNode("node-other")
	n := r.nodeENI("multi")
	id := r.newENI(owner(n, "node-gone", "i-0fffffffffffffff0"), subnetA)
	_, wrong := r.another("us-east-1", "999999999999")
	first := r.start("leader", wrong)
	r.awaitBlocked("multi", instancesUnknown, "shows none of the instances of the cluster's Nodes: i-")
	r.remove(r.kube.API, kube.NodeENIs, "multi")
	time.Sleep(time.Second)
	r.awaitBlocked("multi", instancesUnknown, "")
	first.end()
	r.startLeading()
	r.awaitNoNodeENI("multi", id)
}

// The first list of all ENIs fails, and EC2 is asked for the ENIs of a NodeENI before the next
// one. Nor does it show any of those in the wrong account.
func TestWrongAccountAfterAFailure(t *testing.T) {
	r := newRig(t)
	r.newNode("node-other")
	n := r.nodeENI("multi", func(n *v1alpha1.NodeENI) { n.Finalizers = []string{v1alpha1.CleanupFinalizer} })
	r.remove(r.kube.API, kube.NodeENIs, n.Name)
	there, wrong := r.another("us-east-1", "999999999999")
	if err := there.Inject(cloud.Fault{Action: "DescribeNetworkInterfaces", Code: "UnauthorizedOperation", Count: 1}); err != nil {
		t.Fatal(err)
	}
	r.start("leader", wrong)
	r.awaitBlocked(n.Name, instancesUnknown, "shows none of the instances of the cluster's Nodes: i-")
	time.Sleep(3 * time.Second) // another sweep, whose absence has no event to wait for
	r.awaitBlocked(n.Name, instancesUnknown, "")
}

// The coordinator's cluster has another name than the agents'.
func TestOtherClusterName(t *testing.T) {
	r, n, a, id := newENIRig(t)
	r.report(n, "node-a", a, v1alpha1.PhaseReady, id)
	metrics := NewMetrics(prometheus.NewRegistry())
	r.start("leader", func(cfg *Config) {
		cfg.Cluster, cfg.SweepInterval, cfg.Metrics = "prod", 100*time.Millisecond, metrics
	})
	const text = `its cluster tag is "` + testCluster + `", while the cluster name of the coordinator is "prod"`
	r.awaitBlocked("multi", otherClusterName, text)
	r.awaitFinalizer(n)
	r.remove(r.kube.API, kube.NodeENIs, "multi")
	time.Sleep(time.Second)
	r.awaitBlocked("multi", otherClusterName, text)
	assertUntouched(t, r, []string{id})
	if !r.attached(id) {
		t.Error("an ENI with another cluster's tag was detached")
	}
	blocked := func() float64 { return value(t, metrics.contradicted.WithLabelValues(otherClusterName)) }
	r.await("a count of what is blocked", func() bool { return blocked() == 1 })
	// A user takes the finalizer off by hand.
	r.patch(r.kube.API, kube.NodeENIs, "multi", map[string]any{"metadata": map[string]any{"finalizers": nil}})
	r.await("nothing is blocked any more", func() bool { return blocked() == 0 })
}

func value(t *testing.T, m prometheus.Metric) float64 {
	t.Helper()
	var is dto.Metric
	if err := m.Write(&is); err != nil {
		t.Fatal(err)
	}
	return is.GetGauge().GetValue()
}

// A coordinator that no longer leads says nothing of what is left over: whoever leads
// now may have deleted it.
func TestMetricsWithoutLeading(t *testing.T) {
	m := NewMetrics(prometheus.NewRegistry())
	m.leads(true)
	m.swept(time.Now(), true, nil, map[string]*track{"eni-1": {Decision: decision{Reason: reasonReleased}, FoundAt: time.Now().Add(-time.Hour)}})
	m.blocked(map[string]int{eniElsewhere: 1})
	m.leads(false)
	if left, blocked, age := value(t, m.leftOver.WithLabelValues(string(reasonReleased))), value(t, m.contradicted.WithLabelValues(eniElsewhere)), m.oldestAge(); left+blocked+age != 0 {
		t.Errorf("%v left over, %v blocked, the oldest for %v s", left, blocked, age)
	}
}

// Reports that are wrong hold up nothing for ever, and cost few describes: an ENI that
// never was, one that is not ours, one of an instance that is gone, and an account that is
// not the node's.
func TestWrongReports(t *testing.T) {
	r := newRig(t)
	a, b, gone := r.instance(), r.instance(), r.instance()
	r.node("node-a", a)
	r.node("node-b", b)
	r.node("node-gone", gone)
	n := r.nodeENI("multi")
	id := r.fullENI(n, "node-a", a, subnetA, 2)
	stranger := r.newENI(eni.Owner{Cluster: "another"}, subnetA)
	r.report(n, "node-b", b, v1alpha1.PhaseReady, "eni-0dead", stranger)
	r.patch(r.kube.API, kube.NodeENIStates, "node-b", map[string]any{"status": map[string]any{"account": "999999999999", "region": "eu-west-1"}})
	r.report(n, "node-gone", gone, v1alpha1.PhaseReady, "eni-0gone")
	if err := r.cloud.Terminate(gone); err != nil {
		t.Fatal(err)
	}
	r.startLeading()
	r.awaitFinalizer(n)
	r.cloud.ResetCalls()
	r.remove(r.kube.API, kube.NodeENIs, "multi")
	r.awaitNoNodeENI("multi")
	if r.exists(id) || !r.exists(stranger) {
		t.Errorf("the ENI exists: %v, the stranger: %v", r.exists(id), r.exists(stranger))
	}
	if calls := r.count("DescribeNetworkInterfaces"); calls > 15 {
		t.Errorf("%d describes", calls)
	}
}

// A NodeENI that no coordinator has ever seen goes without its ENIs.
func TestUninstallAfterNodeENIsWentUnseen(t *testing.T) {
	r, n, a, id := newENIRig(t)
	r.report(n, "node-a", a, v1alpha1.PhaseReady, id)
	r.remove(r.kube.API, kube.NodeENIs, "multi")
	u := r.uninstall(3 * time.Second)
	u.awaitSaid("all NodeENIs are deleted, but agents report ENIs whose deletion no coordinator has confirmed: " + id + " of node node-a in Region us-east-1 (Ready)")
	err := u.wait()
	if err == nil || strings.Contains(u.said(), "Done") || !strings.Contains(err.Error(), id) {
		t.Errorf("it returns %v, having said\n%s", err, u.said())
	}
	// With a coordinator, and an agent that takes the link down, all is well.
	r.startLeading()
	r.report(n, "node-a", a, v1alpha1.PhaseReleased, id)
	r.awaitGone(id)
	// The report is as the agent has left it, for the node has lost its label.
	u = r.uninstall(time.Minute)
	u.awaitSaid(id + " of node node-a in Region us-east-1 (Released)")
	if err := u.wait(); err != nil {
		t.Error(err)
	}
}
