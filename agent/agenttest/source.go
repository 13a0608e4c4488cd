// Package agenttest has one Source, one host with links and one Recorder for the tests
// of an agent, all in memory.
package agenttest

import (
	"context"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// Source is an agent.Source. The type of its snapshot is a parameter because the agent's
// own tests import this package.
type Source[Snapshot any] struct {
	Desired Snapshot
	Known   bool // there is a snapshot
	News    chan struct{}
	Report  v1alpha1.NodeENIStateStatus
	Err     error                            // of Refresh, Counts and Confirm
	Saves   chan v1alpha1.NodeENIStateStatus // unless nil, gets each report that is saved
	Hang    func()                           // unless nil, is called for each snapshot

	mu        sync.Mutex
	asked     []time.Time
	refreshed int
}

// Snapshot implements agent.Source.
func (s *Source[Snapshot]) Snapshot() (Snapshot, bool) {
	s.mu.Lock()
	s.asked = append(s.asked, time.Now())
	s.mu.Unlock()
	if s.Hang != nil {
		s.Hang()
	}
	return s.Desired, s.Known
}

// Asked is when a snapshot was asked for, but for the first n times.
func (s *Source[Snapshot]) Asked(n int) []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked[n:])
}

// Changed implements agent.Source.
func (s *Source[Snapshot]) Changed() <-chan struct{} { return s.News }

// Load implements agent.Source.
func (s *Source[Snapshot]) Load(context.Context) (v1alpha1.NodeENIStateStatus, error) {
	return s.Report, nil
}

// Save implements agent.Source.
func (s *Source[Snapshot]) Save(_ context.Context, report v1alpha1.NodeENIStateStatus) error {
	if s.Saves != nil {
		s.Saves <- report
	}
	return nil
}

// Counts implements agent.Source.
func (s *Source[Snapshot]) Counts(context.Context, string) (v1alpha1.NodeCounts, error) {
	return v1alpha1.NodeCounts{}, s.Err
}

// Refresh implements agent.Source.
func (s *Source[Snapshot]) Refresh(context.Context) error {
	s.refreshed++
	return s.Err
}

// Refreshed is how often it was asked for the newest truth.
func (s *Source[Snapshot]) Refreshed() int { return s.refreshed }

// Confirming is a Source that confirms what is wanted, unless it has an error.
type Confirming[Snapshot any] struct {
	*Source[Snapshot]
	Only types.UID // the error is for this NodeENI alone, unless empty
}

// Confirm implements agent.Confirmer.
func (c Confirming[Snapshot]) Confirm(_ context.Context, uid types.UID, _ string) error {
	if c.Only != "" && uid != c.Only {
		return nil
	}
	return c.Err
}
