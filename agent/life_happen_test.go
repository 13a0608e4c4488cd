package agent_test

import (
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/agent"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/draw"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// happen lets one event happen.
func (w *world) happen() {
	events := []func(){
		w.fault, w.fault, w.fault, w.wish, w.wish, w.drop, w.label, w.restart,
		w.pause, w.lag, w.meddle, w.intrude, w.refuseReports, w.loseReport, w.takeLinks, w.runOut,
		w.flap, w.flap, w.hide, w.hide, w.disown, w.hints.turn(w), w.hints.turn(w), w.edit,
		w.edit, w.readdress, w.readdress, w.cutOff, w.cutOff, w.lie, w.lie, w.lie,
	}
	events[w.choices.N(len(events))]()
}

// fault lets a kind of call go wrong once or a few times.
func (w *world) fault() {
	w.inject(draw.Of(w.choices, "CreateNetworkInterface", "AttachNetworkInterface", "ModifyNetworkInterfaceAttribute",
		"DescribeNetworkInterfaces", "DetachNetworkInterface", "DeleteNetworkInterface", "DescribeSubnets", "*"))
}

func (w *world) inject(action string) {
	c := w.choices
	f := cloud.Fault{
		Action: action,
		Skip:   c.N(3),
		Count:  1 + c.N(3),
		After:  c.Bool(),
	}
	switch c.N(6) {
	case 0:
		f.After = true // the answer is lost
	case 1:
		f.Hang = true
	case 2:
		f.Code = "InternalError"
	case 3:
		f.Code, f.After = "RequestLimitExceeded", false
	case 4:
		f.Code, f.After = "UnauthorizedOperation", false
	case 5:
		f.Delay = draw.Of(c, 500*time.Millisecond, 10*time.Second, 45*time.Second)
	}
	w.must(w.cloud.Inject(f))
}

// wish changes the NodeENIs.
func (w *world) wish() {
	c := w.choices
	name := draw.Of(c, "a", "b", "c")
	// One byte for two things, as for the first of them alone: so older seeds keep their meaning.
	groups, place, mtu, text := draw.Of(c, []string{groupX}, []string{groupY}, []string{groupX, groupY}), c.N(6), c.N(4), c.N(16)
	n := v1alpha1.NodeENI{Spec: v1alpha1.NodeENISpec{
		NodeSelector:        map[string]string{"on": "yes"},
		SecurityGroupIDs:    groups,
		DeviceIndex:         int32(1 + place%3),
		MTU:                 []int32{0, 9001}[mtu%2],
		Description:         []string{"", "other"}[text%2],
		DeleteOnTermination: aws.Bool(!c.Bool()),
		SourceDestCheck:     aws.Bool(!c.Bool()),
	}}
	if w.self.InstanceType != small {
		n.Spec.NetworkCard = int32(place / 3)
		n.Spec.IPv6 = []*v1alpha1.IPv6{nil, {Addresses: aws.Int32(2)}}[mtu/2]
		n.Spec.ENAExpress = []*v1alpha1.ENAExpress{nil, {Enabled: true}}[text/2%2]
		n.Spec.ConnectionTracking = []*v1alpha1.ConnectionTracking{nil, {UDPTimeout: 45}}[text/4%2]
	}
	n.Spec.Pods = []*v1alpha1.Pods{nil, {}}[text/8]
	n.Spec.SubnetIDs = draw.Some(c, subnetA2, subnetB)
	n.Spec.SubnetNames = draw.Some(c, "one", "two")
	if slices.Contains(n.Spec.SubnetIDs, subnetA2) {
		n.Spec.SubnetNames = slices.DeleteFunc(n.Spec.SubnetNames, func(s string) bool { return s == "two" })
	}
	if len(n.Spec.SubnetIDs)+len(n.Spec.SubnetNames) == 0 {
		n.Spec.SubnetIDs = []string{subnetA}
	}
	slices.Sort(n.Spec.SecurityGroupIDs)
	w.change(func(s *agent.Snapshot) {
		i := slices.IndexFunc(s.NodeENIs, func(o v1alpha1.NodeENI) bool { return o.Name == name })
		if i >= 0 {
			old := s.NodeENIs[i]
			n.ObjectMeta, n.Spec.DeviceIndex, n.Spec.NetworkCard = old.ObjectMeta, old.Spec.DeviceIndex, old.Spec.NetworkCard
			if old.Spec.IPv6 != nil {
				n.Spec.IPv6 = old.Spec.IPv6 // it never shrinks
			}
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

// drop deletes a NodeENI.
func (w *world) drop() {
	name := draw.Of(w.choices, "a", "b", "c")
	w.change(func(s *agent.Snapshot) {
		s.NodeENIs = slices.DeleteFunc(s.NodeENIs, func(n v1alpha1.NodeENI) bool { return n.Name == name })
	})
}

func (w *world) label() {
	label := draw.Of(w.choices, "no", "yes")
	w.change(func(s *agent.Snapshot) { s.Labels = map[string]string{"on": label} })
}

// flap removes a label for a moment. An agent that has seen the label before waits for
// it, for as long as it is told to.
func (w *world) flap() {
	set := func(label string) {
		w.change(func(s *agent.Snapshot) { s.Labels = map[string]string{"on": label} })
	}
	for range 1 + w.choices.N(3) {
		gap := draw.Of(w.choices, 300*time.Millisecond, 10*time.Millisecond, time.Second, 3*time.Second, 7*time.Second)
		s := w.memory.truth()
		seen := s.NodeExists && s.NodeProblem == "" && s.Labels["on"] == "yes" && !w.memory.isCut()
		w.mu.Lock()
		w.flapping = seen && gap < 5*time.Second && time.Since(w.since) > 200*time.Millisecond && time.Since(w.booted) > 10*time.Second
		w.mu.Unlock()
		set("no")
		time.Sleep(gap)
		set("yes")
		time.Sleep(draw.Of(w.choices, 300*time.Millisecond, 100*time.Millisecond, 2*time.Second))
		w.mu.Lock()
		w.flapping = false
		w.mu.Unlock()
	}
}

// restart kills the agent and starts another.
func (w *world) restart() {
	w.halt(true)
	w.boot()
}

// pause has no agent run for a while.
func (w *world) pause() {
	w.halt(w.choices.Bool())
	time.Sleep(draw.Of(w.choices, time.Second, 0, time.Minute, 7*time.Minute))
	w.boot()
}

// lag sets by how much describes are behind.
func (w *world) lag() {
	timing := w.cloud.Timing()
	timing.DescribeLag = draw.Of(w.choices, 0, 300*time.Millisecond, 5*time.Second, 40*time.Second)
	w.must(w.cloud.SetTiming(timing))
	w.doubt(false, timing.DescribeLag > linkedWindow)
}

func (w *world) runOut() {
	c := w.choices
	if c.Bool() {
		w.cloud.SetThrottle(c.Bool())
	} else {
		w.must(w.cloud.SetFreeAddresses(subnetA, draw.Of(c, 0, 1, 100)))
	}
}

// turn changes how IMDS answers.
func (h *hints) turn(w *world) func() {
	return func() { h.set(draw.Of(w.choices, imdsAnswers, imdsFails, imdsIsSlow, imdsHangs)) }
}

func (w *world) refuseReports() {
	refuses := w.choices.Bool()
	w.memory.set(func(m *memory) { m.refuses = refuses })
}

// hide has lists lack a NodeENI that is there, or lets a NodeENI be deleted of which
// no watch tells. Later lists are complete again.
func (w *world) hide() {
	s := w.memory.truth()
	if len(s.NodeENIs) == 0 {
		return
	}
	uid := s.NodeENIs[w.choices.N(len(s.NodeENIs))].UID
	if w.choices.Rarely(3) && !w.alone {
		w.memory.set(func(m *memory) { m.unheard[uid] = true })
		w.change(func(s *agent.Snapshot) {
			s.NodeENIs = slices.DeleteFunc(s.NodeENIs, func(n v1alpha1.NodeENI) bool { return n.UID == uid })
		})
		return
	}
	w.memory.set(func(m *memory) { m.hidden[uid] = true })
	if w.choices.Bool() {
		w.restart()
	}
	time.Sleep(draw.Of(w.choices, time.Second, 30*time.Second, 90*time.Second, 5*time.Minute))
	w.memory.set(func(m *memory) { delete(m.hidden, uid) })
}

// disown makes the Node another instance for a while.
func (w *world) disown() {
	if w.alone {
		return
	}
	w.otherInstance(true)
	if w.choices.Bool() {
		w.restart()
	}
	time.Sleep(draw.Of(w.choices, time.Second, time.Minute, 5*time.Minute))
	w.otherInstance(false)
}

func (w *world) otherInstance(is bool) {
	problem := ""
	var since time.Time
	if is {
		problem, since = "its providerID names another instance", time.Now()
	}
	w.mu.Lock()
	w.idleSince = since
	w.mu.Unlock()
	w.memory.set(func(m *memory) { m.wanted.NodeProblem = problem })
}

// cutOff lets the agent hear EC2, but not the API server, while others go on.
func (w *world) cutOff() {
	if w.alone {
		return
	}
	w.memory.set(func(m *memory) { m.cut = true })
	for range w.choices.N(3) {
		draw.Of(w.choices, w.label, w.drop, w.wish, w.flap, w.meddle, w.edit, w.restart)()
		time.Sleep(draw.Of(w.choices, time.Second, 20*time.Second, 3*time.Minute))
	}
	w.memory.set(func(m *memory) { m.cut = false })
}
