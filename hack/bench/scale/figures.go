package main

import (
	"sync"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/fleet"
)

// figures is what was found at one size. Phases that were left out are nil.
type figures struct {
	size
	Agents      fleet.Stats // before there is anything to do
	AgentsReady fleet.Stats // with all ENIs
	Label, Cold *arrival
	Idle        *counts
	Roll        *rolling
	Delete      *removal

	LargestState   int // bytes
	mu             sync.Mutex
	LargestNodeENI int // bytes
}

func (f *figures) largestNodeENI(bytes int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.LargestNodeENI = max(f.LargestNodeENI, bytes)
}

// arrival is how nodes got their ENIs.
type arrival struct {
	counts
	Times []time.Duration // each node's, in order
	Begun time.Duration   // when the last node was labelled, or the last agent started
}

type rolling struct {
	counts
	Leaks int
}

type removal struct {
	counts
	Gone time.Duration
}

func (a *arrival) last() float64 { return a.Times[len(a.Times)-1].Seconds() }

// quantile of the nodes' times in seconds.
func (a *arrival) quantile(q float64) float64 {
	return a.Times[int(q*float64(len(a.Times)-1)+0.5)].Seconds()
}

// attachBound is the least time in seconds that EC2's bucket lets n calls of
// AttachNetworkInterface take, and as many of DetachNetworkInterface.
func attachBound(n int) float64 { return max(0, float64(n-50)/5) }

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// perENI is a number of calls divided by the number of ENIs.
func (c counts) perENI(s size, match func(fleet.Call) bool) float64 {
	return float64(c.Calls.Sum(match)) / float64(s.total())
}

// describesPerSecond are those of the coordinator.
func (c counts) describesPerSecond() float64 {
	return float64(c.Calls.Sum(func(c fleet.Call) bool { return c.Coordinator && !c.Mutating() })) / c.Took.Seconds()
}

// Kinds of calls.
func byAgents(c fleet.Call) bool   { return !c.Coordinator }
func mutating(c fleet.Call) bool   { return byAgents(c) && c.Mutating() }
func describing(c fleet.Call) bool { return byAgents(c) && !c.Mutating() }
