package e2e

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/agent/files"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

// patience is how long a condition may take to come true. Conditions usually
// take a second or two; the machine may be slow.
const patience = 90 * time.Second

// quick is the timing of a simulator that tests do not wait for long. No answer
// comes in no time: to one that is quicker than the end of its own request, the
// SDK closes the connection in the middle, once in some thousand calls.
var quick = cloud.Timing{
	Read: 2 * time.Millisecond, Write: 2 * time.Millisecond,
	Attach: 200 * time.Millisecond, Detach: 300 * time.Millisecond, PlugDelay: 50 * time.Millisecond,
}

// cluster is a testbed with its processes, for one test.
type cluster struct {
	*testbed.Testbed
	t            *testing.T
	agents       map[string]*testbed.Process
	coordinators map[string]*testbed.Process
	logs         []string
	only         []string       // nodes that are looked at; nil: all
	clusterID    string         // of the cluster that is looked at; "": there is no other
	dir          string         // of logs and kubeconfigs
	later        sync.WaitGroup // what a run has still to do
	journal      io.Writer      // of a run, or nil
	awaited      string         // what a run has waited for last
	alone        bool           // without Kubernetes, see newStandAlone
	pods         bool           // agents serve the CNI plugin
	podsOf       []*pod         // that live and are attached
	podsMade     int
	kubelets     bool          // pods run, and have the links of their ENIs
	warm         time.Duration // how long an ENI stays that no pod claims any more; 0: agents serve no claims
}

// newCluster starts a cluster of n nodes, registered and without labels, with
// more arguments for its API server.
func newCluster(t *testing.T, n int, change func(*sim.Topology), apiServerArgs ...string) *cluster {
	t.Helper()
	return startKubernetes(t, testbed.Config{Topology: quickNodes(n, change), APIServerArgs: apiServerArgs})
}

// quickNodes has n nodes, quick timing, and what a test changes.
func quickNodes(n int, change func(*sim.Topology)) sim.Topology {
	timing := quick
	topology := sim.Topology{Nodes: sim.Nodes(n), Timing: &timing}
	if change != nil {
		change(&topology)
	}
	return topology
}

// gated starts a cluster with a gate in front of its API server.
func gated(t *testing.T, topology sim.Topology) *cluster {
	t.Helper()
	timing := quick
	topology.Timing = &timing
	return startKubernetes(t, testbed.Config{Topology: topology, Gate: true})
}

func startKubernetes(t *testing.T, cfg testbed.Config) *cluster {
	t.Helper()
	c := start(t, cfg)
	for _, node := range cfg.Topology.Nodes {
		c.must(c.CreateNode(t.Context(), node.Name, nil))
	}
	return c
}

// start starts a testbed for the test.
func start(t *testing.T, cfg testbed.Config) *cluster {
	t.Helper()
	if err := built(); err != nil {
		t.Fatal(err)
	}
	cfg.Programs, cfg.Dir = programs, logsOf(t)
	tb, err := testbed.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{Testbed: tb, t: t, dir: cfg.Dir, agents: map[string]*testbed.Process{}, coordinators: map[string]*testbed.Process{}, alone: cfg.NoKubernetes}
	t.Cleanup(c.stop)
	return c
}

// logsOf is the test's own directory, or, in a campaign, one that stays when the
// test fails.
func logsOf(t *testing.T) string {
	t.Helper()
	kept := os.Getenv("ENI_LOGS")
	if kept == "" {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(kept, "cluster-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !t.Failed() {
			_ = os.RemoveAll(dir)
		}
	})
	return dir
}

func (c *cluster) stop() {
	for _, p := range slices.Concat(slices.Collect(maps.Values(c.agents)), slices.Collect(maps.Values(c.coordinators))) {
		p.Kill()
	}
	for _, log := range c.logs {
		data, _ := os.ReadFile(log)
		if bytes.Contains(data, []byte("DATA RACE")) || bytes.Contains(data, []byte("panic:")) {
			c.t.Errorf("%s has a race or a panic", log)
		}
		if c.t.Failed() {
			c.t.Logf("%s:\n%s", log, tail(string(data), 60))
		}
	}
	if c.t.Failed() {
		c.t.Logf("EC2:\n%s", c.enis())
		for _, call := range c.Sim.Cloud().Calls() {
			c.t.Logf("%s %s %s %s", call.Time.Format("05.000"), call.SourceID, call.Action, call.Code)
		}
	}
	if err := c.Stop(); err != nil {
		c.t.Error(err)
	}
}

// run runs a sub-test on this cluster, which it shares with its siblings.
func (c *cluster) run(name string, f func(t *testing.T)) bool {
	parent := c.t
	defer func() { c.t = parent }()
	return parent.Run(name, func(t *testing.T) {
		c.t = t
		f(t)
	})
}

func tail(text string, n int) string {
	lines := strings.Split(text, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

func (c *cluster) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// agent starts the agent of each node, which releases what lost its label before the
// coordinators here lose their patience.
func (c *cluster) agent(nodes ...string) {
	c.t.Helper()
	for _, node := range nodes {
		var p *testbed.Process
		var err error
		args := []string{"--log-level", "debug", "--release-delay", "1s"}
		if c.pods {
			args = append(args, c.PodsFlags(node)...)
		}
		if c.warm > 0 {
			args = append(args, c.demandFlags(node)...)
		}
		if c.alone {
			p, err = c.StartStandAlone(node, nil, append(args, "--node-name", node, "--node-labels", "ng=multi-eni")...)
		} else {
			err = c.attempt(func() (err error) {
				p, err = c.StartAgent(c.t.Context(), node, args...)
				return err
			})
		}
		c.must(err)
		c.agents[node] = p
		c.remember(p.Log)
	}
}

// attempt does something of the test that the API server must answer. Where runs share it,
// another run may have it killed at any time: then it is done again.
func (c *cluster) attempt(do func() error) (err error) {
	for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		if err = do(); err == nil || c.only == nil || time.Now().After(end) {
			return err
		}
	}
}

// shortTimes are those of coordinators in tests.
var shortTimes = []string{"--release-grace", "3s", "--node-grace", "3s", "--status-interval", "200ms", "--lease-duration", "3s", "--lease-renew-deadline", "2s", "--lease-retry-period", "500ms"}

// coordinator starts a coordinator with short times.
func (c *cluster) coordinator(name string, args ...string) {
	c.t.Helper()
	args = slices.Concat(shortTimes, args)
	p, err := c.StartCoordinator(c.t.Context(), name, args...)
	c.must(err)
	c.coordinators[name] = p
	c.remember(p.Log)
}

func (c *cluster) remember(log string) {
	if !slices.Contains(c.logs, log) {
		c.logs = append(c.logs, log)
	}
}

// nodeENI is a manifest of a NodeENI that selects ng=multi-eni.
func nodeENI(name, spec string) string {
	return fmt.Sprintf("apiVersion: networking.k8s.aws/v1alpha1\nkind: NodeENI\nmetadata: {name: %s}\nspec:\n  nodeSelector: {ng: multi-eni}\n%s", name, indent(spec))
}

func indent(text string) string {
	var b strings.Builder
	for line := range strings.Lines(strings.TrimSpace(text)) {
		b.WriteString("  " + strings.TrimSpace(line) + "\n")
	}
	return b.String()
}

// await waits until check returns "", and fails with its last words otherwise.
func (c *cluster) await(what string, check func() string) {
	c.t.Helper()
	c.awaitWithin(patience, what, check)
}

func (c *cluster) awaitWithin(d time.Duration, what string, check func() string) {
	c.t.Helper()
	deadline := time.Now().Add(d)
	last := ""
	for {
		if last = check(); last == "" {
			return
		}
		if time.Now().After(deadline) {
			c.errorf("%s: not within %v: %s", what, d, last)
			c.t.FailNow()
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// stays checks that something holds for a while.
func (c *cluster) stays(what string, d time.Duration, check func() string) {
	c.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if problem := check(); problem != "" {
			c.t.Fatalf("%s: %s", what, problem)
		}
	}
}

// managed are the ENIs with our tags.
func (c *cluster) managed() []cloud.Interface {
	var ours []cloud.Interface
	for _, e := range c.Sim.Cloud().Interfaces() {
		if id := e.Tags[eni.TagCluster]; id != "" && (c.clusterID == "" || id == c.clusterID) && (c.only == nil || slices.Contains(c.only, e.Tags[eni.TagNode])) {
			ours = append(ours, e)
		}
	}
	return ours
}

func (c *cluster) enis() string {
	var lines []string
	for _, e := range c.Sim.Cloud().Interfaces() {
		line := fmt.Sprintf("%s %s %s %s", e.ID, e.Status, e.SubnetID, e.Tags[eni.TagName])
		if a := e.Attachment; a != nil {
			line += fmt.Sprintf(" %s index=%d %s dot=%v", a.InstanceID, a.DeviceIndex, a.Status, a.DeleteOnTermination)
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// entries are a node's report of a NodeENI, or of all with "".
func (c *cluster) entries(node, nodeENI string) []v1alpha1.ENIState {
	var entries []v1alpha1.ENIState
	for _, e := range c.report(node).ENIs {
		if nodeENI == "" || e.NodeENI == nodeENI {
			entries = append(entries, e)
		}
	}
	return entries
}

// report is a node's report, or what its agent's state file holds; empty while
// there is none.
func (c *cluster) report(node string) v1alpha1.NodeENIStateStatus {
	if c.alone {
		s, _ := files.Read(c.StateFile(node)) // none, or damaged for a test
		return s.Status
	}
	states, err := c.States(c.t.Context())
	if err != nil {
		return v1alpha1.NodeENIStateStatus{}
	}
	for _, s := range states {
		if s.Name == node {
			return s.Status
		}
	}
	return v1alpha1.NodeENIStateStatus{}
}

// phases are the phases of a node's report, sorted.
func phases(entries []v1alpha1.ENIState) string {
	var all []string
	for _, e := range entries {
		all = append(all, string(e.Phase))
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// awaitReady waits until the node reports n Ready ENIs of the NodeENI and
// nothing else of it.
func (c *cluster) awaitReady(node, nodeENI string, n int) []v1alpha1.ENIState {
	c.t.Helper()
	want := strings.TrimSpace(strings.Repeat("Ready ", n))
	c.await(fmt.Sprintf("%s of %s ready", nodeENI, node), func() string {
		entries := c.entries(node, nodeENI)
		if got := phases(entries); got != want {
			return fmt.Sprintf("reports %q: %+v", got, entries)
		}
		return ""
	})
	return c.entries(node, nodeENI)
}

// awaitENIs waits until EC2 has exactly n ENIs of ours.
func (c *cluster) awaitENIs(n int) {
	c.t.Helper()
	c.await(fmt.Sprintf("%d ENIs in EC2", n), func() string {
		if got := len(c.managed()); got != n {
			return fmt.Sprintf("%d:\n%s", got, c.enis())
		}
		return ""
	})
}

// mutating sums up the calls that change something.
func mutating(counts map[string]int) int {
	n := 0
	for action, count := range counts {
		if !strings.HasPrefix(action, "Describe") {
			n += count
		}
	}
	return n
}

// subnet is the id of the subnet of that name in the node's zone.
func (c *cluster) subnet(name, node string) string {
	n, err := c.Sim.Node(node)
	c.must(err)
	for _, s := range c.Sim.Topology().Subnets {
		if s.Name == name && s.Zone == n.Zone {
			return s.ID
		}
	}
	c.t.Fatalf("no subnet %s in %s", name, n.Zone)
	return ""
}

// group is the id of the security group of that name.
func (c *cluster) group(name string) string {
	for _, g := range c.Sim.Topology().SecurityGroups {
		if g.Name == name {
			return g.ID
		}
	}
	c.t.Fatalf("no security group %s", name)
	return ""
}
