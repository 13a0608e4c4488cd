package agent

import (
	"context"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/agent/hostnet"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// deaf is a Source that hangs the first time that it is asked after news.
type deaf struct {
	news, hangs, free chan struct{}
	hang              *atomic.Bool
}

func (d deaf) Snapshot() (Snapshot, bool) {
	if d.hang.Swap(false) {
		close(d.hangs)
		<-d.free
	}
	return Snapshot{}, false
}
func (d deaf) Changed() <-chan struct{} { return d.news }
func (deaf) Load(context.Context) (v1alpha1.NodeENIStateStatus, error) {
	return v1alpha1.NodeENIStateStatus{}, nil
}
func (deaf) Save(context.Context, v1alpha1.NodeENIStateStatus) error { return nil }
func (deaf) Counts(context.Context, string) (v1alpha1.NodeCounts, error) {
	return v1alpha1.NodeCounts{}, context.Canceled
}
func (deaf) Refresh(context.Context) error { return context.Canceled }

// linkless is a host without links.
type linkless struct{ Links }

func (linkless) Watch(context.Context) (<-chan struct{}, error)   { return nil, nil }
func (linkless) Know(...net.HardwareAddr) error                   { return nil }
func (linkless) Present(net.HardwareAddr) (bool, error)           { return false, nil }
func (linkless) Configure(hostnet.Wanted) (hostnet.Status, error) { return hostnet.Status{}, nil }

// The heart beats while the loop turns, also when there is nothing to do, and
// not while it is stuck.
func TestBeat(t *testing.T) {
	source := deaf{make(chan struct{}), make(chan struct{}), make(chan struct{}), new(atomic.Bool)}
	var beats atomic.Int64
	a := New(Config{Source: source, Links: linkless{}, Log: slog.New(slog.DiscardHandler), Beat: func() { beats.Add(1) }, BeatEvery: time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- a.Run(ctx) }()
	for beats.Load() < 10 {
		time.Sleep(time.Millisecond)
	}
	source.hang.Store(true)
	source.news <- struct{}{}
	<-source.hangs
	stuck := beats.Load()
	time.Sleep(100 * time.Millisecond)
	if now := beats.Load(); now != stuck {
		t.Errorf("%d beats while the loop was stuck", now-stuck)
	}
	cancel()
	close(source.free) // the last pass asks no more: Refresh fails
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
