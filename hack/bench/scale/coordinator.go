package main

import (
	"context"
	"fmt"
	"os"
	"sync"

	"github.com/aws-multi-eni/aws-multi-eni/internal/fleet"
	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

// coordinatorProgram is where make puts it.
const coordinatorProgram = "bin/eni-coordinator"

// coordinator is the process, started anew when it ends as a kubelet does: one
// that could not renew its Lease in time ends itself.
type coordinator struct {
	cluster *fleet.Cluster

	mu       sync.Mutex
	process  *testbed.Process
	last     fleet.Process // of the process that runs
	before   fleet.Process // of those before it: CPU together, memory at most
	restarts int
}

func startCoordinator(ctx context.Context, cluster *fleet.Cluster) (*coordinator, error) {
	c := &coordinator{cluster: cluster}
	var err error
	c.process, err = cluster.StartCoordinator(ctx, coordinatorProgram)
	if err != nil {
		return nil, err
	}
	go c.keep(ctx)
	return c, nil
}

// keep looks after the process until ctx ends.
func (c *coordinator) keep(ctx context.Context) {
	for sleep(ctx, pollEvery) == nil {
		c.look()
		if !c.process.Exited() {
			continue
		}
		process, err := c.cluster.StartCoordinator(ctx, coordinatorProgram)
		if err != nil {
			fmt.Fprintln(os.Stderr, "the coordinator has ended, and cannot be started:", err)
			continue
		}
		c.mu.Lock()
		c.process = process
		c.before, c.last = c.sum(), fleet.Process{}
		c.restarts++
		c.mu.Unlock()
	}
}

func (c *coordinator) look() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := fleet.ReadProcess(c.process.Pid()); now.RSS > 0 {
		c.last = now
	}
}

// sum wants mu held.
func (c *coordinator) sum() fleet.Process {
	return fleet.Process{RSS: c.last.RSS, Peak: max(c.before.Peak, c.last.Peak), CPU: c.before.CPU + c.last.CPU}
}

// usage is what it has cost so far, and how often it was started anew.
func (c *coordinator) usage() (fleet.Process, int) {
	c.look()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sum(), c.restarts
}

// stop is for when keep has been told to end.
func (c *coordinator) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.process.Kill()
}

func (c *coordinator) tail() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.process.Tail(20)
}
