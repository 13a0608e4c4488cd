package main

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/budget"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

// nodeType is of no instance that there is: it takes ManyENIs beside the primary one.
var nodeType = cloud.InstanceType{Name: "bench.large", MaxENIs: budget.ManyENIs + 1, IPv4PerENI: 15}

// cluster has ManyENIs NodeENIs, and nodes that some of them select.
type cluster struct {
	*testbed.Testbed
	coordinator *server
	agents      map[string]*server // by node
	enis        map[string]int     // of each node
}

// startCluster starts a cluster without nodes, and its coordinator.
func startCluster(ctx context.Context, programs, dir string) (*cluster, error) {
	timing := sim.RealisticTiming()
	tb, err := testbed.Start(ctx, testbed.Config{
		Programs: programs, Dir: dir,
		Topology: sim.Topology{Nodes: []sim.NodeSpec{}, InstanceTypes: []cloud.InstanceType{nodeType}, Timing: &timing},
	})
	if err != nil {
		return nil, err
	}
	c := &cluster{Testbed: tb, agents: map[string]*server{}, enis: map[string]int{}}
	for n := 1; n <= budget.ManyENIs; n++ {
		if err = tb.Apply(ctx, nodeENI(n)); err != nil {
			return nil, errors.Join(err, c.stop())
		}
	}
	if err := c.startCoordinator(ctx); err != nil {
		return nil, errors.Join(err, c.stop())
	}
	return c, nil
}

func labelOf(n int) string { return fmt.Sprintf("eni-%02d", n) }

func nodeENI(n int) string {
	return fmt.Sprintf(`apiVersion: networking.k8s.aws/v1alpha1
kind: NodeENI
metadata: {name: %[1]s}
spec:
  nodeSelector: {%[1]s: "yes"}
  subnetNames: [data]
  securityGroupNames: [data]
  mtu: 9001
  addressing: Host
`, labelOf(n))
}

// addNode launches an instance that shall have so many ENIs.
func (c *cluster) addNode(ctx context.Context, name string, enis int) error {
	if _, err := c.Sim.AddNode(sim.NodeSpec{Name: name, Type: nodeType.Name}); err != nil {
		return err
	}
	labels := map[string]string{}
	for n := 1; n <= enis; n++ {
		labels[labelOf(n)] = "yes"
	}
	c.enis[name] = enis
	return c.CreateNode(ctx, name, labels)
}

// addNodes adds a node with each of these numbers of ENIs and starts its agent, and
// waits until all ENIs are Ready.
func (c *cluster) addNodes(ctx context.Context, enis []int) error {
	for _, n := range enis {
		if err := c.addNode(ctx, nodeWith(n), n); err != nil {
			return err
		}
		if _, err := c.startAgent(ctx, nodeWith(n)); err != nil {
			return err
		}
	}
	return c.allReady(ctx)
}

// startAgent starts the agent of a node with the flags that it has in its pod.
func (c *cluster) startAgent(ctx context.Context, node string) (*server, error) {
	n, err := c.Sim.Node(node)
	if err != nil {
		return nil, err
	}
	p, err := c.StartAgent(ctx, node, "--http-address", ":9480")
	if err != nil {
		return nil, err
	}
	c.agents[node] = newServer(p, "127.0.0.1:9480", n.Namespace.DialContext)
	return c.agents[node], nil
}

func (c *cluster) startCoordinator(ctx context.Context) error {
	address, err := freeAddress(ctx)
	if err != nil {
		return err
	}
	p, err := c.StartCoordinator(ctx, "coordinator", "--http-address", address)
	if err != nil {
		return err
	}
	c.coordinator = newServer(p, address, (&net.Dialer{}).DialContext)
	return nil
}

// freeAddress is one on loopback that nobody uses at the moment.
func freeAddress(ctx context.Context) (string, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// allReady waits until every agent has its ENIs ready, and the coordinator leads.
func (c *cluster) allReady(ctx context.Context) error {
	for node, agent := range c.agents {
		if _, err := agent.ready(ctx); err != nil {
			return err
		}
		if _, err := agent.reaches(ctx, float64(c.enis[node]), "eni_agent_enis", "phase", "Ready"); err != nil {
			return err
		}
	}
	_, err := c.coordinator.reaches(ctx, 1, "eni_coordinator_leader")
	return err
}

// callsOf counts the EC2 calls of a node's agent, from the first-th call on; with
// "" the coordinator's.
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

// stop ends everything.
func (c *cluster) stop() error {
	for _, agent := range c.agents {
		agent.Kill()
	}
	if c.coordinator != nil {
		c.coordinator.Kill()
	}
	return c.Stop()
}
