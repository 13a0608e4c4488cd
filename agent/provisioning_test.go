package agent

import (
	"maps"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/agent/inventory"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// ENIs from wanted to Ready, second by second.
func TestProvisioning(t *testing.T) {
	at := func(second int) time.Time { return time.Unix(int64(10_000+second), 0) }
	wants := []want{wantFor("x", subnetA, 2)}
	slot := wants[0].Slot
	since := func(second int) selection {
		return selection{nodeENIs: map[types.UID]selected{"x": {1, true, at(second)}}}
	}
	nothing, one := desired{}, desired{wants: wants}
	mine := map[inventory.Slot]string{slot: "eni-x"}
	type timed struct{ create, attach, link, configure time.Duration }
	for name, test := range map[string]struct {
		live func(provisioning)
		want []timed
	}{
		"one after the other": {func(p provisioning) {
			p.follow(since(0), nothing, nil, at(9)) // its subnet is looked up
			p.follow(since(0), one, nil, at(9))
			p.created(slot, "eni-x", at(2))
			p.follow(since(0), one, mine, at(9))
			p.attached("eni-x", at(4))
			p.linked("eni-x", at(7))
			p.linked("eni-x", at(8))
		}, []timed{{2, 2, 3, 3}}},
		"the link comes before EC2's answer": {func(p provisioning) {
			p.follow(since(0), one, nil, at(9))
			p.created(slot, "eni-x", at(1))
			p.linked("eni-x", at(2))
			p.attached("eni-x", at(5))
		}, []timed{{1, 4, 0, 5}}},
		"the answer to the attach is lost": {func(p provisioning) {
			p.follow(since(0), one, nil, at(9))
			p.created(slot, "eni-x", at(1))
			p.linked("eni-x", at(6))
		}, []timed{{1, 5, 0, 4}}},
		"it was there": {func(p provisioning) {
			p.follow(since(0), one, nil, at(9))
			p.follow(since(0), one, mine, at(9))
		}, nil},
		"another one after it has gone": {func(p provisioning) {
			p.follow(since(0), one, mine, at(9))
			p.again(slot, at(3))
			p.follow(since(0), one, nil, at(9))
			p.created(slot, "eni-x", at(5))
			p.attached("eni-x", at(6))
			p.linked("eni-x", at(7))
		}, []timed{{2, 1, 1, 3}}},
		"no longer wanted, and wanted again after a change": {func(p provisioning) {
			p.follow(since(0), one, nil, at(9))
			p.follow(selection{}, nothing, nil, at(9))
			p.follow(since(4), one, nil, at(9))
			p.created(slot, "eni-x", at(5))
			p.attached("eni-x", at(6))
			p.linked("eni-x", at(7))
		}, []timed{{1, 1, 1, 3}}},
	} {
		t.Run(name, func(t *testing.T) {
			p := provisioning{}
			test.live(p)
			var got []timed
			done := func(v provision) {
				s := v.steps(at(10))
				got = append(got, timed{s["create"], s["attach"], s["link"], s["configure"]})
				var sum time.Duration
				for d := range maps.Values(s) {
					sum += d
				}
				if sum != at(10).Sub(v.wanted) {
					t.Errorf("the steps add up to %v, and all took %v", sum, at(10).Sub(v.wanted))
				}
			}
			entry := []v1alpha1.ENIState{{ENIID: "eni-x", Phase: v1alpha1.PhaseConfiguring}}
			p.ready(entry, done)
			entry[0].Phase = v1alpha1.PhaseReady
			p.ready(entry, done)
			p.ready(entry, done) // once
			for i := range got {
				got[i] = timed{got[i].create / time.Second, got[i].attach / time.Second, got[i].link / time.Second, got[i].configure / time.Second}
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("timed %v, want %v", got, test.want)
			}
		})
	}
}
