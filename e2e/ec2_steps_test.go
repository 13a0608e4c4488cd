package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// The calls whose faults and counts are looked at.
const (
	createCall   = "CreateNetworkInterface"
	attachCall   = "AttachNetworkInterface"
	modifyCall   = "ModifyNetworkInterfaceAttribute"
	detachCall   = "DetachNetworkInterface"
	deleteCall   = "DeleteNetworkInterface"
	describeCall = "DescribeNetworkInterfaces"
)

// eager makes a coordinator act on everything as soon as it may: what it must
// not collect has no age or patience to hide behind.
var eager = []string{"--sweep-interval", "1s", "--orphan-age", "1s", "--poll-interval", "200ms", "--release-grace", "2s"}

// plain is a spec that asks for nothing but an ENI in a subnet.
func (c *cluster) plain(subnet string) string {
	return fmt.Sprintf("subnetNames: [%s]\nsecurityGroupIDs: [%s]\ndeviceIndex: 2", subnet, c.group("data"))
}

// want applies a NodeENI that selects only this node.
func (c *cluster) want(node, name, spec string) {
	c.t.Helper()
	manifest := nodeENI(name, spec)
	if c.alone {
		c.write(node, name, manifest)
		return
	}
	manifest = strings.Replace(manifest, "{ng: multi-eni}", fmt.Sprintf("{%s: %s}", name, node), 1)
	c.must(c.Apply(c.t.Context(), manifest))
	c.must(c.Label(c.t.Context(), node, name, node))
}

// oneENIEach starts the agents of nodes and gives each node an ENI, which is Ready.
func (c *cluster) oneENIEach(nodes []string, spec string) map[string]cloud.Interface {
	c.t.Helper()
	enis := map[string]cloud.Interface{}
	for _, node := range nodes {
		c.agent(node)
		c.want(node, node, spec)
		enis[node] = c.awaitOnly(node, node)
	}
	return enis
}

// stopAndUnlabel stops an agent whose node loses the label at the same moment: the
// agent learns of the signal first.
func (c *cluster) stopAndUnlabel(node string) {
	c.t.Helper()
	p := c.agents[node]
	c.must(p.Pause())
	c.must(c.Unlabel(c.t.Context(), node, node))
	time.AfterFunc(100*time.Millisecond, func() { _ = p.Resume() })
	c.must(p.Stop())
}

// source is the access key by which EC2's log of calls knows a node's agent.
func (c *cluster) source(node string) string {
	c.t.Helper()
	n, err := c.Sim.Node(node)
	c.must(err)
	return cloud.AccessKeyID(n.ID)
}

// fault makes the calls of a node's agent go wrong until the test has ended.
func (c *cluster) fault(node string, f cloud.Fault) {
	c.t.Helper()
	f.SourceID = c.source(node)
	c.inject(f)
}

func (c *cluster) inject(f cloud.Fault) {
	c.t.Helper()
	c.must(c.Sim.Cloud().Inject(f))
	c.t.Cleanup(c.Sim.Cloud().ClearFaults)
}

// timing changes how long things take in EC2 until the test has ended.
func (c *cluster) timing(change func(*cloud.Timing)) {
	c.t.Helper()
	before := c.Sim.Cloud().Timing()
	now := before
	change(&now)
	c.must(c.Sim.Cloud().SetTiming(now))
	c.t.Cleanup(func() { c.Sim.Cloud().SetTiming(before) }) //nolint:errcheck // it was good before
}

// lag lets describes show what was that long ago.
func (c *cluster) lag(d time.Duration) {
	c.t.Helper()
	c.timing(func(t *cloud.Timing) { t.DescribeLag = d })
}

// restart kills the node's agent as a crash does, and starts it anew.
func (c *cluster) restart(node string) {
	c.t.Helper()
	c.agents[node].Kill()
	c.agent(node)
}

// made are the ENIs in EC2 that were made for the node.
func (c *cluster) made(node string) []cloud.Interface {
	return slices.DeleteFunc(c.managed(), func(e cloud.Interface) bool { return e.Tags[eni.TagNode] != node })
}

// awaitMade waits until EC2 has exactly n ENIs that were made for the node.
func (c *cluster) awaitMade(node string, n int) []cloud.Interface {
	c.t.Helper()
	c.await(fmt.Sprintf("%d ENIs made for %s", n, node), func() string {
		if got := len(c.made(node)); got != n {
			return fmt.Sprintf("%d:\n%s", got, c.enis())
		}
		return ""
	})
	return c.made(node)
}

// staysOnly checks for a while that the node has these ENIs and no other.
func (c *cluster) staysOnly(node string, d time.Duration, ids ...string) {
	c.t.Helper()
	slices.Sort(ids)
	c.stays(fmt.Sprintf("%s has %v", node, ids), d, func() string {
		var got []string
		for _, e := range c.made(node) {
			got = append(got, e.ID)
		}
		if slices.Sort(got); !slices.Equal(got, ids) {
			return fmt.Sprintf("it has %v:\n%s", got, c.enis())
		}
		return ""
	})
}

// calls are the calls of a caller, named by its access key, to the actions; of
// all actions when none is given.
func (c *cluster) calls(source string, actions ...string) []cloud.Call {
	return slices.DeleteFunc(c.Sim.Cloud().Calls(), func(call cloud.Call) bool {
		return call.SourceID != source || len(actions) > 0 && !slices.Contains(actions, call.Action)
	})
}

// awaitCall waits until the node's agent has made that many calls to the action.
func (c *cluster) awaitCall(node, action string, n int) {
	c.t.Helper()
	source := c.source(node)
	c.await(fmt.Sprintf("%s calls %s", node, action), func() string {
		if got := len(c.calls(source, action)); got < n {
			return fmt.Sprintf("%d calls, want %d", got, n)
		}
		return ""
	})
}

// expectCalls checks how often a caller has called the actions that change
// something: exactly as often as told, and the others not at all.
func (c *cluster) expectCalls(source string, want map[string]int) {
	c.t.Helper()
	got := cloud.CountCalls(slices.DeleteFunc(c.calls(source), func(call cloud.Call) bool { return strings.HasPrefix(call.Action, "Describe") }))
	for action := range want {
		got[action] += 0
	}
	for action, n := range got {
		if n != want[action] {
			c.t.Errorf("%d calls of %s, want %d", n, action, want[action])
		}
	}
}

// awaitEntry waits for a report's entry about the NodeENI that satisfies check,
// which says what is wrong with it.
func (c *cluster) awaitEntry(node, name string, check func(v1alpha1.ENIState) string) v1alpha1.ENIState {
	c.t.Helper()
	var found v1alpha1.ENIState
	c.await(fmt.Sprintf("what %s reports of %s", node, name), func() string {
		entries := c.entries(node, name)
		if len(entries) != 1 {
			return fmt.Sprintf("%d entries: %+v", len(entries), entries)
		}
		found = entries[0]
		if problem := check(found); problem != "" {
			return fmt.Sprintf("%s: %+v", problem, found)
		}
		return ""
	})
	return found
}

// says checks an entry's phase and reason, and that its message holds the words.
func says(phase v1alpha1.Phase, reason string, words ...string) func(v1alpha1.ENIState) string {
	return func(e v1alpha1.ENIState) string {
		if e.Phase != phase || e.Reason != reason {
			return fmt.Sprintf("want phase %s and reason %s", phase, reason)
		}
		for _, w := range words {
			if !strings.Contains(e.Message, w) {
				return fmt.Sprintf("the message does not hold %q", w)
			}
		}
		return ""
	}
}

// awaitOnly waits until the node reports one Ready ENI of the NodeENI, and
// checks that it is the only one that was made for the node, and attached.
func (c *cluster) awaitOnly(node, name string) cloud.Interface {
	c.t.Helper()
	id := c.awaitReady(node, name, 1)[0].ENIID
	made := c.made(node)
	if len(made) != 1 || made[0].ID != id || made[0].Attachment == nil {
		c.t.Fatalf("%s reports %s as ready, and EC2 has\n%s", node, id, c.enis())
	}
	return made[0]
}

// awaitNodeENIGone waits until no NodeENI of the name is left.
func (c *cluster) awaitNodeENIGone(name string) {
	c.t.Helper()
	c.await("the NodeENI "+name+" is gone", func() string {
		all, err := c.NodeENIs(c.t.Context())
		if err != nil || slices.ContainsFunc(all, func(n v1alpha1.NodeENI) bool { return n.Name == name }) {
			return fmt.Sprint(err, all)
		}
		return ""
	})
}

// same fails the test if the ENI is not the one that was expected.
func same(t *testing.T, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("the ENI is %s, and was %s before", got, want)
	}
}
