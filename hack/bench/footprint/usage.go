package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/procfs"
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
	c.Sleep(settle)
	before := map[string]usage{}
	for name, s := range c.servers {
		before[name] = s.usage()
	}
	first, minutes := len(c.Sim.Cloud().Calls()), watched.Minutes()
	c.Sleep(watched)
	all := map[string]idle{}
	for name, s := range c.servers {
		from, to := before[name], s.usage()
		i := idle{
			usage: to, cpu: time.Duration(float64(to.CPU-from.CPU) / minutes), wakeUps: (to.WakeUps - from.WakeUps) / minutes,
			received: (to.Received - from.Received) / minutes, sent: (to.Sent - from.Sent) / minutes,
			goroutines: s.value("go_goroutines"), heap: s.value("go_memstats_heap_inuse_bytes"),
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
	agent := c.servers[node]
	before, from := agent.value(passes), agent.usage()
	// The agent looks ten times a second at most.
	const pace = 120 * time.Millisecond
	ctx, cancel := context.WithTimeout(c.Context(), time.Duration(times)*pace)
	defer cancel()
	c.Must(c.Disturb(ctx, node, pace))
	to, after := agent.usage(), agent.value(passes)
	if after <= before {
		c.Must(fmt.Errorf("%s has not looked at its host after %d changes", agent.Name, times))
	}
	return (to.CPU - from.CPU) / time.Duration(after-before)
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
		c.servers[node].Kill()
		c.startAgent(node)
		s.agentReady = append(s.agentReady, c.servers[node].ready())
		s.agentKnown = append(s.agentKnown, c.servers[node].hasReady(1))
	}
	for i := range times {
		name := fmt.Sprintf("new-%d", i+1)
		c.addNode(name, 1)
		s.firstReady = append(s.firstReady, c.servers[name].hasReady(1))
	}
	for range times {
		c.Must(c.servers[coordinator].Stop()) // it gives the Lease back
		c.startCoordinator()
		s.coordinator = append(s.coordinator, c.servers[coordinator].leads())
	}
	return s
}

// usage is what the kernel says that a process uses, and has used since its start.
type usage struct {
	RSS, PSS    float64 // bytes
	Threads     int
	Files       int      // open, sockets among them
	Connections []uint16 // of TCP, established: the remote ports
	Netlink     int      // sockets

	CPU            time.Duration // of all threads that live
	WakeUps        float64       // voluntary context switches of those threads
	Received, Sent float64       // bytes, by the primary ENI of its node
}

func usageOf(pid int) (u usage, err error) {
	const primary = "eth0" // what the simulator calls the link of the primary ENI
	p, err := procfs.NewProc(pid)
	if err != nil {
		return u, err
	}
	memory, errMemory := p.ProcSMapsRollup()
	links, errLinks := p.NetDev()
	files, errFiles := p.FileDescriptorTargets()
	threads, errThreads := procfs.AllThreads(pid)
	if err := errors.Join(errMemory, errLinks, errFiles, errThreads); err != nil {
		return u, fmt.Errorf("usage of process %d: %w", pid, err)
	}
	u = usage{
		RSS: float64(memory.Rss), PSS: float64(memory.Pss), Files: len(files),
		Received: float64(links[primary].RxBytes), Sent: float64(links[primary].TxBytes),
	}
	for _, t := range threads {
		if err := u.thread(t); err != nil && !errors.Is(err, fs.ErrNotExist) { // one that has ended
			return u, err
		}
	}
	return u, u.sockets(pid, files)
}

func (u *usage) thread(t procfs.Proc) error {
	ran, errRan := t.Schedstat() // in nanoseconds, while stat has hundredths of a second
	status, errStatus := t.NewStatus()
	if err := cmp.Or(errRan, errStatus); err != nil {
		return err
	}
	u.Threads++
	u.CPU += time.Duration(ran.RunningNanoseconds)
	u.WakeUps += float64(status.VoluntaryCtxtSwitches)
	return nil
}

// sockets counts the open sockets that are in the tables of the process's network
// namespace.
func (u *usage) sockets(pid int, files []string) error {
	const (
		remote, state, inode = 2, 3, 9 // columns; netlink has its inode in the same
		established          = "01"
	)
	for _, table := range []string{"tcp", "tcp6", "netlink"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // a kernel may be without IPv6
			return err
		}
		for line := range strings.Lines(string(text)) {
			row := strings.Fields(line)
			if len(row) <= inode || !slices.Contains(files, "socket:["+row[inode]+"]") {
				continue
			}
			switch {
			case table == "netlink":
				u.Netlink++
			case row[state] == established:
				_, hex, _ := strings.Cut(row[remote], ":")
				port, err := strconv.ParseUint(hex, 16, 16)
				if err != nil {
					return fmt.Errorf("%s: %w", table, err)
				}
				u.Connections = append(u.Connections, uint16(port))
			}
		}
	}
	return nil
}
