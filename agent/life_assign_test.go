package agent_test

import (
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/utils/ptr"

	"github.com/aws-multi-eni/aws-multi-eni/agent"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/draw"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// FuzzAssign: numbers of addresses and prefixes grow while answers are lost, agents are
// killed and describes lag. A request for more has no token, and yet at no moment has an
// ENI more than its NodeENI asks for. In the end it has as many.
func FuzzAssign(f *testing.F) {
	fuzzWorld(f, 60, func(w *world) {
		w.counted = true
		w.boot()
		events := []func(){w.grow, w.grow, w.grow, w.faultAssign, w.faultAssign, w.restart, w.pause, w.forget, w.lagMore, w.lagMore}
		for step := 0; w.choices.More() && step < 20; step++ {
			events[w.choices.N(len(events))]()
			time.Sleep(draw.Of(w.choices, 100*time.Millisecond, 0, 30*time.Millisecond, time.Second, 20*time.Second, 90*time.Second, 6*time.Minute, 70*time.Minute))
		}
		w.endFaults()
		w.checkCounts(true)
	})
}

// EC2 gives an ENI more, nothing tells the agent, and describes lag: the agent, or the one
// that is started in its place, waits until they must show it, and does not ask again.
func TestAssignIsNotAnswered(t *testing.T) {
	for name, test := range map[string]struct {
		call     string
		from, to func(*v1alpha1.NodeENISpec)
	}{
		"ipv4.secondaryAddresses": {assignIPv4Call, ipv4(1, 0), ipv4(4, 0)},
		"ipv4.prefixes":           {assignIPv4Call, ipv4(0, 1), ipv4(0, 3)},
		"ipv6.addresses":          {assignIPv6Call, ipv6(ptr.To(int32(1)), 0), ipv6(ptr.To(int32(3)), 0)},
		"ipv6.prefixes":           {assignIPv6Call, ipv6(nil, 1), ipv6(nil, 2)},
	} {
		for what, happens := range map[string]func(*world){"an agent that goes on": func(*world) {}, "a kill": (*world).restart, "a kill, and the report is lost": (*world).forget} {
			t.Run(name+", "+what, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w, e := settledWorld(t, test.from)
					w.counted = true
					timing := w.cloud.Timing()
					timing.DescribeLag = 4 * time.Minute
					w.must(w.cloud.SetTiming(timing))
					w.must(w.cloud.Inject(cloud.Fault{Action: test.call, Count: 1, After: true, Hang: true}))
					w.respecify(test.to)
					time.Sleep(500 * time.Millisecond)
					happens(w)
					time.Sleep(20 * time.Minute)
					w.checkCounts(true)
					now, _ := w.cloud.Interface(e.ID)
					w.compare(now, w.wanted()[placeOf(e)])
					if n := cloud.CountCalls(w.cloud.Calls())[test.call]; n != 1 {
						t.Errorf("EC2 was asked %d times", n)
					}
					w.end()
				})
			})
		}
	}
}

// grow has a NodeENI ask for more addresses or prefixes.
func (w *world) grow() {
	c := w.choices
	w.change(func(s *agent.Snapshot) {
		n := &s.NodeENIs[c.N(len(s.NodeENIs))]
		ipv4, ipv6 := ptr.Deref(n.Spec.IPv4, v1alpha1.IPv4{}), ptr.Deref(n.Spec.IPv6, v1alpha1.IPv6{})
		more, family := int32(1+c.N(2)), c.N(4)
		if family != 1 {
			more4(&ipv4, more, c.Bool())
			n.Spec.IPv4 = &ipv4
		}
		if family != 0 {
			more6(&ipv6, more, c.Bool())
			n.Spec.IPv6 = &ipv6
		}
		n.Generation++
	})
}

func more4(s *v1alpha1.IPv4, more int32, prefixes bool) {
	if s.Prefixes > 0 || s.SecondaryAddresses == 0 && prefixes {
		s.Prefixes = min(s.Prefixes+more, 6)
	} else {
		s.SecondaryAddresses = min(s.SecondaryAddresses+more, 12)
	}
}

func more6(s *v1alpha1.IPv6, more int32, prefixes bool) {
	if s.Prefixes > 0 || s.Addresses == nil && prefixes {
		s.Prefixes = min(s.Prefixes+more, 6)
	} else {
		s.Addresses = ptr.To(min(ptr.Deref(s.Addresses, 0)+more, 12))
	}
}

func (w *world) faultAssign() {
	w.inject(draw.Of(w.choices, "AssignPrivateIpAddresses", "AssignIpv6Addresses"))
}

// forget has an agent start without a report.
func (w *world) forget() {
	w.distrustReport()
	w.halt(true)
	w.memory.set(func(m *memory) { m.report, m.lost = v1alpha1.NodeENIStateStatus{}, true })
	w.boot()
}

// lagMore lets describes lag for as long as AWS says that they may.
func (w *world) lagMore() {
	timing := w.cloud.Timing()
	timing.DescribeLag = draw.Of(w.choices, 0, 5*time.Second, 40*time.Second, 4*time.Minute)
	w.must(w.cloud.SetTiming(timing))
	w.doubt(false, timing.DescribeLag > linkedWindow)
}

// checkCounts sees that no ENI has more addresses or prefixes than are asked for; all of
// them have settled when there are as many.
func (w *world) checkCounts(settled bool) {
	wanted := w.wanted()
	for _, e := range w.living() {
		spec := wanted[placeOf(e)]
		ipv4, ipv6 := ptr.Deref(spec.IPv4, v1alpha1.IPv4{}), ptr.Deref(spec.IPv6, v1alpha1.IPv6{})
		addresses6, most6 := ptr.Deref(ipv6.Addresses, 0), ptr.Deref(ipv6.Addresses, 0)
		if e.SubnetID == subnetA2 { // gives one to each ENI that asks for none
			most6 = max(addresses6, 1)
		}
		if w.self.InstanceType == small && max(1+ipv4.SecondaryAddresses+ipv4.Prefixes, addresses6+ipv6.Prefixes) > smallAddresses {
			settled = false // the instance type does not take as many
		}
		for _, count := range []struct {
			what             string
			has, least, most int32
		}{
			{"secondary addresses", int32(len(e.PrivateIPs) - 1), ipv4.SecondaryAddresses, ipv4.SecondaryAddresses},
			{"IPv4 prefixes", int32(len(e.IPv4Prefixes)), ipv4.Prefixes, ipv4.Prefixes},
			{"IPv6 addresses", int32(len(e.IPv6Addresses)), addresses6, most6},
			{"IPv6 prefixes", int32(len(e.IPv6Prefixes)), ipv6.Prefixes, ipv6.Prefixes},
		} {
			if count.has > count.most || settled && count.has < count.least {
				w.Errorf("%v: %s has %d %s, want %d", time.Now(), e.ID, count.has, count.what, count.most)
			}
		}
	}
}
