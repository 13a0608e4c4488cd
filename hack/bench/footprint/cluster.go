package main

import (
	"fmt"
	"maps"
	"net"
	"strconv"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/budget"
	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/result"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

// nodeType does not exist in EC2: it takes ManyENIs beside the primary one.
var nodeType = cloud.InstanceType{Name: "bench.large", MaxENIs: budget.ManyENIs + 1, IPv4PerENI: 15}

// cluster has ManyENIs NodeENIs, and nodes that some of them select.
type cluster struct {
	result.Bench
	*testbed.Testbed
	coordinator *server
	agents      map[string]*server // by node
}

func nodeWith(enis int) string { return "enis-" + strconv.Itoa(enis) }

// startCluster starts a coordinator, and the agents of nodes with these numbers of
// ENIs, and waits until all of them are Ready.
func startCluster(t result.Bench, programs, dir string, growth []int) *cluster {
	c := &cluster{Bench: t, agents: map[string]*server{}}
	timing := sim.RealisticTiming()
	var err error
	c.Testbed, err = testbed.Start(c.Context(), testbed.Config{
		Programs: programs, Dir: dir,
		Topology: sim.Topology{Nodes: []sim.NodeSpec{}, InstanceTypes: []cloud.InstanceType{nodeType}, Timing: &timing},
	})
	c.Must(err)
	c.Cleanup(func() {
		for _, s := range c.servers() {
			s.Kill()
		}
		if err := c.Stop(); err != nil {
			c.Errorf("%v", err)
		}
	})
	for n := range budget.ManyENIs {
		c.Must(c.Apply(c.Context(), fmt.Sprintf(`apiVersion: networking.k8s.aws/v1alpha1
kind: NodeENI
metadata: {name: %[1]s}
spec: {nodeSelector: {%[1]s: "yes"}, subnetNames: [data], securityGroupNames: [data], mtu: 9001, addressing: Host}
`, labelOf(n))))
	}
	c.startCoordinator()
	for _, enis := range growth {
		c.addNode(nodeWith(enis), enis)
	}
	c.Sleep(3 * time.Second) // most are Ready then: each question costs an agent memory
	for _, enis := range growth {
		c.agents[nodeWith(enis)].ready()
		c.agents[nodeWith(enis)].hasReady(enis)
	}
	c.coordinator.leads()
	return c
}

func labelOf(n int) string { return fmt.Sprintf("eni-%02d", n+1) }

// addNode launches an instance that gets so many ENIs, and starts its agent.
func (c *cluster) addNode(name string, enis int) {
	_, err := c.Sim.AddNode(sim.NodeSpec{Name: name, Type: nodeType.Name})
	c.Must(err)
	labels := map[string]string{}
	for n := range enis {
		labels[labelOf(n)] = "yes"
	}
	c.Must(c.CreateNode(c.Context(), name, labels))
	c.startAgent(name)
}

// startAgent starts the agent of a node with the flags that it has in its pod.
func (c *cluster) startAgent(node string) {
	n := c.node(node)
	p, err := c.StartAgent(c.Context(), node, "--http-address", ":9480")
	c.Must(err)
	c.agents[node] = newServer(c, p, "127.0.0.1:9480", n.Namespace.DialContext, cloud.AccessKeyID(n.ID))
}

func (c *cluster) node(name string) sim.Node {
	n, err := c.Sim.Node(name)
	c.Must(err)
	return n
}

func (c *cluster) startCoordinator() {
	free, err := new(net.ListenConfig).Listen(c.Context(), "tcp", "127.0.0.1:0")
	c.Must(err)
	address := free.Addr().String()
	c.Must(free.Close())
	p, err := c.StartCoordinator(c.Context(), "coordinator", "--http-address", address)
	c.Must(err)
	c.coordinator = newServer(c, p, address, new(net.Dialer).DialContext, p.Name)
}

// servers are all agents, by node, and the coordinator as "".
func (c *cluster) servers() map[string]*server {
	all := maps.Clone(c.agents)
	if c.coordinator != nil {
		all[""] = c.coordinator
	}
	return all
}
