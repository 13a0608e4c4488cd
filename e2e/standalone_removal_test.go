package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/agent/files"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// settled gives nodes an ENI each, with the agent running, and waits for them.
func (c *cluster) settled(nodes ...string) []cloud.Interface {
	c.t.Helper()
	for _, node := range nodes {
		c.want(node, "data", c.hostENI("data", ""))
		c.agent(node)
	}
	var all []cloud.Interface
	for _, node := range nodes {
		e := c.awaitOnly(node, "data")
		c.await("attached", func() string { return strings.TrimPrefix(c.eni(e.ID).Attachment.Status, "attached") })
		all = append(all, e)
	}
	return all
}

// hardship is what one node is put through.
type hardship struct {
	name       string
	action     string
	carriedOut bool
	goes       bool // the file, while no agent runs
	faults     []cloud.Fault
}

// nodeOf is the node of the i-th hardship.
func nodeOf(i int) string { return fmt.Sprintf("node-%d", i+1) }

// nodesOf are those of n hardships.
func nodesOf(n int) []string {
	var all []string
	for i := range n {
		all = append(all, nodeOf(i))
	}
	return all
}

// Killed at each moment of an ENI's removal, and started again while describes
// lag: the next start goes on with it, and no other comes.
func TestStandAloneRemovalKilled(t *testing.T) {
	t.Parallel()
	hardships := []hardship{
		{name: "before Detach", action: detachCall},
		{name: "after Detach, before its answer", action: detachCall, carriedOut: true},
		{name: "between Detach and Delete", action: deleteCall},
		{name: "after Delete, before its answer", action: deleteCall, carriedOut: true},
	}
	const often = "node-5" // is killed again and again
	c := newStandAlone(t, 5, func(topology *sim.Topology) { topology.Timing.DeleteInUse = 300 * time.Millisecond })
	enis := c.settled(append(nodesOf(len(hardships)), often)...)
	for i, trial := range hardships {
		c.fault(nodeOf(i), cloud.Fault{Action: trial.action, After: trial.carriedOut, Hang: true, Count: 1})
		c.unwrite(nodeOf(i), "data")
	}
	for i, trial := range hardships {
		node := nodeOf(i)
		c.awaitCall(node, trial.action, 1)
		c.agents[node].Kill()
		if problem := c.released(node, enis[i]); problem != "" {
			t.Errorf("%s: it is being taken away while its link is in use: %s", trial.name, problem)
		}
	}
	c.lag(time.Second)
	c.agent(nodesOf(len(hardships))...)
	c.unwrite(often, "data")
	c.agents[often].Kill()
	for calls := 1; calls <= 4; calls++ {
		before := len(c.calls(c.source(often)))
		c.agent(often)
		c.await("calls", func() string {
			if len(c.calls(c.source(often))) < before+calls && len(c.made(often)) > 0 {
				return "not yet"
			}
			return ""
		})
		c.agents[often].Kill()
	}
	c.agent(often)
	for i, trial := range append(hardships, hardship{name: "again and again"}) {
		c.run(trial.name, func(*testing.T) { c.awaitNothing(nodeOf(i), enis[i]) })
	}
	c.stays("no other ENI comes", time.Second, func() string { return strings.Join(c.ids(), " ") })
}

// ids are those of the ENIs with our tags.
func (c *cluster) ids() []string {
	var all []string
	for _, e := range c.managed() {
		all = append(all, e.ID)
	}
	slices.Sort(all)
	return all
}

// Killed at each moment of an ENI's making, and started again while describes
// lag: it is the same ENI; and when its file goes meanwhile, it goes too.
func TestStandAloneKilled(t *testing.T) {
	t.Parallel()
	hardships := []hardship{
		{name: "after Create, before its answer", action: createCall, carriedOut: true},
		{name: "after Create's answer", action: attachCall},
		{name: "after Attach, before its answer", action: attachCall, carriedOut: true},
		{name: "after Modify, before its answer", action: modifyCall, carriedOut: true},
		{name: "after Create, and the file goes", action: createCall, carriedOut: true, goes: true},
		{name: "after Create's answer, and the file goes", action: attachCall, goes: true},
		{name: "after Attach, and the file goes", action: attachCall, carriedOut: true, goes: true},
	}
	c := newStandAlone(t, len(hardships), nil)
	var enis []cloud.Interface
	for i, trial := range hardships {
		enis = append(enis, c.answerWithheld(nodeOf(i), trial.action, trial.carriedOut))
		if trial.goes {
			c.unwrite(nodeOf(i), nodeOf(i))
		}
	}
	c.lag(lagging)
	c.agent(nodesOf(len(hardships))...)
	var stay []string
	for i, trial := range hardships {
		c.run(trial.name, func(t *testing.T) {
			if trial.goes {
				c.awaitNothing(nodeOf(i), enis[i])
				return
			}
			same(t, c.awaitOnly(nodeOf(i), nodeOf(i)).ID, enis[i].ID)
			stay = append(stay, enis[i].ID)
		})
	}
	slices.Sort(stay)
	c.stays("these ENIs", lagging, func() string {
		if ids := c.ids(); !slices.Equal(ids, stay) {
			return fmt.Sprintf("%v, want %v", ids, stay)
		}
		return ""
	})
}

// What EC2 may answer to Detach and Delete: nothing, later, too many, in use in
// both spellings. The ENI goes all the same.
func TestStandAloneRemovalTrouble(t *testing.T) {
	t.Parallel()
	hardships := []hardship{
		{name: "the answers are lost", faults: []cloud.Fault{{Action: detachCall, After: true, Count: 2}, {Action: deleteCall, After: true, Count: 1}}},
		{name: "EC2 fails after it has done it", faults: []cloud.Fault{{Action: detachCall, After: true, Code: "InternalError", Count: 1}, {Action: deleteCall, After: true, Code: "InternalError", Count: 1}}},
		{name: "throttled", faults: []cloud.Fault{{Action: detachCall, Code: "RequestLimitExceeded", Count: 2}, {Action: deleteCall, Code: "EC2ThrottledException", Count: 2}}},
		{name: "in use", faults: []cloud.Fault{{Action: deleteCall, Code: "InvalidNetworkInterface.InUse", Message: "in use", Count: 2}}},
		{name: "in use, in other words", faults: []cloud.Fault{{Action: deleteCall, Code: "InvalidParameterValue", Message: "Network interface is currently in use.", Count: 2}}},
	}
	const forbidden = "node-6"
	c := newStandAlone(t, 6, nil)
	enis := c.settled(append(nodesOf(len(hardships)), forbidden)...)
	c.lag(time.Second)
	for i, trial := range hardships {
		for _, f := range trial.faults {
			c.fault(nodeOf(i), f)
		}
		c.unwrite(nodeOf(i), "data")
	}
	for i, trial := range hardships {
		c.run(trial.name, func(*testing.T) { c.awaitNothing(nodeOf(i), enis[i]) })
	}
	c.run("not permitted", func(*testing.T) {
		// Only now, for what is not permitted is tried again after 15 s or more.
		c.fault(forbidden, cloud.Fault{Action: detachCall, Code: "OperationNotPermitted", Message: "managed by a service"})
		c.unwrite(forbidden, "data")
		c.awaitEntry(forbidden, "data", says(v1alpha1.PhaseReleased, "OperationNotPermitted", "its link is down", "another AWS service"))
		c.noCalls(quietFor)
		c.Sim.Cloud().ClearFaults()
		c.want(forbidden, "storage", c.plain("storage")) // the agent tries again when something changes
		c.awaitReady(forbidden, "storage", 1)
		c.awaitMade(forbidden, 1)
	})
	c.awaitENIs(1)
}

// A file that comes back while its ENI is on its way out gets one ENI.
func TestStandAloneSecondThoughts(t *testing.T) {
	t.Parallel()
	c := newStandAlone(t, 3, func(topology *sim.Topology) { topology.Timing.Detach = 2 * time.Second })
	c.settled("node-1", "node-2")
	for node, action := range map[string]string{"node-1": detachCall, "node-2": deleteCall} {
		c.unwrite(node, "data")
		c.awaitCall(node, action, 1)
		c.want(node, "data", c.hostENI("data", ""))
	}
	for _, node := range []string{"node-1", "node-2"} {
		c.await("one ENI, configured, on "+node, func() string {
			made := c.made(node)
			if len(made) != 1 || made[0].Attachment == nil || made[0].Attachment.Status != "attached" {
				return c.enis()
			}
			return c.configured(node, made[0], true, 9001)
		})
		c.awaitOnly(node, "data")
	}
	two := c.ids()
	c.stays("one ENI each", 2*time.Second, func() string {
		if ids := c.ids(); !slices.Equal(ids, two) {
			return fmt.Sprintf("%v, and before %v", ids, two)
		}
		return ""
	})
	c.run("while it is created and no answer has come", func(*testing.T) {
		const node = "node-3"
		c.lag(lagging)
		c.fault(node, cloud.Fault{Action: createCall, After: true, Count: 1}) // the answer is lost
		c.agent(node)
		c.want(node, "data", c.plain("data"))
		c.awaitCall(node, createCall, 1)
		c.unwrite(node, "data")
		c.await("the file is gone", func() string {
			s, err := files.Read(c.StateFile(node))
			if err != nil || len(s.Files) > 0 {
				return fmt.Sprint(s.Files, err)
			}
			return ""
		})
		c.want(node, "data", c.plain("data"))
		only := c.awaitOnly(node, "data")
		c.staysOnly(node, lagging, only.ID)
	})
}

// What the agent remembers is lost, or wrong: no ENI goes, no second one comes.
func TestStandAloneState(t *testing.T) {
	t.Parallel()
	const node = "node-1"
	c := newStandAlone(t, 1, nil)
	e := c.settled(node)[0]
	c.run("reboot", func(t *testing.T) {
		c.agents[node].Kill()
		c.reboot(node, e)
		c.write(node, "data", "a typo") // what it held is remembered
		c.Sim.Cloud().ResetCalls()
		c.agent(node)
		c.await("configured", func() string { return c.configured(node, e, true, 9001) })
		same(t, c.awaitOnly(node, "data").ID, e.ID)
		c.expectCalls(c.source(node), nil)
	})
	c.run("the state is damaged", func(t *testing.T) {
		c.agents[node].Kill()
		c.want(node, "data", c.hostENI("data", ""))
		c.must(os.Truncate(c.StateFile(node), 100))
		c.agent(node)
		same(t, c.awaitOnly(node, "data").ID, e.ID)
		c.expectCalls(c.source(node), nil)
		if _, err := os.Stat(c.StateFile(node) + ".damaged"); err != nil {
			t.Error(err)
		}
	})
	c.run("the state is lost, and the file is wrong", func(*testing.T) {
		c.agents[node].Kill()
		c.must(os.Remove(c.StateFile(node)))
		c.write(node, "data", "a typo")
		c.want(node, "other", c.plain("storage"))
		c.agent(node)
		other := c.awaitReady(node, "other", 1)[0]
		c.stays("the ENI of a file that is wrong", 3*time.Second, func() string { return c.configured(node, e, true, 9001) })
		c.unwrite(node, "other")
		c.awaitMade(node, 1)
		c.must(problem(c.configured(node, e, true, 9001)))
		if c.eni(e.ID).Attachment == nil || other.ENIID == e.ID {
			c.t.Error("the wrong one has gone")
		}
		c.want(node, "data", c.hostENI("data", ""))
		same(c.t, c.awaitOnly(node, "data").ID, e.ID)
	})
	c.run("the directory is gone", func(*testing.T) {
		c.must(os.Rename(c.NodeENIDir(node), c.NodeENIDir(node)+".away"))
		c.stays("the ENI", 3*time.Second, func() string { return c.configured(node, e, true, 9001) })
		c.restart(node)
		c.stays("the ENI", 3*time.Second, func() string { return c.configured(node, e, true, 9001) })
		c.must(os.Rename(c.NodeENIDir(node)+".away", c.NodeENIDir(node)))
	})
	c.run("another cluster name", func(t *testing.T) {
		c.must(c.agents[node].Stop())
		_, stderr, code, err := c.RunAgent(t.Context(), node, "--nodeeni-dir", c.NodeENIDir(node), "--state-file", c.StateFile(node), "--node-labels", "ng=multi-eni", "--cluster-name", "other")
		if err != nil || code != 1 || !strings.Contains(stderr, "--cluster-name standalone") {
			t.Errorf("%d, %v: %s", code, err, stderr)
		}
	})
}

// cleanup takes all away that the agent has made, and only that, also what an
// agent has begun that was killed; not while the agent runs, and in vain
// without harm.
func TestStandAloneCleanup(t *testing.T) {
	t.Parallel()
	const node = "node-1"
	c := newStandAlone(t, 2, nil)
	cleanup := func(args ...string) (string, string, int) {
		t.Helper()
		return c.subcommand(node, "cleanup", args...)
	}
	foreign := c.stranger(node, 1)
	neighbour := c.settled("node-2")[0]
	one := c.settled(node)[0]
	c.want(node, "two", c.hostENI("storage", ""))
	c.awaitReady(node, "two", 1)
	if _, stderr, code := cleanup(); code != 1 || !strings.Contains(stderr, "stop the service first") {
		t.Errorf("while the agent runs: %d, %s", code, stderr)
	}
	c.must(problem(c.configured(node, one, true, 9001)))

	// The third was being made.
	c.fault(node, cloud.Fault{Action: createCall, After: true, Hang: true, Count: 1})
	c.want(node, "three", c.plain("nodes"))
	c.awaitMade(node, 3)
	c.agents[node].Kill()
	c.Sim.Cloud().ClearFaults()

	c.inject(cloud.Fault{Action: detachCall, Code: "OperationNotPermitted", Message: "no", SourceID: c.source(node)})
	stdout, stderr, code := cleanup("--timeout", "8s")
	if code != 1 || !strings.Contains(stderr, "not finished within 8s") || !strings.Contains(stderr, one.ID) || !strings.Contains(stderr, "OperationNotPermitted") {
		t.Errorf("in vain: %d\n%s\n%s", code, stdout, stderr)
	}
	c.awaitMade(node, 2) // what was attached to nothing has gone all the same
	c.Sim.Cloud().ClearFaults()

	stdout, stderr, code = cleanup()
	if code != 0 || !strings.Contains(stdout, one.ID+" of NodeENI data: deleted") || !strings.Contains(stdout, "2 ENIs removed") {
		t.Errorf("%d\n%s\n%s", code, stdout, stderr)
	}
	c.awaitMade(node, 0)
	if problem := c.released(node, one); problem != "" {
		t.Error(problem)
	}
	if left := c.host(node).band(); len(left) > 0 {
		t.Errorf("left on the host:\n%s", strings.Join(left, "\n"))
	}
	if e := c.eni(foreign); e.Attachment == nil || e.Attachment.Status != "attached" {
		t.Errorf("the foreign ENI has become %+v", e)
	}
	c.must(problem(c.configured("node-2", neighbour, true, 9001)))
	if left, err := filepath.Glob(c.StateFile(node) + "*"); err != nil || len(left) > 0 {
		t.Errorf("left are %v, %v", left, err)
	}
	if stdout, stderr, code := cleanup(); code != 0 || !strings.Contains(stdout, "0 ENIs removed") {
		t.Errorf("a second time: %d\n%s\n%s", code, stdout, stderr)
	}
	c.agent(node) // the files are still there
	c.awaitReady(node, "data", 1)
}

// An instance that takes no more ENIs: one waits, and has its place as soon as
// another one has gone.
func TestStandAloneLimit(t *testing.T) {
	t.Parallel()
	const node = "node-1"
	c := newStandAlone(t, 1, nil) // of a type that takes four
	c.agent(node)
	for _, name := range []string{"a", "b", "c"} {
		c.want(node, name, c.plain("data"))
		c.awaitReady(node, name, 1)
	}
	c.want(node, "d", c.plain("data"))
	c.awaitEntry(node, "d", says(v1alpha1.PhaseFailed, "AttachmentLimitExceeded", "supports 4 ENIs"))
	c.want(node, "e", c.plain("storage"))
	c.unwrite(node, "b")
	c.awaitReady(node, "d", 1)
	c.unwrite(node, "a")
	c.awaitReady(node, "e", 1)
	c.awaitMade(node, 3)
}
