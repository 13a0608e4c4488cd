package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// history keeps what was seen, in order, and wakes those who wait for more.
type history[T interface{ when() time.Time }] struct {
	mu   sync.Mutex
	all  []T
	err  error         // nothing more comes
	more chan struct{} // closed with the next one
}

func newHistory[T interface{ when() time.Time }]() *history[T] {
	return &history[T]{more: make(chan struct{})}
}

func (h *history[T]) add(err error, more ...T) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all, h.err = append(h.all, more...), err
	close(h.more)
	h.more = make(chan struct{})
}

// since is what was seen from a moment on.
func (h *history[T]) since(from time.Time) []T {
	h.mu.Lock()
	defer h.mu.Unlock()
	i, _ := slices.BinarySearchFunc(h.all, from, func(one T, t time.Time) int { return one.when().Compare(t) })
	return slices.Clone(h.all[i:])
}

// await waits for the first since a moment that is so.
func (h *history[T]) await(ctx context.Context, from time.Time, what string, is func(T) bool) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		h.mu.Lock()
		more, err := h.more, h.err
		h.mu.Unlock()
		seen := h.since(from)
		if i := slices.IndexFunc(seen, is); i >= 0 {
			return seen[i], nil
		}
		if err == nil {
			select {
			case <-more:
				continue
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
		var none T
		return none, fmt.Errorf("%s: %w; there was %+v", what, err, seen)
	}
}

// report is a NodeENIState as a watch has shown it.
type report struct {
	at   time.Time
	enis []v1alpha1.ENIState
}

func (r report) when() time.Time { return r.at }

// in says whether there are n ENIs, all in this phase.
func in(phase v1alpha1.Phase, n int) func(report) bool {
	return func(r report) bool {
		count := 0
		for _, e := range r.enis {
			if e.Phase == phase && e.ENIID != "" {
				count++
			}
		}
		return count == n
	}
}
