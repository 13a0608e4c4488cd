package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/budget"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

// nodeType does not exist in EC2: it takes ManyENIs beside the primary one.
var nodeType = cloud.InstanceType{Name: "bench.large", MaxENIs: budget.ManyENIs + 1, IPv4PerENI: 15}

// cluster has ManyENIs NodeENIs, and nodes that some of them select.
type cluster struct {
	*testbed.Testbed
	coordinator *server
	agents      map[string]*server // by node
}

func nodeWith(enis int) string { return "enis-" + strconv.Itoa(enis) }

// startCluster starts a coordinator, and the agents of nodes with these numbers of
// ENIs, and waits until all of them are Ready.
func startCluster(ctx context.Context, programs, dir string, growth []int) (*cluster, error) {
	timing := sim.RealisticTiming()
	tb, err := testbed.Start(ctx, testbed.Config{
		Programs: programs, Dir: dir,
		Topology: sim.Topology{Nodes: []sim.NodeSpec{}, InstanceTypes: []cloud.InstanceType{nodeType}, Timing: &timing},
	})
	if err != nil {
		return nil, err
	}
	c := &cluster{Testbed: tb, agents: map[string]*server{}}
	if err := c.start(ctx, growth); err != nil {
		return nil, errors.Join(err, c.stop())
	}
	return c, nil
}

func (c *cluster) start(ctx context.Context, growth []int) error {
	for n := range budget.ManyENIs {
		if err := c.Apply(ctx, fmt.Sprintf(`apiVersion: networking.k8s.aws/v1alpha1
kind: NodeENI
metadata: {name: %[1]s}
spec: {nodeSelector: {%[1]s: "yes"}, subnetNames: [data], securityGroupNames: [data], mtu: 9001, addressing: Host}
`, labelOf(n))); err != nil {
			return err
		}
	}
	if err := c.startCoordinator(ctx); err != nil {
		return err
	}
	for _, enis := range growth {
		if err := c.addNode(ctx, nodeWith(enis), enis); err != nil {
			return err
		}
	}
	for _, enis := range growth {
		agent := c.agents[nodeWith(enis)]
		if _, err := agent.ready(ctx); err != nil {
			return err
		}
		if _, err := agent.hasReady(ctx, enis); err != nil {
			return err
		}
	}
	_, err := c.coordinator.leads(ctx)
	return err
}

func labelOf(n int) string { return fmt.Sprintf("eni-%02d", n+1) }

// addNode launches an instance that gets so many ENIs, and starts its agent.
func (c *cluster) addNode(ctx context.Context, name string, enis int) error {
	if _, err := c.Sim.AddNode(sim.NodeSpec{Name: name, Type: nodeType.Name}); err != nil {
		return err
	}
	labels := map[string]string{}
	for n := range enis {
		labels[labelOf(n)] = "yes"
	}
	if err := c.CreateNode(ctx, name, labels); err != nil {
		return err
	}
	return c.startAgent(ctx, name)
}

// startAgent starts the agent of a node with the flags that it has in its pod.
func (c *cluster) startAgent(ctx context.Context, node string) error {
	n, err := c.Sim.Node(node)
	if err != nil {
		return err
	}
	p, err := c.StartAgent(ctx, node, "--http-address", ":9480")
	if err != nil {
		return err
	}
	c.agents[node] = newServer(p, "127.0.0.1:9480", n.Namespace.DialContext)
	return nil
}

func (c *cluster) startCoordinator(ctx context.Context) error {
	free, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	address := free.Addr().String()
	if err := free.Close(); err != nil {
		return err
	}
	p, err := c.StartCoordinator(ctx, "coordinator", "--http-address", address)
	if err != nil {
		return err
	}
	c.coordinator = newServer(p, address, new(net.Dialer).DialContext)
	return nil
}

// servers are all agents, by node, and the coordinator as "".
func (c *cluster) servers() map[string]*server {
	all := map[string]*server{"": c.coordinator}
	for node, agent := range c.agents {
		all[node] = agent
	}
	return all
}

// callsOf counts the EC2 calls of a server, from the first-th call on.
func (c *cluster) callsOf(node string, first int) (int, error) {
	source := c.coordinator.Name
	if node != "" {
		n, err := c.Sim.Node(node)
		if err != nil {
			return 0, err
		}
		source = cloud.AccessKeyID(n.ID)
	}
	count := 0
	for _, call := range c.Sim.Cloud().Calls()[first:] {
		if call.SourceID == source {
			count++
		}
	}
	return count, nil
}

func (c *cluster) stop() error {
	for _, s := range c.servers() {
		if s != nil {
			s.Kill()
		}
	}
	return c.Stop()
}
