package agent

import (
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/agent/agenttest"
	"github.com/aws-multi-eni/aws-multi-eni/imds"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// What others have taken is attached or made again at once when the API server
// confirms it, and not before; what is new is not asked about.
func TestWhatOthersTookIsConfirmed(t *testing.T) {
	now := time.Now()
	x := wantFor("x", subnetA, 2)
	attached := eniFor("eni-x", "x", subnetA).at(me, 2, "attached")
	detached, detaching := eniFor("eni-x", "x", subnetA), eniFor("eni-x", "x", subnetA).at(me, 2, "detaching")
	for name, test := range map[string]struct {
		before fixture
		shown  []eni.ENI
		again  int  // describes until that is believed
		asks   bool // the API server
		verb   verb // of what follows
	}{
		"still attached": {attached, []eni.ENI{attached.ENI.ENI}, 1, false, ""},
		"detached":       {attached, []eni.ENI{detached.ENI.ENI}, 1, true, attach},
		"detaching":      {attached, []eni.ENI{detaching.ENI.ENI}, 1, true, ""},
		"deleted":        {attached, nil, 2, true, create},
		"new":            {detached, []eni.ENI{detached.ENI.ENI}, 1, false, attach},
	} {
		t.Run(name, func(t *testing.T) {
			inMemory, events := &source{Err: errors.New("Unauthorized")}, &agenttest.Recorder{}
			a := New(Config{Log: slog.New(slog.DiscardHandler), Source: agenttest.Confirming[Snapshot]{Source: inMemory}, Recorder: events, Links: agenttest.NewLinks(), Identity: imds.Identity{InstanceID: me}})
			a.desired.wants = []want{x}
			a.synced(now, test.before)
			works := func() verb {
				p := next(a.view(now))
				switch {
				case len(p.decide) > 0:
					return create
				case len(p.calls) > 0 && slices.Contains([]verb{create, attach}, p.calls[0].verb):
					return p.calls[0].verb
				}
				return ""
			}
			for range test.again {
				a.described(slices.Clone(test.shown), nil, now)
			}
			for range 2 {
				a.confirmations.confirm(t.Context(), a.desired, now)
				if asks := a.calls.busy(confirmKey); asks != test.asks {
					t.Fatalf("it asks: %v", asks)
				}
				if !test.asks {
					break
				}
				(<-a.calls.results)()
				if verb := works(); verb != "" {
					t.Fatalf("unconfirmed it does %s", verb)
				}
				entry := report(situation{view: a.view(now), plan: next(a.view(now))}, a.reporter.current, now).ENIs[0]
				if test.verb != "" && entry.Reason != reasonOutOfTouch {
					t.Errorf("it reports %s: %s", entry.Reason, entry.Message)
				}
				now = now.Add(time.Hour)
			}
			if inMemory.Err = nil; test.asks {
				a.failures.Reset(confirmKey)
				a.failures.Failed(confirmKey, errors.New("Unauthorized"), now.Add(-time.Hour))
				a.confirmations.confirm(t.Context(), a.desired, now)
				(<-a.calls.results)()
				a.confirmations.confirm(t.Context(), a.desired, now)
			}
			if verb := works(); verb != test.verb {
				t.Errorf("it does %q, want %q", verb, test.verb)
			}
			if told := slices.Equal(events.Reasons, []string{reasonOutOfTouch}); told != test.asks {
				t.Errorf("Events %v", events.Reasons)
			}
		})
	}
}

// A NodeENI of whose end the watch has not told holds up no other.
func TestEachIsConfirmedByItself(t *testing.T) {
	now := time.Now()
	source := agenttest.Confirming[Snapshot]{Source: &source{Err: errors.New("not found")}, Only: "gone"}
	a := New(Config{Log: slog.New(slog.DiscardHandler), Source: source, Recorder: &agenttest.Recorder{}, Identity: imds.Identity{InstanceID: me}})
	var unattached []fixture
	for _, uid := range []string{"a", "gone", "z"} {
		w := wantFor(uid, subnetA, 2)
		a.desired.wants, unattached = append(a.desired.wants, w), append(unattached, eniFor("eni-"+uid, uid, subnetA))
		a.confirmations.taken[w.Slot] = "eni-" + uid
	}
	a.synced(now, unattached...)
	a.confirmations.confirm(t.Context(), a.desired, now)
	(<-a.calls.results)()
	var attached []string
	for _, c := range next(a.view(now)).calls {
		attached = append(attached, c.eni)
	}
	if slices.Sort(attached); !slices.Equal(attached, []string{"eni-a", "eni-z"}) {
		t.Errorf("attached are %v", attached)
	}
	if !a.failures.Blocks(confirmKey, now) {
		t.Error("the one that is not confirmed is not asked about again")
	}
}
