package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws-multi-eni/aws-multi-eni/agent/files"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/metadata"
	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

// newStandAlone starts n nodes without Kubernetes: what is wanted are files of
// each node, and agents detach and delete themselves.
func newStandAlone(t *testing.T, n int, change func(*sim.Topology)) *cluster {
	t.Helper()
	return start(t, testbed.Config{Topology: quickNodes(n, change), NoKubernetes: true})
}

// subcommand runs eni-agent status or cleanup on a node to its end.
func (c *cluster) subcommand(node, name string, args ...string) (stdout, stderr string, code int) {
	c.t.Helper()
	stdout, stderr, code, err := c.RunAgent(c.t.Context(), node, append([]string{name, "--state-file", c.StateFile(node)}, args...)...)
	c.must(err)
	return stdout, stderr, code
}

// write makes a file of NodeENIs on a node.
func (c *cluster) write(node, name, text string) {
	c.t.Helper()
	dir := c.NodeENIDir(node)
	c.must(os.MkdirAll(dir, 0o755))
	c.must(os.WriteFile(filepath.Join(dir, name+".yaml"), []byte(text), 0o644))
}

func (c *cluster) unwrite(node, name string) {
	c.t.Helper()
	c.must(os.Remove(filepath.Join(c.NodeENIDir(node), name+".yaml")))
}

// awaitWrong waits until the node's agent says of a file what holds the words;
// "" for nothing.
func (c *cluster) awaitWrong(node, name, words string) {
	c.t.Helper()
	c.await(name+" is wrong: "+words, func() string {
		s, err := files.Read(c.StateFile(node))
		if err != nil {
			return err.Error()
		}
		for _, f := range s.Files {
			if f.Name == name+".yaml" && (f.Error == words || words != "" && strings.Contains(f.Error, words)) {
				return ""
			}
		}
		return fmt.Sprintf("%+v", s.Files)
	})
}

// hostENI is a spec with addresses, at device index 2.
func (c *cluster) hostENI(subnet, more string) string {
	return fmt.Sprintf("subnetNames: [%s]\nsecurityGroupIDs: [%s]\ndeviceIndex: 2\nmtu: 9001\naddressing: Host\n%s", subnet, c.group("data"), more)
}

// awaitNothing waits until EC2 has none of the node's ENIs, and checks that
// nothing of this one is left on the host and nothing in the report.
func (c *cluster) awaitNothing(node string, e cloud.Interface) {
	c.t.Helper()
	c.awaitMade(node, 0)
	c.await("nothing is reported by "+node, func() string {
		if entries := c.entries(node, ""); len(entries) > 0 {
			return fmt.Sprintf("%+v", entries)
		}
		return ""
	})
	if problem := c.released(node, e); problem != "" {
		c.t.Error(problem)
	}
}

// The main job without Kubernetes, in one life: a directory that comes late,
// files that come, change, are wrong for a while, and go.
func TestStandAloneLife(t *testing.T) {
	t.Parallel()
	const node = "node-1"
	c := newStandAlone(t, 1, nil)
	foreign := c.stranger(node, 1)
	c.agent(node)
	once := map[string]int{createCall: 1, attachCall: 1, modifyCall: 1}

	c.want(node, "one", c.hostENI("data", ""))
	one := c.awaitOnly(node, "one")
	c.run("added", func(*testing.T) {
		c.must(errors.Join(problem(c.configured(node, one, true, 9001))))
		c.expectCalls(c.source(node), once)
		c.noCalls(quietFor)
	})
	c.run("edited", func(t *testing.T) {
		c.want(node, "one", strings.NewReplacer("9001", "1500", c.group("data"), c.group("storage")).Replace(c.hostENI("data", "")))
		c.await("the change", func() string {
			if e := c.eni(one.ID); !slices.Equal(e.GroupIDs, []string{c.group("storage")}) {
				return fmt.Sprint(e.GroupIDs)
			}
			return c.configured(node, one, true, 1500)
		})
		same(t, c.awaitOnly(node, "one").ID, one.ID)
		c.expectCalls(c.source(node), map[string]int{createCall: 1, attachCall: 1, modifyCall: 2})
	})
	c.run("wrong", func(*testing.T) {
		c.write(node, "one", nodeENI("one", c.hostENI("data", "interfaceName: a-name-that-is-too-long")))
		c.awaitWrong(node, "one", "document 1 (line 1): NodeENI \"one\": spec.interfaceName: Invalid value")
		c.want(node, "two", c.hostENI("storage", ""))
		c.awaitReady(node, "two", 1)
		c.write(node, "one", nodeENI("one", strings.Replace(c.hostENI("data", ""), "deviceIndex: 2", "deviceIndex: 7", 1)))
		c.awaitWrong(node, "one", "spec.deviceIndex: Invalid value: 7: cannot be changed from 2 to 7")
		c.write(node, "three", nodeENI("two", c.hostENI("data", "")))
		c.awaitWrong(node, "three", `the NodeENI "two" is in three.yaml and in two.yaml`)
		c.must(errors.Join(problem(c.configured(node, one, true, 1500))))
		c.expectCalls(c.source(node), map[string]int{createCall: 2, attachCall: 2, modifyCall: 3})
	})
	c.run("renamed", func(*testing.T) {
		c.unwrite(node, "three")
		c.must(os.Rename(filepath.Join(c.NodeENIDir(node), "two.yaml"), filepath.Join(c.NodeENIDir(node), "zwei.yaml")))
		c.awaitWrong(node, "zwei", "")
		c.expectCalls(c.source(node), map[string]int{createCall: 2, attachCall: 2, modifyCall: 3})
	})
	c.run("SIGTERM and a new start", func(*testing.T) {
		c.must(c.agents[node].Stop())
		c.must(errors.Join(problem(c.configured(node, one, true, 1500))))
		c.unwrite(node, "one") // while no agent runs
		c.agent(node)
		c.awaitMade(node, 1)
		if problem := c.released(node, one); problem != "" {
			c.t.Error(problem)
		}
		c.expectCalls(c.source(node), map[string]int{createCall: 2, attachCall: 2, modifyCall: 3, detachCall: 1, deleteCall: 1})
	})
	c.run("removed", func(t *testing.T) {
		two := c.eni(c.awaitReady(node, "two", 1)[0].ENIID)
		c.unwrite(node, "zwei")
		c.awaitNothing(node, two)
		c.expectCalls(c.source(node), map[string]int{createCall: 2, attachCall: 2, modifyCall: 3, detachCall: 2, deleteCall: 2})
		if left := c.host(node).band(); len(left) > 0 {
			t.Errorf("left on the host:\n%s", strings.Join(left, "\n"))
		}
		c.noCalls(quietFor)
	})
	c.run("and again, with another device index", func(t *testing.T) {
		c.want(node, "one", strings.Replace(c.hostENI("data", ""), "deviceIndex: 2", "deviceIndex: 7", 1))
		e := c.awaitOnly(node, "one")
		if e.ID == one.ID || e.Attachment.DeviceIndex != 7 {
			t.Errorf("it is %s at device index %d", e.ID, e.Attachment.DeviceIndex)
		}
	})
	if e := c.eni(foreign); e.Attachment == nil || e.Attachment.Status != "attached" {
		t.Errorf("the foreign ENI has become %+v", e)
	}
}

// problem is an error unless there is none.
func problem(text string) error {
	if text == "" {
		return nil
	}
	return errors.New(text)
}

// Two nodes with the same files have an ENI each, which neither takes from the
// other; and a node has one agent.
func TestStandAloneNeighbours(t *testing.T) {
	t.Parallel()
	c := newStandAlone(t, 2, nil)
	for _, node := range []string{"node-1", "node-2"} {
		c.want(node, "data", c.plain("data"))
		c.agent(node)
	}
	first, second := c.awaitReady("node-1", "data", 1)[0], c.awaitReady("node-2", "data", 1)[0]
	if first.NodeENIUID != second.NodeENIUID || first.ENIID == second.ENIID {
		t.Errorf("%+v and %+v", first, second)
	}
	c.unwrite("node-1", "data")
	c.awaitENIs(1)
	c.awaitReady("node-2", "data", 1)

	_, stderr, code, err := c.RunAgent(t.Context(), "node-2", "--nodeeni-dir", c.NodeENIDir("node-2"), "--state-file", c.StateFile("node-2"), "--node-labels", "a=b")
	if err != nil || code != 1 || !strings.Contains(stderr, "another eni-agent is using it: check whether the service") {
		t.Errorf("a second agent: %d, %v, %s", code, err, stderr)
	}
}

// What labels a node has may be in the instance's tags.
func TestStandAloneLabelsFromTags(t *testing.T) {
	t.Parallel()
	const node = "node-1"
	c := newStandAlone(t, 1, func(topology *sim.Topology) { topology.Nodes[0].Tags = map[string]string{"ng": "multi-eni"} })
	c.want(node, "data", c.plain("data"))
	c.write(node, "other", strings.Replace(nodeENI("other", c.plain("storage")), "ng: multi-eni", "ng: other", 1))
	c.write(node, "own", strings.Replace(nodeENI("own", c.plain("storage")), "ng: multi-eni", "own: label, ng: multi-eni", 1))
	p, err := c.StartStandAlone(node, nil, "--node-labels-from-tags", "--node-labels", "own=label")
	c.must(err)
	c.agents[node] = p
	c.remember(p.Log)
	c.awaitReady(node, "data", 1)
	c.awaitReady(node, "own", 1)
	c.awaitENIs(2)
	if other := c.entries(node, "other"); len(other) > 0 {
		t.Errorf("a NodeENI that does not select the node: %+v", other)
	}
	n, err := c.Sim.Node(node)
	c.must(err)
	for _, e := range c.managed() {
		if e.Tags[eni.TagNode] != n.ID || e.Tags[eni.TagCluster] != "standalone" {
			t.Errorf("%s has the tags %v", e.ID, e.Tags)
		}
	}
}

// status and its exit code, in the three forms.
func TestStandAloneStatus(t *testing.T) {
	t.Parallel()
	const node = "node-1"
	c := newStandAlone(t, 1, nil)
	status := func(args ...string) (string, string, int) {
		t.Helper()
		return c.subcommand(node, "status", args...)
	}
	if _, stderr, code := status(); code != 1 || !strings.Contains(stderr, "does not exist: no agent with --nodeeni-dir has run here") {
		t.Errorf("before the first start: %d, %s", code, stderr)
	}
	c.want(node, "data", c.hostENI("data", ""))
	c.agent(node)
	e := c.awaitReady(node, "data", 1)[0]
	check := func(wantCode int, words string) (stdout string) {
		t.Helper()
		c.await("status --check: "+words, func() string {
			out, stderr, code := status("--check")
			if stdout = out; code != wantCode || !strings.Contains(stdout+stderr, words) {
				return fmt.Sprintf("it exits with %d: %s%s", code, stdout, stderr)
			}
			return ""
		})
		return stdout
	}
	stdout := check(0, "The agent is ready")
	for _, words := range []string{"cluster standalone", e.ENIID, e.InterfaceName, e.Addresses[0], "Ready", "9001"} {
		if !strings.Contains(stdout, words) {
			t.Errorf("no %q in\n%s", words, stdout)
		}
	}
	c.write(node, "bad", "kind: typo")
	c.awaitWrong(node, "bad", "this is not a NodeENI")
	if stdout, stderr, code := status("--check"); code != 1 || !strings.Contains(stdout, "bad.yaml is not valid") || !strings.Contains(stderr, "bad.yaml is not valid") {
		t.Errorf("with a bad file: %d\n%s\n%s", code, stdout, stderr)
	}
	c.unwrite(node, "bad")
	check(0, "The agent is ready")
	n, err := c.Sim.Node(node)
	c.must(err)
	c.must(n.IMDS.Inject(metadata.Fault{Status: 503}))
	c.must(c.agents[node].Stop())
	c.agent(node)
	check(1, "starting")
	n.IMDS.ClearFaults()
	check(0, "The agent is ready")
	c.must(c.agents[node].Stop())
	if stdout, _, code := status(); code != 0 || !strings.Contains(stdout, "The agent is not running") {
		t.Errorf("after the agent's end: %d\n%s", code, stdout)
	}
	if _, stderr, code := status("--check"); code != 1 || !strings.Contains(stderr, "not running") {
		t.Errorf("after the agent's end: %d, %s", code, stderr)
	}
	stdout, _, _ = status("-o", "json")
	var object v1alpha1.NodeENIState
	if err := json.Unmarshal([]byte(stdout), &object); err != nil || object.Kind != "NodeENIState" || len(object.Status.ENIs) != 1 || object.Status.ENIs[0].ENIID != e.ENIID {
		t.Errorf("as JSON: %v\n%s", err, stdout)
	}
	if stdout, _, code := status("-o", "yaml"); code != 0 || !strings.Contains(stdout, "kind: NodeENIState\n") {
		t.Errorf("as YAML: %d\n%s", code, stdout)
	}
}
