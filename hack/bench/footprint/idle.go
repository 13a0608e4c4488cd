package main

import (
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
func (c *cluster) watchIdle(settle, watched time.Duration) map[string]idle {
	usages := func() map[string]usage {
		all := map[string]usage{}
		for name, s := range c.servers() {
			all[name] = s.usage()
		}
		return all
	}
	c.Sleep(settle)
	first, before := len(c.Sim.Cloud().Calls()), usages()
	c.Sleep(watched)
	after := usages()
	all := map[string]idle{}
	minutes := watched.Minutes()
	for name, s := range c.servers() {
		from, to := before[name], after[name]
		i := idle{
			usage: to, goroutines: s.value("go_goroutines"), heap: s.value("go_memstats_heap_inuse_bytes"),
			cpu: time.Duration(float64(to.CPU-from.CPU) / minutes), wakeUps: (to.WakeUps - from.WakeUps) / minutes,
			received: (to.Received - from.Received) / minutes, sent: (to.Sent - from.Sent) / minutes,
		}
		for _, call := range c.Sim.Cloud().Calls()[first:] {
			if call.SourceID == s.source {
				i.calls += 1 / minutes
			}
		}
		all[name] = i
	}
	return all
}

// pass makes the agent look at the host so often, and tells what CPU each of its
// passes takes.
func (c *cluster) pass(node string, times int) time.Duration {
	const passes = "eni_agent_reconciles_total"
	agent := c.agents[node]
	before, from := agent.value(passes), agent.usage()
	c.touch(node, times)
	to, after := agent.usage(), agent.value(passes)
	if after <= before {
		c.Fatalf("%s has not looked at its host after %d changes", agent.Name, times)
	}
	return (to.CPU - from.CPU) / time.Duration(after-before)
}

// touch adds and removes an address that is none of the agent's business.
func (c *cluster) touch(node string, times int) {
	h, err := c.node(node).Namespace.Netlink()
	c.Must(err)
	defer h.Close()
	lo, err := h.LinkByName("lo")
	c.Must(err)
	address, err := netlink.ParseAddr("127.9.9.9/32")
	c.Must(err)
	for i := range times {
		change := h.AddrAdd
		if i%2 == 1 {
			change = h.AddrDel
		}
		c.Must(change(lo, address))
		c.Sleep(120 * time.Millisecond) // the agent looks ten times a second at most
	}
}

// reportSize is the size of a node's NodeENIState as the API server hands it out. A
// node that never had an ENI has none.
func (c *cluster) reportSize(node string) int {
	body, err := c.Client.API.Get().Resource(kube.NodeENIStates).Name(node).Do(c.Context()).Raw()
	if apierrors.IsNotFound(err) {
		return 0
	}
	c.Must(err)
	return len(body)
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
func (c *cluster) measureStarts(node string, times int) (s starts) {
	for range times {
		c.agents[node].Kill()
		c.startAgent(node)
		s.agentReady = append(s.agentReady, c.agents[node].ready())
		s.agentKnown = append(s.agentKnown, c.agents[node].hasReady(1))
	}
	for i := range times {
		name := fmt.Sprintf("new-%d", i+1)
		c.addNode(name, 1)
		s.firstReady = append(s.firstReady, c.agents[name].hasReady(1))
	}
	for range times {
		c.Must(c.coordinator.Stop()) // it gives the Lease back
		c.startCoordinator()
		s.coordinator = append(s.coordinator, c.coordinator.leads())
	}
	return s
}

func median(d []time.Duration) time.Duration {
	return slices.Sorted(slices.Values(d))[len(d)/2]
}
