package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// starts are the times from exec on, of several starts.
type starts struct {
	agentReady  []time.Duration // to /readyz of an agent whose node has one ENI
	agentKnown  []time.Duration // to that ENI being Ready again
	firstReady  []time.Duration // to the first ENI's being Ready, of a new node
	coordinator []time.Duration // to leading
}

// measureStarts restarts the agent of a node with one ENI and the coordinator so
// often, and starts as many agents of new nodes.
func (c *cluster) measureStarts(ctx context.Context, node string, times int) (starts, error) {
	var s starts
	for range times {
		c.agents[node].Kill()
		agent, err := c.startAgent(ctx, node)
		if err != nil {
			return s, err
		}
		ready, err := agent.ready(ctx)
		if err != nil {
			return s, err
		}
		known, err := agent.reaches(ctx, 1, "eni_agent_enis", "phase", "Ready")
		if err != nil {
			return s, err
		}
		s.agentReady, s.agentKnown = append(s.agentReady, ready), append(s.agentKnown, known)
	}
	for i := range times {
		name := fmt.Sprintf("new-%d", i+1)
		if err := c.addNode(ctx, name, 1); err != nil {
			return s, err
		}
		agent, err := c.startAgent(ctx, name)
		if err != nil {
			return s, err
		}
		first, err := agent.reaches(ctx, 1, "eni_agent_enis", "phase", "Ready")
		if err != nil {
			return s, err
		}
		s.firstReady = append(s.firstReady, first)
	}
	for range times {
		if err := c.coordinator.Stop(); err != nil { // it gives the Lease back
			return s, err
		}
		if err := c.startCoordinator(ctx); err != nil {
			return s, err
		}
		leads, err := c.coordinator.reaches(ctx, 1, "eni_coordinator_leader")
		if err != nil {
			return s, err
		}
		s.coordinator = append(s.coordinator, leads)
	}
	return s, nil
}

func median(d []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(d))
	return sorted[len(sorted)/2]
}
