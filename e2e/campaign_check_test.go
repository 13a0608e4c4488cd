package e2e

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

// settleWithin is how long everything may take to settle after a run: agents
// believe that an ENI is gone when EC2 has not shown it for five minutes.
const settleWithin = 7 * time.Minute

// skewClocks has clocks be wrong of processes that are started from now on: one
// that starts again has been set right, or wrong.
func (c *cluster) skewClocks(r *rand.Rand, processes ...string) {
	if !inCampaign() {
		return
	}
	skew := map[string]time.Duration{}
	for _, name := range processes {
		skew[name] = pick(r, 0, 0, time.Second, -time.Second, 20*time.Second, -20*time.Second, 90*time.Second, -90*time.Second)
	}
	c.SetSkew(skew)
	c.logf("clocks are wrong: %v", skew)
}

// processes are all that were started last under their names.
func (c *cluster) processes() []*testbed.Process {
	return slices.Concat(slices.Collect(maps.Values(c.agents)), slices.Collect(maps.Values(c.coordinators)))
}

// idleFor is how long what has settled is watched, and idleTicks is how much CPU
// time of a hundredth of a second a process may use meanwhile: one that turns in
// circles uses it all.
const (
	idleFor   = time.Second
	idleTicks = 40
)

// idle: what has settled does next to nothing. An agent may ask EC2 once more, or
// for its ENIs, subnets and groups when it has been started at the end, and a
// coordinator looks around every few seconds.
func (c *cluster) idle() {
	c.t.Helper()
	began, before := time.Now(), map[string]int{}
	for _, p := range c.processes() {
		before[p.Name] = cpuTicks(p)
	}
	time.Sleep(idleFor)
	actions := map[string][]string{}
	for _, call := range c.Sim.Cloud().Calls() {
		if call.Time.Before(began) || !c.ownCall(call.SourceID) {
			continue
		}
		if actions[call.SourceID] = append(actions[call.SourceID], call.Action); !strings.HasPrefix(call.Action, "Describe") {
			c.errorf("%s calls %s after everything has settled", call.SourceID, call.Action)
		}
	}
	for source, calls := range actions {
		if len(calls) > c.fewCalls() {
			c.errorf("%s makes %d calls in %v after everything has settled: %v", source, len(calls), idleFor, calls)
		}
	}
	for _, p := range c.processes() {
		if used := cpuTicks(p) - before[p.Name]; used > idleTicks {
			c.errorf("%s has used %d ms of CPU time in %v after everything has settled", p.Name, 10*used, idleFor)
		}
	}
}

// fewCalls is how many calls one may make meanwhile. Where runs share EC2, another run's lag
// may have an agent ask again.
func (c *cluster) fewCalls() int {
	if c.only != nil {
		return 8
	}
	return 4
}

// ownCall says whether a call is to be looked at.
func (c *cluster) ownCall(source string) bool {
	return c.only == nil || slices.ContainsFunc(c.only, func(node string) bool { return c.source(node) == source })
}

// cpuTicks is the CPU time of a process, see proc_pid_stat(5).
func cpuTicks(p *testbed.Process) int {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Pid()))
	if err != nil {
		return 0 // it has ended
	}
	_, rest, _ := bytes.Cut(data, []byte(") "))
	fields := strings.Fields(string(rest))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return user + system
}

// sane: no process has crashed, whatever it has been through.
func (c *cluster) sane() {
	c.t.Helper()
	for _, log := range c.logs {
		data, err := os.ReadFile(log)
		c.must(err)
		for _, words := range []string{"DATA RACE", "panic:", "fatal error:", "SIGSEGV"} {
			if bytes.Contains(data, []byte(words)) {
				c.errorf("%s holds %q", log, words)
			}
		}
	}
	for _, p := range c.processes() {
		if code := p.ExitCode(); code > 1 {
			c.errorf("%s has ended with exit code %d", p.Name, code)
		}
	}
}

// watchInvariant looks again and again whether an instance has two ENIs where
// one is wanted. What it returns ends that and tells what it saw.
func (c *cluster) watchInvariant() (stop func() []string) {
	done := make(chan struct{})
	var problems []string
	var watching sync.WaitGroup
	watching.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(5 * time.Millisecond):
			}
			if _, problem := c.surplus(); problem != "" && len(problems) < 3 {
				problems = append(problems, time.Now().Format("05.000")+" "+problem)
			}
		}
	})
	return func() []string {
		close(done)
		watching.Wait()
		return problems
	}
}

// surplus tells of two attached ENIs of one NodeENI, subnet, place and instance, and which
// node has them. What is not wanted at all is on its way out; that it goes is checked at
// the end.
func (c *cluster) surplus() (node, problem string) {
	seen := map[string]string{}
	for _, e := range c.managed() {
		if e.Attachment == nil || e.Attachment.Status == cloud.AttachmentDetaching {
			continue
		}
		if e.Tags[eni.TagInstance] == "" || !strings.HasSuffix(e.Tags[eni.TagInstance], "/"+e.Attachment.InstanceID) {
			return e.Tags[eni.TagNode], fmt.Sprintf("%s of %s is attached to %s", e.ID, e.Tags[eni.TagInstance], e.Attachment.InstanceID)
		}
		key := strings.Join([]string{e.Tags[eni.TagInstance], e.Tags[eni.TagNodeENIUID], e.SubnetID, e.Tags[eni.TagPlace]}, " ")
		if other, twice := seen[key]; twice {
			return e.Tags[eni.TagNode], fmt.Sprintf("%s and %s are both attached for %s", other, e.ID, key)
		}
		seen[key] = e.ID
	}
	return "", ""
}
