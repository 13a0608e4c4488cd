package coordinator

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// uninstalling is an Uninstall under way, and what it has said.
type uninstalling struct {
	rig  *rig
	stop context.CancelFunc
	done chan error

	mu  sync.Mutex
	out bytes.Buffer
}

func (u *uninstalling) Write(p []byte) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.out.Write(p)
}

func (u *uninstalling) said() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.out.String()
}

func (r *rig) uninstall(timeout time.Duration) *uninstalling {
	r.Helper()
	ctx, stop := context.WithTimeout(r.Context(), timeout)
	u := &uninstalling{rig: r, stop: stop, done: make(chan error, 1)}
	go func() {
		job := Uninstall{Kube: r.kube, Leases: r.leases, Namespace: testNamespace, Out: u, Poll: 20 * time.Millisecond, Explain: 200 * time.Millisecond}
		u.done <- job.Run(ctx)
	}()
	r.Cleanup(stop)
	return u
}

func (u *uninstalling) awaitSaid(text string) {
	u.rig.Helper()
	u.rig.await("it says "+text+"\n"+u.said(), func() bool { return strings.Contains(u.said(), text) })
}

func (u *uninstalling) wait() error {
	u.rig.Helper()
	select {
	case err := <-u.done:
		return err
	case <-time.After(time.Minute):
		u.rig.Fatalf("it does not end; it said\n%s", u.said())
		return nil
	}
}

// The NodeENIs do not have the finalizer yet, and no coordinator runs. They must not go
// before their ENIs do, or no program is left to delete these.
func TestUninstallWaitsForENIs(t *testing.T) {
	r := newRig(t)
	a := r.newNode("node-a")
	n, empty := r.nodeENI("multi"), r.nodeENI("empty")
	enis := []string{r.fullENI(n, "node-a", a, subnetA, 2), r.newENI(owner(n, "node-a", a), subnetB)}
	u := r.uninstall(time.Minute)
	u.awaitSaid("No coordinator is the leader: the Lease eni-system/eni-coordinator does not exist. Check that the coordinator is running: kubectl -n eni-system get pods\n")
	for _, name := range []string{n.Name, empty.Name} {
		if now := r.getNodeENI(name); now == nil || now.DeletionTimestamp == nil {
			t.Errorf("%s: %+v; want it to be deleted and to wait for a coordinator", name, now)
		}
	}
	r.startLeading()
	if err := u.wait(); err != nil {
		t.Fatal(err)
	}
	for _, id := range enis {
		if r.exists(id) {
			t.Errorf("the uninstall is over, and %s still exists", id)
		}
	}
	said := u.said()
	for _, want := range []string{
		"Deleting NodeENI empty.\nDeleting NodeENI multi.\n",
		"- multi still has ENIs in EC2\n",
		"NodeENI empty and its ENIs are deleted.\n",
		"NodeENI multi and its ENIs are deleted.\nDone: no NodeENIs exist, so no ENIs exist either.\n",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("it said\n%s\nwithout\n%s", said, want)
		}
	}
	if again := r.uninstall(time.Minute); again.wait() != nil || again.said() != "Done: no NodeENIs exist, so no ENIs exist either.\n" {
		t.Errorf("once more, it says %q", again.said())
	}
}

// An uninstall says what it waits for, and one that is not over returns an error.
func TestUninstallSaysWhatItWaitsFor(t *testing.T) {
	r, n, a := newNodeRig(t)
	r.nodeENI("kept", func(n *v1alpha1.NodeENI) { n.Finalizers = []string{"example.com/mine"} })
	id := r.fullENI(n, "node-a", a, subnetA, 2)
	r.report(n, "node-a", a, v1alpha1.PhaseReleased, id)
	r.inject(cloud.Fault{Action: "DetachNetworkInterface", Code: "UnauthorizedOperation"})
	r.startLeading()
	u := r.uninstall(time.Minute)
	u.awaitSaid("- kept has the finalizer example.com/mine of another program: use that program to remove it\n")
	u.awaitSaid("- multi still has ENIs in EC2; " + id + " of node node-a is Released\n  ENIRefused: ")
	if said := u.said(); strings.Contains(said, "No coordinator") || !strings.Contains(said, "UnauthorizedOperation") {
		t.Errorf("there is a leader, which EC2 refuses; it said\n%s", said)
	}
	// One that comes in the middle goes, too.
	r.nodeENI("late")
	u.awaitSaid("Deleting NodeENI late.\n")
	u.awaitSaid("NodeENI late and its ENIs are deleted")

	u.stop()
	err := u.wait()
	if err == nil || errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "interrupted: 2 NodeENIs are still being deleted (kept; multi)") {
		t.Errorf("stopped in the middle it returns %v", err)
	}
	if err := r.uninstall(time.Second).wait(); err == nil || !strings.Contains(err.Error(), "timed out: 2 NodeENIs") {
		t.Errorf("at the end of its time it returns %v", err)
	}
	r.cloud.ClearFaults()
	r.patch(r.kube.API, kube.NodeENIs, "kept", map[string]any{"metadata": map[string]any{"finalizers": nil}})
}

// An API server that is away, and rights that are not there yet, are waited for.
func TestUninstallTriesAgain(t *testing.T) {
	r := newRig(t)
	cfg, err := r.cp.UserConfig("unbound")
	if err != nil {
		t.Fatal(err)
	}
	if r.kube, err = kube.NewClient(cfg, "test"); err != nil {
		t.Fatal(err)
	}
	u := r.uninstall(2 * time.Second)
	err = u.wait()
	if r.kube, _ = kube.NewClient(r.cp.AdminConfig(), "test"); err == nil || !strings.HasPrefix(err.Error(), "timed out: list NodeENIs: ") {
		t.Errorf("without rights it returns %v", err)
	}
	if said := u.said(); strings.Count(said, "Retrying: ") != 1 || !strings.Contains(said, `User "unbound" cannot list`) {
		t.Errorf("it said\n%s", said)
	}
}

// What others wrote is shown on one line, without what steers a terminal, and an Event
// is as new as the API server says.
func TestUninstallShowsNothingForged(t *testing.T) {
	r := newRig(t)
	n := r.nodeENI("kept", func(n *v1alpha1.NodeENI) { n.Finalizers = []string{"example.com/mine"} })
	warn := func(name, message string, last time.Time) {
		t.Helper()
		event := &kube.Event{
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}, InvolvedObject: refOf(n), Reason: "ENIRefused", Message: message,
			Source: kube.EventSource{Component: "eni-agent"}, LastTimestamp: metav1.NewTime(last), Count: 1, Type: kube.EventWarning,
		}
		if err := r.kube.Core.Post().Namespace("default").Resource("events").Body(event).Do(t.Context()).Error(); err != nil {
			t.Fatal(err)
		}
	}
	warn("forged", "\x1b[2J\u009b1mx\nDone: no NodeENIs exist, so no ENIs exist either.", time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC))
	u := r.uninstall(time.Minute)
	u.awaitSaid("  ENIRefused:  [2J 1mx Done: no NodeENIs exist")
	if said := u.said(); strings.ContainsAny(said, "\x1b\u009b") || strings.Contains(said, "\nDone") {
		t.Errorf("it said %q", said)
	}
	time.Sleep(1100 * time.Millisecond) // creation times are whole seconds
	warn("newer", "this is newer", time.Now())
	u.awaitSaid("  ENIRefused: this is newer\n")
	u.stop()
	if err := u.wait(); err == nil {
		t.Error("it ends without an error")
	}
	r.patch(r.kube.API, kube.NodeENIs, "kept", map[string]any{"metadata": map[string]any{"finalizers": nil}})
}

// Reports of ENIs that are Released do not count once a coordinator has led for a while.
// Whether one leads is not known when the Lease cannot be read.
func TestUninstallKnowsNoLeader(t *testing.T) {
	r := newRig(t)
	r.startLeading()
	cfg, err := r.cp.UserConfig("without-rights")
	if err != nil {
		t.Fatal(err)
	}
	blind, err := coordinationv1.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for name, leases := range map[string]coordinationv1.LeasesGetter{"the Lease is held": r.leases, "it cannot be read": blind} {
		u, p := Uninstall{Kube: r.kube, Leases: leases, Namespace: testNamespace}, progress{}
		if err := u.advance(t.Context(), &p); err != nil || p.leading.IsZero() != (leases == blind) {
			t.Errorf("%s: a coordinator leads since %v (%v)", name, p.leading, err)
		}
	}
}
