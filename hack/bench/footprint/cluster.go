package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/budget"
	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/result"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

// nodeType does not exist in EC2: it takes ManyENIs beside the primary one.
var nodeType = cloud.InstanceType{Name: "bench.large", MaxENIs: budget.ManyENIs + 1, IPv4PerENI: 15}

// cluster has ManyENIs NodeENIs, and nodes that some of them select.
type cluster struct {
	*result.Bench
	*testbed.Testbed
	servers map[string]*server // agents by node, and the coordinator
}

// coordinator is its name among the servers.
const coordinator = ""

func nodeWith(enis int) string { return "enis-" + strconv.Itoa(enis) }

// startCluster starts a coordinator, and the agents of nodes with these numbers of
// ENIs, and waits until all of them are Ready.
func startCluster(b *result.Bench, programs string, growth []int) *cluster {
	c := &cluster{Bench: b, servers: map[string]*server{}}
	timing := sim.RealisticTiming()
	var err error
	c.Testbed, err = testbed.Start(c.Context(), testbed.Config{
		Programs: programs, Dir: b.TempDir(),
		Topology: sim.Topology{Nodes: []sim.NodeSpec{}, InstanceTypes: []cloud.InstanceType{nodeType}, Timing: &timing},
	})
	c.Must(err)
	c.Cleanup(func() { c.Check(c.Testbed.Stop()) })
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
		c.servers[nodeWith(enis)].ready()
		c.servers[nodeWith(enis)].hasReady(enis)
	}
	c.servers[coordinator].leads()
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
	n, err := c.Sim.Node(node)
	c.Must(err)
	p, err := c.StartAgent(c.Context(), node, "--http-address", ":9480")
	c.Must(err)
	c.servers[node] = c.newServer(p, "127.0.0.1:9480", n.Namespace.DialContext, cloud.AccessKeyID(n.ID))
}

func (c *cluster) startCoordinator() {
	free, err := new(net.ListenConfig).Listen(c.Context(), "tcp", "127.0.0.1:0")
	c.Must(err)
	address := free.Addr().String()
	c.Must(free.Close())
	p, err := c.StartCoordinator(c.Context(), "coordinator", "--http-address", address)
	c.Must(err)
	c.servers[coordinator] = c.newServer(p, address, new(net.Dialer).DialContext, p.Name)
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

// server is a running agent or coordinator, and the way to its pages.
type server struct {
	*testbed.Process
	bench  *result.Bench
	http   http.Client
	url    string
	source string    // of its EC2 calls
	began  time.Time // when it was executed
}

// newServer keeps no connection open: those would be counted.
func (c *cluster) newServer(p *testbed.Process, address string, dial func(context.Context, string, string) (net.Conn, error), source string) *server {
	c.Cleanup(p.Kill)
	return &server{
		Process: p, bench: c.Bench, url: "http://" + address, source: source, began: time.Now(),
		http: http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}},
	}
}

func (s *server) usage() usage {
	u, err := usageOf(s.Pid())
	s.bench.Must(err)
	return u
}

// get reads a page; one that is not 200 is an error.
func (s *server) get(path string) (string, error) {
	resp, err := s.http.Get(s.url + path)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s of %s: %s: %s", path, s.Name, resp.Status, body)
	}
	return string(body), err
}

// metric is the sum of a metric's series that have the label.
func (s *server) metric(name, label string) (float64, error) {
	page, err := s.get("/metrics")
	if err != nil {
		return 0, err
	}
	sum, found := 0.0, false
	for line := range strings.Lines(page) {
		series, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if metric, labels, _ := strings.Cut(series, "{"); metric != name || !strings.Contains(labels, label) {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0, fmt.Errorf("/metrics of %s: %w", s.Name, err)
		}
		sum, found = sum+v, true
	}
	if !found {
		return 0, fmt.Errorf("/metrics of %s: there is no %s %s", s.Name, name, label)
	}
	return sum, nil
}

func (s *server) value(name string) float64 {
	v, err := s.metric(name, "")
	s.bench.Must(err)
	return v
}

// patience bounds what takes a second or two.
const patience = 2 * time.Minute

// await polls until check succeeds, and says how long the process had run then.
func (s *server) await(check func() error) time.Duration {
	for {
		err := check()
		took := time.Since(s.began)
		if err == nil {
			return took
		}
		if took > patience || s.Exited() {
			s.bench.Must(fmt.Errorf("%s, after %v: %w\n%s", s.Name, took, err, s.Tail(20)))
		}
		s.bench.Sleep(2 * time.Millisecond)
	}
}

func (s *server) ready() time.Duration {
	return s.await(func() error {
		_, err := s.get("/readyz")
		return err
	})
}

func (s *server) hasReady(enis int) time.Duration {
	return s.reaches(float64(enis), "eni_agent_enis", `phase="Ready"`)
}

func (s *server) leads() time.Duration { return s.reaches(1, "eni_coordinator_leader", "") }

func (s *server) reaches(want float64, name, label string) time.Duration {
	return s.await(func() error {
		got, err := s.metric(name, label)
		if err == nil && got != want {
			err = fmt.Errorf("%s is %v, want %v", name, got, want)
		}
		return err
	})
}
