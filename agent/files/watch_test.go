package files

import (
	"testing"
	"time"
)

func TestSettling(t *testing.T) {
	at := func(d time.Duration) time.Time { return time.Unix(1000, 0).Add(d) }
	one, two := []content{{name: "a"}}, []content{{name: "b"}}
	for _, test := range []struct {
		name string
		seen map[time.Duration][]content
		loss bool
		done time.Duration
	}{
		{"nothing more comes", map[time.Duration][]content{0: one}, false, settle},
		{"a change after a while", map[time.Duration][]content{0: one, settle / 2: two}, false, settle/2 + settle},
		{"a NodeENI would go", map[time.Duration][]content{0: one}, true, settleLoss},
	} {
		t.Run(test.name, func(t *testing.T) {
			var s settling
			var now []content
			for d := time.Duration(0); ; d += settle / 10 {
				if all, ok := test.seen[d]; ok {
					now = all
				}
				if !s.see(now, at(d)) {
					t.Fatal("nothing is to be taken in")
				}
				if s.done(at(d), test.loss) {
					if d != test.done {
						t.Errorf("done after %v, want %v", d, test.done)
					}
					break
				}
				if d > settleMax {
					t.Fatal("never done")
				}
			}
			s.end()
			if s.see(now, at(settleMax)) {
				t.Error("it does not rest afterwards")
			}
			if !s.begin(at(settleMax)) || s.begin(at(settleMax)) || !s.see(now, at(settleMax)) {
				t.Error("an event does not make it look")
			}
		})
	}
	t.Run("it never comes to rest", func(t *testing.T) {
		var s settling
		for d := time.Duration(0); d < settleMax; d += settlePoll {
			s.see([]content{{data: d.String()}}, at(d))
			if s.done(at(d), true) {
				t.Fatalf("done after %v", d)
			}
		}
		if s.see([]content{{data: "last"}}, at(settleMax)); !s.done(at(settleMax), true) {
			t.Error("never done")
		}
	})
	t.Run("it comes and goes", func(t *testing.T) {
		var s settling
		for d, there := time.Duration(0), true; d < 3*settleMax; d, there = d+settlePoll, !there {
			s.see([]content{{data: d.String()}}, at(d))
			if s.done(at(d), !there) && !there {
				t.Fatalf("believed to be gone after %v", d)
			}
		}
	})
}
