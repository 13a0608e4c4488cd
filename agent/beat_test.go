package agent

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/agent/agenttest"
)

// The heart beats while the loop turns, also when there is nothing to do, and
// not while it is stuck.
func TestBeat(t *testing.T) {
	var hang atomic.Bool
	hangs, free := make(chan struct{}), make(chan struct{})
	source := &source{News: make(chan struct{}), Err: context.Canceled, Hang: func() {
		if hang.Swap(false) {
			close(hangs)
			<-free
		}
	}}
	var beats atomic.Int64
	a := New(Config{Source: source, Links: agenttest.NewLinks(), Log: slog.New(slog.DiscardHandler), Beat: func() { beats.Add(1) }, BeatEvery: time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- a.Run(ctx) }()
	for beats.Load() < 10 {
		time.Sleep(time.Millisecond)
	}
	hang.Store(true)
	source.News <- struct{}{}
	<-hangs
	stuck := beats.Load()
	time.Sleep(100 * time.Millisecond)
	if now := beats.Load(); now != stuck {
		t.Errorf("%d beats while the loop was stuck", now-stuck)
	}
	cancel()
	close(free) // the last reconcile asks no more: Refresh fails
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
