package agent_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/agent"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/draw"
)

// FuzzAssign: numbers of addresses and prefixes grow while answers are lost, agents are
// killed and describes lag. A request for more has no token, and yet at no moment has an
// ENI more than its NodeENI asks for. In the end it has as many.
func FuzzAssign(f *testing.F) {
	for _, seed := range draw.Seeds(60) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 200 {
			t.Skip("long lives find nothing that short ones do not, and cannot be read")
		}
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, draw.From(data))
			w.counted = true
			w.boot()
			events := []func(){w.grow, w.grow, w.grow, w.faultAssign, w.faultAssign, w.restart, w.pause, w.lag}
			for step := 0; w.choices.More() && step < 20; step++ {
				events[w.choices.N(len(events))]()
				time.Sleep(draw.Of(w.choices, 100*time.Millisecond, 0, 30*time.Millisecond, time.Second, 20*time.Second, 90*time.Second, 6*time.Minute, 70*time.Minute))
			}
			w.mend()
			w.checkCounts(true)
			w.end()
		})
	})
}

// grow has a NodeENI ask for more addresses or prefixes.
func (w *world) grow() {
	c := w.choices
	w.change(func(s *agent.Snapshot) {
		n := &s.NodeENIs[c.N(len(s.NodeENIs))]
		var ipv4 v1alpha1.IPv4
		if n.Spec.IPv4 != nil {
			ipv4 = *n.Spec.IPv4
		}
		if more := int32(1 + c.N(2)); ipv4.Prefixes > 0 || ipv4.SecondaryAddresses == 0 && c.Bool() {
			ipv4.Prefixes = min(ipv4.Prefixes+more, 6)
		} else {
			ipv4.SecondaryAddresses = min(ipv4.SecondaryAddresses+more, 12)
		}
		n.Spec.IPv4 = &ipv4
		n.Generation++
	})
}

func (w *world) faultAssign() { w.inject("AssignPrivateIpAddresses") }

// checkCounts sees that no ENI has more addresses or prefixes than are asked for; all of
// them have settled when there are as many.
func (w *world) checkCounts(settled bool) {
	wanted := w.wanted()
	for _, e := range w.living() {
		var ipv4 v1alpha1.IPv4
		if spec := wanted[placeOf(e)]; spec.IPv4 != nil {
			ipv4 = *spec.IPv4
		}
		if most := w.self.InstanceType == small && ipv4.SecondaryAddresses+ipv4.Prefixes >= smallAddresses; most {
			settled = false // the instance type does not take as many
		}
		addresses, prefixes := int32(len(e.PrivateIPs)-1), int32(len(e.IPv4Prefixes))
		if addresses > ipv4.SecondaryAddresses || prefixes > ipv4.Prefixes || settled && (v1alpha1.IPv4{SecondaryAddresses: addresses, Prefixes: prefixes}) != ipv4 {
			w.Errorf("%v: %s has %d secondary addresses and %d prefixes, want %+v", time.Now(), e.ID, addresses, prefixes, ipv4)
		}
	}
}
