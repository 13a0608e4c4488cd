package agent

import (
	"slices"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/draw"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// happen lets one thing happen.
func (w *world) happen() {
	c := w.choices
	switch c.N(16) {
	case 0, 1, 2:
		w.fault()
	case 3, 4:
		w.wish()
	case 5:
		w.drop()
	case 6:
		label := draw.Of(c, "no", "yes")
		w.change(func(s *Snapshot) { s.Labels = map[string]string{"on": label} })
	case 7:
		w.halt(true)
		w.boot()
	case 8:
		w.halt(c.Bool())
		time.Sleep(draw.Of(c, time.Second, 0, time.Minute, 7*time.Minute))
		w.boot()
	case 9:
		timing := w.cloud.Timing()
		timing.DescribeLag = draw.Of(c, 0, 300*time.Millisecond, 5*time.Second, 40*time.Second)
		w.must(w.cloud.SetTiming(timing))
		w.lagged = w.lagged || timing.DescribeLag > pluggedWindow
	case 10:
		w.meddle()
	case 11:
		w.intrude()
	case 12:
		refuses := c.Bool()
		w.memory.set(func(m *memory) { m.refuses = refuses })
	case 13:
		w.loseReport()
	case 14:
		w.loseLinks()
		w.host.take(c.Bool())
	case 15:
		if c.Bool() {
			w.cloud.SetThrottle(c.Bool())
		} else {
			w.must(w.cloud.SetFreeAddresses(subnetA, draw.Of(c, 0, 1, 100)))
		}
	}
}

// fault lets a kind of call go wrong once or a few times.
func (w *world) fault() {
	c := w.choices
	f := cloud.Fault{
		Action: draw.Of(c, "CreateNetworkInterface", "AttachNetworkInterface", "ModifyNetworkInterfaceAttribute",
			"DescribeNetworkInterfaces", "DetachNetworkInterface", "DeleteNetworkInterface", "DescribeSubnets", "*"),
		Skip:  c.N(3),
		Count: 1 + c.N(3),
		After: c.Bool(),
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

// drop deletes a NodeENI.
func (w *world) drop() {
	name := draw.Of(w.choices, "a", "b", "c")
	w.change(func(s *Snapshot) {
		s.NodeENIs = slices.DeleteFunc(s.NodeENIs, func(n v1alpha1.NodeENI) bool { return n.Name == name })
	})
}

// meddle has somebody detach or delete one of our ENIs.
func (w *world) meddle() {
	all := w.living()
	if len(all) == 0 {
		return
	}
	e := all[w.choices.N(len(all))]
	w.loseLinks()
	if e.Attachment != nil {
		_ = w.cloud.DetachByHand(e.ID)
		if w.choices.Bool() {
			return
		}
		time.Sleep(100 * time.Second)
	}
	_ = w.cloud.DeleteByHand(e.ID)
}

// loseLinks is called before links vanish: then EC2 is believed after
// pluggedWindow, and its lag must not be longer, or another ENI is made, and one
// of both is released when EC2 shows them.
func (w *world) loseLinks() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.doubles = w.doubles || w.lagged
}

// intrude has somebody else's ENI attached, where ours may want to be.
func (w *world) intrude() {
	if len(w.foreign) > 3 {
		return
	}
	e, err := w.cloud.CreateNetworkInterface(cloud.CreateNetworkInterfaceInput{SubnetID: subnetA, Description: "of the CNI"})
	if err != nil {
		return // the subnet is full
	}
	index := int32(1 + w.choices.N(4))
	for ; index < 15; index++ {
		if _, err := w.cloud.AttachNetworkInterface(cloud.AttachNetworkInterfaceInput{
			NetworkInterfaceID: e.ID, InstanceID: w.self.InstanceID, DeviceIndex: index,
		}); err == nil {
			break
		}
	}
	time.Sleep(6 * time.Second) // attached
	now, _ := w.cloud.Interface(e.ID)
	w.foreign = append(w.foreign, now)
}

// loseReport has somebody delete the report, with the Node or without.
func (w *world) loseReport() {
	gone := w.choices.Bool() && !w.alone
	w.mu.Lock()
	w.doubles, w.since = true, time.Now() // what was asked for may be forgotten
	w.mu.Unlock()
	w.memory.set(func(m *memory) {
		m.report, m.lost = v1alpha1.NodeENIStateStatus{}, true
		m.wanted.NodeExists = !gone
	})
	if !gone {
		return
	}
	time.Sleep(draw.Of(w.choices, time.Second, 30*time.Second, 3*time.Minute))
	w.change(func(s *Snapshot) { s.NodeExists = true })
}
