package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// idle is what a process uses while nothing happens, and what is measured of its node
// then.
type idle struct {
	usage      usage   // in the end
	goroutines float64 // those that answer the question included
	heap       float64 // bytes that are in use

	// In a minute.
	cpu                            time.Duration
	wakeUps, calls, received, sent float64

	pass   time.Duration // CPU of each pass when the host changes
	report int           // bytes of the node's NodeENIState
}

// watchIdle lets all settle, and then watches for a while without a touch.
func (c *cluster) watchIdle(ctx context.Context, settle, watched time.Duration) (map[string]idle, error) {
	if err := pause(ctx, settle); err != nil {
		return nil, err
	}
	first := len(c.Sim.Cloud().Calls())
	before, err := c.usages()
	if err != nil {
		return nil, err
	}
	if err := pause(ctx, watched); err != nil {
		return nil, err
	}
	after, err := c.usages()
	if err != nil {
		return nil, err
	}
	all := map[string]idle{}
	minutes := watched.Minutes()
	for name, s := range c.servers() {
		from, to := before[name], after[name]
		i := idle{
			usage: to, cpu: time.Duration(float64(to.CPU-from.CPU) / minutes), wakeUps: (to.WakeUps - from.WakeUps) / minutes,
			received: (to.Received - from.Received) / minutes, sent: (to.Sent - from.Sent) / minutes,
		}
		calls, err := c.callsOf(name, first)
		if err != nil {
			return nil, err
		}
		i.calls = float64(calls) / minutes
		if i.goroutines, err = s.metric("go_goroutines"); err != nil {
			return nil, err
		}
		if i.heap, err = s.metric("go_memstats_heap_inuse_bytes"); err != nil {
			return nil, err
		}
		all[name] = i
	}
	return all, nil
}

func (c *cluster) usages() (all map[string]usage, err error) {
	all = map[string]usage{}
	for name, s := range c.servers() {
		if all[name], err = usageOf(s.Pid()); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// pass makes the agent look at the host so often, and tells what CPU each of its
// passes takes.
func (c *cluster) pass(ctx context.Context, node string, times int) (time.Duration, error) {
	const passes = "eni_agent_reconciles_total"
	agent := c.agents[node]
	before, err := agent.metric(passes)
	if err != nil {
		return 0, err
	}
	from, err := usageOf(agent.Pid())
	if err != nil {
		return 0, err
	}
	if err := c.touch(ctx, node, times); err != nil {
		return 0, err
	}
	to, err := usageOf(agent.Pid())
	if err != nil {
		return 0, err
	}
	now, err := agent.metric(passes)
	if err != nil {
		return 0, err
	}
	if now <= before {
		return 0, fmt.Errorf("%s has not looked at its host after %d changes", agent.Name, times)
	}
	return (to.CPU - from.CPU) / time.Duration(now-before), nil
}

// touch adds and removes an address that is none of the agent's business.
func (c *cluster) touch(ctx context.Context, node string, times int) error {
	n, err := c.Sim.Node(node)
	if err != nil {
		return err
	}
	h, err := n.Namespace.Netlink()
	if err != nil {
		return err
	}
	defer h.Close()
	lo, err := h.LinkByName("lo")
	if err != nil {
		return err
	}
	address, err := netlink.ParseAddr("127.9.9.9/32")
	if err != nil {
		return err
	}
	for i := range times {
		change := h.AddrAdd
		if i%2 == 1 {
			change = h.AddrDel
		}
		if err := change(lo, address); err != nil {
			return err
		}
		// The agent looks ten times a second at most.
		if err := pause(ctx, 120*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// reportSize is the size of a node's NodeENIState as the API server hands it out. A
// node that never had an ENI has none.
func (c *cluster) reportSize(ctx context.Context, node string) (int, error) {
	body, err := c.Client.API.Get().Resource(kube.NodeENIStates).Name(node).Do(ctx).Raw()
	if apierrors.IsNotFound(err) {
		return 0, nil
	}
	return len(body), err
}

// starts are the times from exec on, of several starts.
type starts struct {
	agentReady  []time.Duration // to /readyz of an agent whose node has one ENI
	agentKnown  []time.Duration // to that ENI being Ready again
	firstReady  []time.Duration // to the first ENI's being Ready, of a new node
	coordinator []time.Duration // to leading
}

// measureStarts restarts the agent of a node with one ENI and the coordinator so
// often, and starts as many agents of new nodes.
func (c *cluster) measureStarts(ctx context.Context, node string, times int) (s starts, err error) {
	var took time.Duration
	for range times {
		c.agents[node].Kill()
		if err := c.startAgent(ctx, node); err != nil {
			return s, err
		}
		if took, err = c.agents[node].ready(ctx); err != nil {
			return s, err
		}
		s.agentReady = append(s.agentReady, took)
		if took, err = c.agents[node].hasReady(ctx, 1); err != nil {
			return s, err
		}
		s.agentKnown = append(s.agentKnown, took)
	}
	for i := range times {
		name := fmt.Sprintf("new-%d", i+1)
		if err := c.addNode(ctx, name, 1); err != nil {
			return s, err
		}
		if took, err = c.agents[name].hasReady(ctx, 1); err != nil {
			return s, err
		}
		s.firstReady = append(s.firstReady, took)
	}
	for range times {
		if err := c.coordinator.Stop(); err != nil { // it gives the Lease back
			return s, err
		}
		if err := c.startCoordinator(ctx); err != nil {
			return s, err
		}
		if took, err = c.coordinator.leads(ctx); err != nil {
			return s, err
		}
		s.coordinator = append(s.coordinator, took)
	}
	return s, nil
}

func median(d []time.Duration) time.Duration {
	return slices.Sorted(slices.Values(d))[len(d)/2]
}
