package agent

import (
	"maps"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// The ways of ENIs to Ready, second by second.
func TestArrivals(t *testing.T) {
	at := func(second int) time.Time { return time.Unix(int64(10_000+second), 0) }
	wants := []want{wantFor("x", subnetA, 2)}
	place := wants[0].slot
	selected := map[types.UID]bool{"x": true}
	mine := map[slot]string{place: "eni-x"}
	type timed struct{ create, attach, link, configure time.Duration }
	for name, test := range map[string]struct {
		live func(arrivals)
		want []timed
	}{
		"one after the other": {func(a arrivals) {
			a.ask(selected, map[types.UID]int64{"x": 1}, at(0))
			a.follow(nil, nil, at(0)) // its subnet is looked up
			a.follow(wants, nil, at(1))
			a.created(place, "eni-x", at(2))
			a.follow(wants, mine, at(2))
			a.attached("eni-x", at(4))
			a.linked("eni-x", at(7))
			a.linked("eni-x", at(8))
		}, []timed{{2, 2, 3, 3}}},
		"the link comes before EC2's answer": {func(a arrivals) {
			a.ask(selected, map[types.UID]int64{"x": 1}, at(0))
			a.follow(wants, nil, at(0))
			a.created(place, "eni-x", at(1))
			a.linked("eni-x", at(2))
			a.attached("eni-x", at(5))
		}, []timed{{1, 4, 0, 5}}},
		"the answer to the attach is lost": {func(a arrivals) {
			a.follow(wants, nil, at(0))
			a.created(place, "eni-x", at(1))
			a.linked("eni-x", at(6))
		}, []timed{{1, 5, 0, 4}}},
		"it was there": {func(a arrivals) {
			a.ask(selected, map[types.UID]int64{"x": 1}, at(0))
			a.follow(wants, nil, at(0))
			a.follow(wants, mine, at(1))
		}, nil},
		"another one after it has gone": {func(a arrivals) {
			a.follow(wants, mine, at(0))
			a.again(place, at(3))
			a.follow(wants, nil, at(3))
			a.created(place, "eni-x", at(5))
			a.attached("eni-x", at(6))
			a.linked("eni-x", at(7))
		}, []timed{{2, 1, 1, 3}}},
		"no longer wanted, and wanted again after a change": {func(a arrivals) {
			a.ask(selected, map[types.UID]int64{"x": 1}, at(0))
			a.follow(wants, nil, at(0))
			a.ask(nil, nil, at(3))
			a.follow(nil, nil, at(3))
			a.ask(selected, map[types.UID]int64{"x": 2}, at(4))
			a.follow(wants, nil, at(4))
			a.created(place, "eni-x", at(5))
			a.attached("eni-x", at(6))
			a.linked("eni-x", at(7))
		}, []timed{{1, 1, 1, 3}}},
	} {
		t.Run(name, func(t *testing.T) {
			a := newArrivals()
			test.live(a)
			var got []timed
			arrived := func(v arrival) {
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
			a.ready(entry, arrived)
			entry[0].Phase = v1alpha1.PhaseReady
			a.ready(entry, arrived)
			a.ready(entry, arrived) // once
			for i := range got {
				got[i] = timed{got[i].create / time.Second, got[i].attach / time.Second, got[i].link / time.Second, got[i].configure / time.Second}
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("timed %v, want %v", got, test.want)
			}
		})
	}
}
