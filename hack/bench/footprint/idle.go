package main

import (
	"context"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/proc"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// idle is what a process uses while nothing happens.
type idle struct {
	usage      proc.Usage // in the end
	goroutines float64    // those that answer the question included
	heap       float64    // bytes that are in use

	// In a minute.
	cpu      time.Duration
	wakeUps  float64
	calls    float64 // to EC2
	received float64 // bytes, by the node's primary link
	sent     float64
}

// snapshot is what counts up.
type snapshot struct {
	usage          proc.Usage
	received, sent uint64
}

// watchIdle lets all settle, and then watches for a while without a touch. The
// coordinator is under "".
func (c *cluster) watchIdle(ctx context.Context, settle, watched time.Duration) (map[string]idle, error) {
	if err := pause(ctx, settle); err != nil {
		return nil, err
	}
	first := len(c.Sim.Cloud().Calls())
	before, err := c.snapshots()
	if err != nil {
		return nil, err
	}
	if err := pause(ctx, watched); err != nil {
		return nil, err
	}
	after, err := c.snapshots()
	if err != nil {
		return nil, err
	}
	all := map[string]idle{}
	for name, s := range c.servers() {
		m := idle{usage: after[name].usage}
		minutes := watched.Minutes()
		m.cpu = time.Duration(float64(m.usage.CPU-before[name].usage.CPU) / minutes)
		m.wakeUps = float64(m.usage.Switches-before[name].usage.Switches) / minutes
		m.received = float64(after[name].received-before[name].received) / minutes
		m.sent = float64(after[name].sent-before[name].sent) / minutes
		calls, err := c.callsOf(name, first)
		if err != nil {
			return nil, err
		}
		m.calls = float64(calls) / minutes
		if m.goroutines, err = s.metric("go_goroutines"); err != nil {
			return nil, err
		}
		if m.heap, err = s.metric("go_memstats_heap_inuse_bytes"); err != nil {
			return nil, err
		}
		all[name] = m
	}
	return all, nil
}

// servers are all agents, by node, and the coordinator.
func (c *cluster) servers() map[string]*server {
	all := map[string]*server{"": c.coordinator}
	for node, agent := range c.agents {
		all[node] = agent
	}
	return all
}

func (c *cluster) snapshots() (map[string]snapshot, error) {
	all := map[string]snapshot{}
	for name, server := range c.servers() {
		var s snapshot
		var err error
		if s.usage, err = server.usage(); err != nil {
			return nil, err
		}
		if name != "" {
			if s.received, s.sent, err = c.traffic(name); err != nil {
				return nil, err
			}
		}
		all[name] = s
	}
	return all, nil
}

// traffic is what has gone over a node's primary link. The metadata service is
// reached by another way.
func (c *cluster) traffic(node string) (received, sent uint64, err error) {
	n, err := c.Sim.Node(node)
	if err != nil {
		return 0, 0, err
	}
	h, err := n.Namespace.Netlink()
	if err != nil {
		return 0, 0, err
	}
	defer h.Close()
	links, err := h.LinkList()
	if err != nil {
		return 0, 0, err
	}
	for _, l := range links {
		if l.Attrs().HardwareAddr.String() == n.MAC {
			s := l.Attrs().Statistics
			return s.RxBytes, s.TxBytes, nil
		}
	}
	return 0, 0, fmt.Errorf("%s has no link with the MAC %s", node, n.MAC)
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// pass makes the agent look at the host so often, and tells what CPU each of its
// passes takes.
func (c *cluster) pass(ctx context.Context, node string, times int) (time.Duration, error) {
	n, err := c.Sim.Node(node)
	if err != nil {
		return 0, err
	}
	h, err := n.Namespace.Netlink()
	if err != nil {
		return 0, err
	}
	defer h.Close()
	lo, err := h.LinkByName("lo")
	if err != nil {
		return 0, err
	}
	address, err := netlink.ParseAddr("127.9.9.9/32")
	if err != nil {
		return 0, err
	}
	agent := c.agents[node]
	passes, err := agent.metric("eni_agent_reconciles_total")
	if err != nil {
		return 0, err
	}
	before, err := agent.usage()
	if err != nil {
		return 0, err
	}
	for range times / 2 {
		for _, change := range []func(netlink.Link, *netlink.Addr) error{h.AddrAdd, h.AddrDel} {
			if err := change(lo, address); err != nil {
				return 0, err
			}
			// The agent looks ten times a second at most.
			if err := pause(ctx, 120*time.Millisecond); err != nil {
				return 0, err
			}
		}
	}
	after, err := agent.usage()
	if err != nil {
		return 0, err
	}
	now, err := agent.metric("eni_agent_reconciles_total")
	if err != nil {
		return 0, err
	}
	if now <= passes {
		return 0, fmt.Errorf("%s has not looked at its host after %d changes", agent.Name, times)
	}
	return (after.CPU - before.CPU) / time.Duration(now-passes), nil
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
