package agent

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/agent/agenttest"
	"github.com/aws-multi-eni/aws-multi-eni/agent/retry"
)

// A host that changes all the while costs ten reconciles a second, and an awaited link
// hardly waits because of that.
func TestHostPace(t *testing.T) {
	for name, test := range map[string]struct {
		set  func(*Agent)
		want time.Duration
	}{
		"at rest":                     {func(*Agent) {}, hostInterval},
		"other calls are under way":   {func(a *Agent) { a.calls.running[retry.Key{ENI: "x"}] = call{verb: create} }, hostInterval},
		"an attach is under way":      {func(a *Agent) { a.calls.running[retry.Key{ENI: "x"}] = call{verb: attach} }, awaitingHostInterval},
		"a link is awaited":           {func(a *Agent) { a.host.links["x"] = linkState{wait: wait{waiting: time.Now()}} }, awaitingHostInterval},
		"a link does not come at all": {func(a *Agent) { a.host.links["x"] = linkState{wait: wait{waiting: time.Now(), overdue: true}} }, hostInterval},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				source := &source{}
				host := agenttest.NewLinks()
				a := New(Config{Source: source, Links: host, Log: slog.New(slog.DiscardHandler)})
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan error)
				go func() { ended <- a.Run(ctx) }()
				a.calls.results <- func() { test.set(a) }
				time.Sleep(time.Second)
				before := len(source.Asked(0))
				const changes = 500
				for range changes {
					time.Sleep(time.Millisecond)
					host.Change()
				}
				synctest.Wait()
				during := source.Asked(before)
				if want := int(changes * time.Millisecond / test.want); len(during) != want {
					t.Errorf("%d reconciles, want %d", len(during), want)
				}
				for i := range during[1:] {
					if gap := during[i+1].Sub(during[i]); gap != test.want {
						t.Errorf("reconcile %d came %v after the one before, want %v", i+1, gap, test.want)
					}
				}
				a.calls.results <- func() { clear(a.calls.running) } // or its end is awaited
				cancel()
				if err := <-ended; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// What waits for its reconcile does not put off what is due before, and does not start
// another reconcile when one for another reason has looked already.
func TestHostPaceAndOtherPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := agenttest.NewLinks()
		source := &source{News: make(chan struct{})}
		a := New(Config{Source: source, Links: host, Log: slog.New(slog.DiscardHandler)})
		a.selection.read, a.selection.nodeSeen = true, true
		a.synced(time.Now())
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- a.Run(ctx) }()
		step := func(d time.Duration, do func(), want int) {
			t.Helper()
			time.Sleep(d)
			do()
			synctest.Wait()
			if n := len(source.Asked(0)); n != want {
				t.Errorf("%d reconciles, want %d", n, want)
			}
		}
		nothing := func() {}
		step(time.Second, nothing, 1)
		step(0, host.Change, 2)
		step(time.Millisecond, host.Change, 2)
		step(time.Millisecond, func() { source.News <- struct{}{} }, 3)
		step(time.Second, nothing, 3)
		step(0, func() {
			a.calls.results <- func() { a.selection.grace = grace{"x": {until: time.Now().Add(60 * time.Millisecond)}} }
		}, 4)
		step(time.Millisecond, host.Change, 5)
		step(time.Millisecond, host.Change, 5)
		step(60*time.Millisecond, nothing, 6)
		step(time.Second, nothing, 6)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
