package agent_test

import (
	"encoding/json"
	"io/fs"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/ptr"

	"github.com/aws-multi-eni/aws-multi-eni/agent"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/draw"
	"github.com/aws-multi-eni/aws-multi-eni/internal/podnetwork"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// podFiles are those that tell what is offered to pods.
func (w *world) podFiles() map[string]fs.FileInfo {
	w.Helper()
	paths, err := filepath.Glob(filepath.Join(w.pods.NetworksDir, "*"))
	w.must(err)
	files := map[string]fs.FileInfo{}
	for _, path := range paths {
		files[path], err = os.Lstat(path)
		w.must(err)
	}
	return files
}

// checkPods compares what is offered to pods with EC2 and the report.
func (w *world) checkPods() {
	w.Helper()
	networks, err := podnetwork.List(w.pods.NetworksDir)
	if err != nil {
		w.Error(err)
	}
	offered := map[string]podnetwork.ENI{}
	for _, n := range networks {
		for _, e := range n.ENIs {
			offered[e.ID] = e
		}
		if !slices.ContainsFunc(w.memory.truth().NodeENIs, func(o v1alpha1.NodeENI) bool {
			return string(o.UID) == n.NodeENIUID && o.Name == n.NodeENI && o.Spec.Pods != nil && o.Selects(w.memory.truth().Labels)
		}) {
			w.Errorf("NodeENI %s offers %+v", n.NodeENI, n)
		}
	}
	wanted := w.wanted()
	for _, e := range w.living() {
		spec, ok := wanted[placeOf(e)]
		is, found := offered[e.ID]
		delete(offered, e.ID)
		if found != (ok && spec.Pods != nil) {
			w.Errorf("%s is offered: %v, want %v", e.ID, found, !found)
		} else if found {
			w.comparePods(e, is)
		}
	}
	for id := range offered {
		w.Errorf("%s is offered, which is not there", id)
	}
}

// comparePods compares what an ENI offers with what EC2 and the report say of it.
func (w *world) comparePods(e cloud.Interface, is podnetwork.ENI) {
	w.Helper()
	var ranges []netip.Prefix
	for _, a := range slices.Concat(e.PrivateIPs, e.IPv6Addresses) {
		if !slices.Contains(is.Addresses, a) {
			ranges = append(ranges, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	ranges = append(append(ranges, e.IPv4Prefixes...), e.IPv6Prefixes...)
	slices.SortFunc(ranges, netip.Prefix.Compare)
	families := min(1, len(e.PrivateIPs)) + min(1, len(e.IPv6Addresses))
	if len(is.Addresses) != families || !slices.Equal(ranges, is.Ranges) || len(e.PrivateIPs) > 0 && is.Addresses[0] != e.PrivateIPs[0] || is.MAC != e.MAC {
		w.Errorf("%s with %v %v %v %v offers %+v", e.ID, e.PrivateIPs, e.IPv6Addresses, e.IPv4Prefixes, e.IPv6Prefixes, is)
	}
	if len(is.VPC) != 2 {
		w.Errorf("%s offers %+v", e.ID, is)
	}
	for _, entry := range w.memory.saved().ENIs {
		if ready := entry.Phase == v1alpha1.PhaseReady; entry.ENIID == e.ID && (ready != is.Ready || ready == (is.Reason != "")) {
			w.Errorf("%s is %s, and offered as %+v", e.ID, entry.Phase, is)
		}
	}
}

// noteGiven notes which addresses and prefixes ENIs have.
func (w *world) noteGiven() {
	for _, e := range w.living() {
		if w.given[e.ID] == nil {
			w.given[e.ID] = map[netip.Prefix]bool{}
		}
		for _, a := range slices.Concat(e.PrivateIPs, e.IPv6Addresses) {
			w.given[e.ID][netip.PrefixFrom(a, a.BitLen())] = true
		}
		for _, p := range slices.Concat(e.IPv4Prefixes, e.IPv6Prefixes) {
			w.given[e.ID][p] = true
		}
	}
}

// checkOffers: whatever happens, pods get no address of an ENI that is Ready which EC2 has
// not given to that ENI, and not the ENI's own.
func (w *world) checkOffers() {
	w.Helper()
	networks, err := podnetwork.List(w.pods.NetworksDir)
	if err != nil {
		w.Error(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range networks {
		for _, e := range n.ENIs {
			for _, r := range e.Ranges {
				if e.Ready && (!w.given[e.ID][r] || slices.ContainsFunc(e.Addresses, r.Contains)) {
					w.Errorf("%v: %s offers %v, and has %v", time.Now(), e.ID, r, w.given[e.ID])
				}
			}
		}
	}
}

// forPods asks for ENIs whose addresses are for pods.
func forPods(s *v1alpha1.NodeENISpec) { s.Pods = &v1alpha1.Pods{} }

// offered is what the only NodeENI offers.
func (w *world) offered() podnetwork.Network {
	w.Helper()
	networks, err := podnetwork.List(w.pods.NetworksDir)
	if err != nil || len(networks) != 1 {
		w.Fatalf("%v are offered, %v", networks, err)
	}
	return networks[0]
}

// attach has a pod attach to the ENI, as the CNI plugin writes it down.
func (w *world) attach(pod, mode string, of cloud.Interface, addresses ...netip.Addr) podnetwork.Attachment {
	w.Helper()
	netns := filepath.Join(w.pods.DataDir, "netns", pod)
	w.must(os.MkdirAll(filepath.Dir(netns), 0o755))
	w.must(os.WriteFile(netns, nil, 0o600))
	store, err := podnetwork.Open(w.pods.DataDir)
	w.must(err)
	a := podnetwork.Attachment{
		ContainerID: "c-" + pod, Interface: "net1", NetNS: netns, Pod: "default/" + pod, Network: "x", NodeENI: "a", ENI: of.ID, Mode: mode,
		Addresses: addresses, Created: time.Now(), Boot: podnetwork.BootID(), Delegate: json.RawMessage(`{"type":"ptp"}`),
	}
	w.must(store.Write(a))
	w.must(store.Close())
	return a
}

// releasePods has all pods go.
func (w *world) releasePods() {
	w.must(os.RemoveAll(filepath.Join(w.pods.DataDir, "attachments")))
}

// What is offered to pods follows the ENI through its life; a restart, and others who
// delete or edit the file, change nothing of that.
func TestOffersToPods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, e := settledWorld(t, forPods, everything, ipv4(0, 1), ipv6(ptr.To(int32(3)), 0))
		now, _ := w.cloud.Interface(e.ID)
		link := w.host.Links.Links()[e.MAC]
		if len(link.Addresses) != 2 || len(link.PodRanges) != 3 {
			t.Errorf("the link is %+v", link)
		}
		w.compare(now, w.wanted()[placeOf(now)])
		w.checkPods()
		n := w.offered()
		if is := n.ENIs[0]; is.Link != "eth7" || is.Gateways[1].String() != "fe80:ec2::1" || n.Node != "node" || len(is.Subnets) != 2 {
			t.Errorf("%+v", n)
		}
		path := filepath.Join(w.pods.NetworksDir, "a.json")
		for what, happens := range map[string]func() error{
			"deleted": func() error { return os.Remove(path) },
			"edited":  func() error { return os.WriteFile(path, []byte("{}"), 0o600) },
			"deleted with the directory, while no agent runs": func() error {
				w.halt(true)
				defer w.boot()
				return os.RemoveAll(w.pods.NetworksDir)
			},
		} {
			w.must(happens())
			pass(61 * time.Second)
			if got := w.offered(); !reflect.DeepEqual(got, n) {
				t.Errorf("%s: %+v, want %+v", what, got, n)
			}
		}
		w.host.take(true) // by another program than the CNI plugin eni
		pass(time.Second)
		if is := w.offered().ENIs[0]; is.Ready || is.Reason != "LinkGone" || is.Message == "" || len(is.Ranges) != 3 {
			t.Errorf("without its link it is offered as %+v", is)
		}
		w.host.take(false)
		pass(time.Second)
		w.checkPods()
		pass(10 * time.Minute) // an agent that has just started waits before it gives more
		w.respecify(ipv4(0, 2))
		pass(10 * time.Second)
		if is := w.offered().ENIs[0]; len(is.Ranges) != 4 {
			t.Errorf("a second prefix is offered as %+v", is)
		}
		w.drop()
		pass(10 * time.Second)
		if left := w.podFiles(); len(left) > 0 {
			t.Errorf("left is %v", left)
		}
		w.end()
	})
}

// A restart, with or without EC2, NodeENIs or report, writes no file.
func TestRestartsWithPods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := settledWorld(t, forPods, ipv4(0, 1))
		before := w.podFiles()
		w.restart()
		w.checkPodFiles("a restart", before)
		w.halt(true)
		w.must(w.cloud.Inject(cloud.Fault{Action: "*", Code: "InternalError", Count: 1000}))
		w.boot()
		w.checkPodFiles("a restart without EC2", before)
		w.cloud.ClearFaults()
		pass(10 * time.Minute)
		uid := w.memory.truth().NodeENIs[0].UID
		w.memory.set(func(m *memory) { m.hidden[uid] = true })
		w.checkPodFiles("a list that lacks the NodeENI", before)
		w.restart()
		w.checkPodFiles("a restart with such a list", before)
		w.memory.set(func(m *memory) { delete(m.hidden, uid) })
		w.checkPodFiles("a list that has it again", before)
		w.halt(true)
		w.memory.set(func(m *memory) { m.report = v1alpha1.NodeENIStateStatus{} })
		w.must(w.cloud.Inject(cloud.Fault{Action: "DescribeNetworkInterfaces", Code: "InternalError", Count: 1000}))
		w.boot()
		w.checkPodFiles("a restart without a report, and EC2 shows no ENI", before)
		w.end()
	})
}

// checkPodFiles: nothing has been written for ten minutes.
func (w *world) checkPodFiles(what string, before map[string]fs.FileInfo) {
	w.Helper()
	pass(10 * time.Minute)
	after := w.podFiles()
	for path, was := range before {
		if is := after[path]; is == nil || !os.SameFile(was, is) || !was.ModTime().Equal(is.ModTime()) {
			w.Errorf("%s: %s was written again", what, path)
		}
	}
	if len(after) != len(before) {
		w.Errorf("%s: %v, want %v", what, after, before)
	}
}

// An agent without --pods gives pods' addresses to no one, and says what to do.
func TestPodsAreNotEnabled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, draw.From(nil))
		w.withoutCoordinator()
		w.pods = nil
		w.respecify(forPods, everything, ipv4(0, 1))
		w.boot()
		pass(5 * time.Minute)
		e := w.living()[0]
		if link := w.host.Links.Links()[e.MAC]; len(link.Addresses) != 1 || len(link.PodRanges) > 0 {
			t.Errorf("the link is %+v", link)
		}
		if entry := w.memory.saved().ENIs[0]; entry.Phase != v1alpha1.PhaseReady || !strings.Contains(entry.Message, "pods.enabled") {
			t.Errorf("reported is %+v", entry)
		}
		said := slices.DeleteFunc(slices.Clone(w.events.Messages), func(text string) bool { return !strings.Contains(text, "pods.enabled") })
		if len(said) != 2 { // about the NodeENI and about the Node
			t.Errorf("Events %v", w.events.Messages)
		}
		w.end()
	})
}

// What cannot be written is said once, and written as soon as it can be.
func TestPodFilesCannotBeWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, draw.From(nil))
		w.withoutCoordinator()
		w.must(os.WriteFile(w.pods.NetworksDir, nil, 0o600)) // no directory
		w.respecify(forPods)
		w.boot()
		pass(20 * time.Minute)
		said := 0
		for _, reason := range w.events.Reasons {
			if reason == "PodNetworkNotWritten" {
				said++
			}
		}
		if said != 1 || w.memory.saved().ENIs[0].Phase != v1alpha1.PhaseReady {
			t.Errorf("Events %v, reported %+v", w.events.Messages, w.memory.saved())
		}
		w.must(os.Remove(w.pods.NetworksDir))
		pass(61 * time.Second)
		w.checkPods()
		w.end()
	})
}

// A file that cannot be written again goes: what it says is not so any more.
func TestPodFileCannotBeReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _ := settledWorld(t, forPods, ipv4(0, 1))
		w.checkPods()
		inTheWay := filepath.Join(w.pods.NetworksDir, ".a")
		w.must(os.Mkdir(inTheWay, 0o700))
		w.respecify(forPods, ipv4(0, 2))
		time.Sleep(time.Minute)
		if networks, err := podnetwork.List(w.pods.NetworksDir); len(networks) > 0 || err != nil {
			t.Errorf("%+v are offered, %v", networks, err)
		}
		w.must(os.Remove(inTheWay))
		time.Sleep(5 * time.Minute)
		w.checkPods()
		w.end()
	})
}

// An IMDS that hangs keeps no pod from its network; the VPC's CIDRs come later.
func TestPodsWithoutIMDS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, draw.From(nil))
		w.withoutCoordinator()
		w.hints.set(imdsHangs)
		w.respecify(forPods)
		w.boot()
		pass(time.Minute)
		if is := w.offered().ENIs[0]; !is.Ready || len(is.VPC) > 0 {
			t.Errorf("%+v", is)
		}
		w.hints.set(imdsAnswers)
		pass(2 * time.Minute)
		w.checkPods()
		w.hints.set(imdsFails)
		before := w.podFiles()
		w.restart()
		w.checkPodFiles("a restart", before)
		w.end()
	})
}

// What pods have left behind is taken back after ten minutes, and counted until then.
func TestLeakedAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, draw.From(nil))
		w.withoutCoordinator()
		registry := prometheus.NewRegistry()
		w.podCounters = agent.NewPodCounters(registry, w.pods.DataDir, slog.New(slog.DiscardHandler))
		w.respecify(forPods, ipv4(0, 1))
		w.boot()
		pass(5 * time.Minute)
		count := func(what string, inUse, leaked, free int) {
			t.Helper()
			families, err := registry.Gather()
			w.must(err)
			got := map[string]int{}
			for _, m := range families[0].GetMetric() {
				got[m.GetLabel()[0].GetValue()+" "+m.GetLabel()[1].GetValue()] = int(m.GetGauge().GetValue())
			}
			if want := map[string]int{"a in_use": inUse, "a leaked": leaked, "a free": free}; !maps.Equal(got, want) {
				t.Errorf("%s: %v, want %v", what, got, want)
			}
		}
		e := w.living()[0]
		count("nothing", 0, 0, 16)
		at := e.IPv4Prefixes[0].Addr()
		w.attach("stays", "ptp", e, at)
		gone := w.attach("gone", "ptp", e, at.Next())
		count("two pods", 2, 0, 14)
		w.must(os.Remove(gone.NetNS))
		count("one is gone", 1, 1, 14)
		pass(9 * time.Minute)
		count("after 9 minutes", 1, 1, 14)
		pass(8 * time.Minute)
		count("after 17 minutes", 1, 0, 15)
		w.drop()
		pass(time.Minute)
		count("the NodeENI is gone", 1, 0, 0)
		w.end()
	})
}

// pass lets time pass, and the agent do all that is due by then.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
