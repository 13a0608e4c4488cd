package agent

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/imds"
	"github.com/aws-multi-eni/aws-multi-eni/internal/draw"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/query"
)

// FuzzLife lets an agent live through what the fuzzer thinks of, on a clock of its
// own: changes of mind, faults of every call, lags, kills, people who detach and
// delete. The agent is all there, with the SDK, and so is the simulated EC2; the
// kernel and the API server are in memory. When everything has been mended, EC2
// must hold exactly the ENIs that are wanted.
func FuzzLife(f *testing.F) {
	for _, seed := range draw.Seeds(20) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 200 {
			t.Skip("long lives find nothing that short ones do not, and cannot be read")
		}
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, draw.From(data))
			w.boot()
			for step := 0; w.choices.More() && step < 24; step++ {
				w.happen()
				time.Sleep(draw.Of(w.choices, 300*time.Millisecond, 0, 10*time.Millisecond, 100*time.Millisecond,
					time.Second, 3*time.Second, 10*time.Second, 40*time.Second, 2*time.Minute, 6*time.Minute, 70*time.Minute))
			}
			w.mend()
			w.check()
			w.end()
		})
	})
}

// world is all that an agent lives in.
type world struct {
	*testing.T
	choices *draw.Choices
	cloud   *cloud.Cloud
	self    imds.Identity
	host    *slate
	memory  *memory
	alone   bool // without Kubernetes

	stop   context.CancelFunc // of the agent
	killed *atomic.Bool
	done   chan error

	mu       sync.Mutex
	since    time.Time // of the last change of what is wanted
	doubles  bool      // a second ENI may be made
	lagged   bool      // EC2 has lagged by more than pluggedWindow
	born     int       // NodeENIs ever
	foreign  []cloud.Interface
	over     chan struct{}
	parallel sync.WaitGroup
}

func newWorld(t *testing.T, c *draw.Choices) *world {
	w := &world{T: t, choices: c, host: newSlate(), memory: &memory{changed: make(chan struct{}, 1)}, over: make(chan struct{})}
	w.host.ours = func(mac string) bool {
		return !slices.ContainsFunc(w.cloud.Interfaces(), func(e cloud.Interface) bool { return e.MAC == mac && !w.ours(e) })
	}
	w.host.released = w.seeRelease
	network := netip.MustParsePrefix
	var err error
	w.cloud, err = cloud.New(cloud.Config{
		VPCs: []cloud.VPC{{ID: "vpc-00000000000000001", CIDR: network("10.0.0.0/16")}},
		Subnets: []cloud.Subnet{
			{ID: subnetA, VPCID: "vpc-00000000000000001", Zone: "us-east-1a", CIDR: network("10.0.1.0/24"), Tags: map[string]string{"Name": "one"}},
			{ID: subnetA2, VPCID: "vpc-00000000000000001", Zone: "us-east-1a", CIDR: network("10.0.2.0/24"), Tags: map[string]string{"Name": "two"}},
			{ID: subnetB, VPCID: "vpc-00000000000000001", Zone: "us-east-1b", CIDR: network("10.0.3.0/24"), Tags: map[string]string{"Name": "two"}},
		},
		SecurityGroups: []cloud.SecurityGroup{
			{ID: groupX, Name: "x", VPCID: "vpc-00000000000000001"}, {ID: groupY, Name: "y", VPCID: "vpc-00000000000000001"},
		},
		InstanceTypes: []cloud.InstanceType{{Name: "m5.fuzz", MaxENIs: 15, IPv4PerENI: 30}},
		Timing: cloud.Timing{
			Read: 20 * time.Millisecond, Write: 50 * time.Millisecond,
			Attach: draw.Of(c, 0, 200*time.Millisecond, 5*time.Second), Detach: draw.Of(c, time.Second, 3*time.Second, 90*time.Second),
			PlugDelay: draw.Of(c, 0, 100*time.Millisecond, 2*time.Second, 30*time.Second),
			IMDSLag:   draw.Of(c, 0, 10*time.Second), DeleteInUse: draw.Of(c, 0, time.Second, 4*time.Second),
		},
		Fabric: w.host,
	})
	w.must(err)
	in, err := w.cloud.RunInstance(cloud.RunInstance{Type: "m5.fuzz", SubnetID: subnetA})
	w.must(err)
	w.self = imds.Identity{InstanceID: in.ID, InstanceType: in.Type, Zone: in.Zone, Region: "us-east-1", Partition: "aws", AccountID: "123456789012", VPCID: in.VPCID}
	w.foreign = w.cloud.Interfaces()
	w.alone, w.memory.waiting = c.Bool(), draw.Of(c, 1, 0, 1000)
	w.memory.wanted = Snapshot{NodeExists: true, NodeUID: "node", Labels: map[string]string{"on": "yes"}}
	w.wish()
	if !w.alone {
		w.parallel.Go(w.coordinate)
	}
	return w
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// boot starts an agent.
func (w *world) boot() {
	killed := &atomic.Bool{}
	ctx, cancel := context.WithCancel(context.Background())
	client := eni.NewClient(aws.Config{
		Region: w.self.Region, BaseEndpoint: aws.String("http://ec2.test"),
		Credentials: credentials.NewStaticCredentialsProvider("AKIDTEST", "secret", ""),
		HTTPClient:  &wire{query.New(w.cloud), killed, w.afterCall},
	})
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("FUZZ_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	cfg := Config{
		Cluster: cluster, Node: "node", Identity: w.self, EC2: client, Source: process{w.memory, killed}, Links: w.host,
		Metadata: hints{w.cloud, w.self.InstanceID}, Recorder: mute{}, Log: log,
	}
	if w.alone {
		cfg.Collector = client
	}
	done := make(chan error, 1)
	go func() { done <- New(cfg).Run(ctx) }()
	w.stop, w.killed, w.done = cancel, killed, done
}

// halt ends the agent: in good order, or in the middle of whatever it does.
func (w *world) halt(kill bool) {
	w.killed.Store(kill)
	w.stop()
	w.must(<-w.done)
	w.killed.Store(true) // calls that still run get no answer
}

// end lets everything stop that runs.
func (w *world) end() {
	close(w.over)
	w.parallel.Wait()
	w.halt(true)
	w.cloud.ClearFaults()
	w.cloud.Close()
}

func (w *world) ours(e cloud.Interface) bool {
	return e.Tags[eni.TagCluster] == cluster && e.Tags[eni.TagInstance] == w.self.InstanceARN()
}

func slotOf(e cloud.Interface) slot {
	return slot{types.UID(e.Tags[eni.TagNodeENIUID]), e.SubnetID}
}

// living are our ENIs in EC2.
func (w *world) living() []cloud.Interface {
	return slices.DeleteFunc(w.cloud.Interfaces(), func(e cloud.Interface) bool { return !w.ours(e) })
}

// wanted is what the node shall have, as anybody reads it who knows all names.
func (w *world) wanted() map[slot]v1alpha1.NodeENISpec {
	s, _ := w.memory.Snapshot()
	all := map[slot]v1alpha1.NodeENISpec{}
	for _, n := range s.NodeENIs {
		if !s.NodeExists || !n.Selects(s.Labels) {
			continue
		}
		for _, id := range n.Spec.SubnetIDs {
			if id != subnetB {
				all[slot{n.UID, id}] = n.Spec
			}
		}
		for _, name := range n.Spec.SubnetNames {
			all[slot{n.UID, map[string]string{"one": subnetA, "two": subnetA2}[name]}] = n.Spec
		}
	}
	return all
}

// afterCall looks at EC2 after each call that an agent has made.
func (w *world) afterCall(*http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.doubles {
		return
	}
	count := map[slot]int{}
	for _, e := range w.living() {
		if count[slotOf(e)]++; count[slotOf(e)] > 1 {
			w.Errorf("%v: two ENIs for NodeENI %s in %s", time.Now(), slotOf(e).uid, e.SubnetID)
		}
	}
}

// seeRelease is called before a link is taken down.
func (w *world) seeRelease(id string) {
	e, ok := w.cloud.Interface(id)
	w.mu.Lock()
	settled := time.Since(w.since) > 5*time.Second
	w.mu.Unlock()
	if _, wanted := w.wanted()[slotOf(e)]; !ok || !wanted || !settled {
		return
	}
	for _, other := range w.living() {
		if other.ID != id && slotOf(other) == slotOf(e) {
			return // one of two
		}
	}
	w.Errorf("%v: %s was released, which NodeENI %s wants", time.Now(), id, slotOf(e).uid)
}

// coordinate collects as the coordinator does.
func (w *world) coordinate() {
	found := map[string]time.Time{}
	for {
		pause := 20 * time.Second
		if len(found) > 0 {
			pause = 2 * time.Second
		}
		select {
		case <-w.over:
			return
		case <-time.After(pause):
		}
		wanted := w.wanted()
		s, _ := w.memory.Snapshot()
		report, _ := w.memory.Load(context.Background())
		living := w.living()
		maps.DeleteFunc(found, func(id string, _ time.Time) bool {
			return !slices.ContainsFunc(living, func(e cloud.Interface) bool { return e.ID == id })
		})
		for _, e := range living {
			phase := v1alpha1.Phase("")
			for _, entry := range report.ENIs {
				if entry.ENIID == e.ID {
					phase = entry.Phase
				}
			}
			_, is := wanted[slotOf(e)]
			given := phase == v1alpha1.PhaseReleased || phase == v1alpha1.PhaseReleasing
			if is && !given {
				delete(found, e.ID)
				continue
			}
			if found[e.ID].IsZero() {
				found[e.ID] = time.Now()
			}
			if phase != v1alpha1.PhaseReleased && s.NodeExists && time.Since(found[e.ID]) < 15*time.Second {
				continue
			}
			if e.Attachment == nil {
				_ = w.cloud.DeleteByHand(e.ID)
			} else {
				_ = w.cloud.DetachByHand(e.ID)
			}
		}
	}
}

// mend heals everything, and waits until everything can have settled.
func (w *world) mend() {
	w.cloud.ClearFaults()
	w.cloud.SetThrottle(false)
	timing := w.cloud.Timing()
	timing.DescribeLag = 0
	w.must(w.cloud.SetTiming(timing))
	w.must(w.cloud.SetFreeAddresses(subnetA, 100))
	w.host.take(false)
	w.memory.set(func(m *memory) {
		m.refuses, m.wanted.NodeExists = false, true
	})
	time.Sleep(4 * time.Hour)
}

// check compares EC2 and the host with what is wanted, and sees that all is quiet.
func (w *world) check() {
	w.cloud.ResetCalls()
	time.Sleep(150 * time.Minute)
	calls := w.cloud.Calls()
	if n := len(calls); n > 4 || slices.ContainsFunc(calls, func(c cloud.Call) bool { return !strings.HasPrefix(c.Action, "Describe") }) {
		w.Errorf("%d calls in two and a half quiet hours: %v", n, cloud.CountCalls(calls))
	}
	wanted := w.wanted()
	for _, e := range w.living() {
		spec, ok := wanted[slotOf(e)]
		if !ok {
			w.Errorf("%s is left over, or there twice: NodeENI %s, %s", e.ID, slotOf(e).uid, e.SubnetID)
			continue
		}
		delete(wanted, slotOf(e))
		w.compare(e, spec)
	}
	for s := range wanted {
		w.Errorf("NodeENI %s has no ENI in %s", s.uid, s.subnet)
	}
	for _, f := range w.foreign {
		if now, ok := w.cloud.Interface(f.ID); !ok || fmt.Sprint(now) != fmt.Sprint(f) && now.Attachment.DeviceIndex != 0 {
			w.Errorf("%s is not ours and was %+v, now it is %+v", f.ID, f, now)
		}
	}
	for _, wrong := range w.host.wrong {
		w.Error(wrong)
	}
	if w.Failed() {
		report, _ := w.memory.Load(context.Background())
		for _, entry := range report.ENIs {
			w.Logf("report: %s %s %s %s: %s", entry.NodeENIUID, entry.ENIID, entry.Phase, entry.Reason, entry.Message)
		}
	}
}

func (w *world) compare(e cloud.Interface, spec v1alpha1.NodeENISpec) {
	a := e.Attachment
	if a == nil || a.InstanceID != w.self.InstanceID || a.Status != cloud.AttachmentAttached {
		w.Errorf("%s is not attached: %+v", e.ID, a)
		return
	}
	if !slices.Equal(e.GroupIDs, spec.SecurityGroupIDs) || spec.Description != "" && e.Description != spec.Description ||
		e.SourceDestCheck != *spec.SourceDestCheck || a.DeleteOnTermination != *spec.DeleteOnTermination {
		w.Errorf("%s is %+v %+v, want %+v", e.ID, e, a, spec)
	}
	if l, ok := w.host.links()[e.MAC]; !ok || l.DeviceIndex != int(a.DeviceIndex) || l.MTU != int(spec.MTU) {
		w.Errorf("%s at %d has the link %+v, want the MTU %d", e.ID, a.DeviceIndex, l, spec.MTU)
	}
}

// wish changes the NodeENIs.
func (w *world) wish() {
	c := w.choices
	name := draw.Of(c, "a", "b", "c")
	n := v1alpha1.NodeENI{Spec: v1alpha1.NodeENISpec{
		NodeSelector:        map[string]string{"on": "yes"},
		SecurityGroupIDs:    draw.Of(c, []string{groupX}, []string{groupY}, []string{groupX, groupY}),
		DeviceIndex:         int32(1 + c.N(3)),
		MTU:                 draw.Of[int32](c, 0, 9001),
		Description:         draw.Of(c, "", "other"),
		DeleteOnTermination: aws.Bool(!c.Bool()),
		SourceDestCheck:     aws.Bool(!c.Bool()),
	}}
	n.Spec.SubnetIDs = draw.Some(c, subnetA2, subnetB)
	n.Spec.SubnetNames = draw.Some(c, "one", "two")
	if slices.Contains(n.Spec.SubnetIDs, subnetA2) {
		n.Spec.SubnetNames = slices.DeleteFunc(n.Spec.SubnetNames, func(s string) bool { return s == "two" })
	}
	if len(n.Spec.SubnetIDs)+len(n.Spec.SubnetNames) == 0 {
		n.Spec.SubnetIDs = []string{subnetA}
	}
	slices.Sort(n.Spec.SecurityGroupIDs)
	w.change(func(s *Snapshot) {
		i := slices.IndexFunc(s.NodeENIs, func(o v1alpha1.NodeENI) bool { return o.Name == name })
		if i >= 0 {
			n.ObjectMeta, n.Spec.DeviceIndex = s.NodeENIs[i].ObjectMeta, s.NodeENIs[i].Spec.DeviceIndex
			n.Generation++
			s.NodeENIs[i] = n
			return
		}
		w.born++
		n.ObjectMeta = metav1.ObjectMeta{Name: name, Generation: 1, CreationTimestamp: metav1.Now(), UID: types.UID(fmt.Sprintf("uid-%s-%d", name, w.born))}
		if w.alone {
			n.UID = types.UID("uid-" + name)
		}
		s.NodeENIs = append(s.NodeENIs, n)
	})
}

// change changes what is wanted.
func (w *world) change(f func(*Snapshot)) {
	w.mu.Lock()
	w.since = time.Now()
	w.mu.Unlock()
	w.memory.set(func(m *memory) {
		m.wanted.NodeENIs = slices.Clone(m.wanted.NodeENIs)
		f(&m.wanted)
	})
}

// An agent that starts and finds no Node takes nothing down: the kubelet may be
// late, or --node-name wrong. When the Node goes that it has seen, it does.
func TestNodeThatIsNotThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, draw.From(nil))
		close(w.over) // no coordinator
		w.parallel.Wait()
		w.over = make(chan struct{})
		links := func(what string, want int) {
			t.Helper()
			time.Sleep(10 * time.Minute)
			if n := len(w.host.links()); n != want {
				t.Errorf("%s: %d links are configured, want %d", what, n, want)
			}
		}
		there := func(is bool) { w.change(func(s *Snapshot) { s.NodeExists = is }) }
		w.boot()
		links("with a Node", 1)
		w.halt(true)
		there(false)
		w.cloud.ResetCalls()
		w.boot()
		links("no Node yet", 1)
		w.halt(false)
		links("stopped", 1)
		if n := len(w.cloud.Calls()); n > 0 {
			t.Errorf("EC2 is asked %d times for nobody", n)
		}
		w.boot()
		there(true)
		links("the Node has come", 1)
		there(false)
		links("the Node has been deleted", 0)
		w.end()
	})
}
