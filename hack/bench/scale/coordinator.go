package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"github.com/aws-multi-eni/aws-multi-eni/internal/fleet"
	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

// coordinatorProgram is where make puts it.
const coordinatorProgram = "bin/eni-coordinator"

// coordinator is the process, started again when it ends as a kubelet does: one
// that could not renew its Lease in time ends itself.
type coordinator struct {
	cluster *fleet.Cluster
	process atomic.Pointer[testbed.Process]

	mu       sync.Mutex
	last     fleet.Process // of the process that runs
	before   fleet.Process // of those before it: CPU together, memory at most
	restarts int
}

func startCoordinator(ctx context.Context, cluster *fleet.Cluster) (*coordinator, error) {
	c := &coordinator{cluster: cluster}
	if err := c.start(ctx); err != nil {
		return nil, err
	}
	go c.keep(ctx)
	return c, nil
}

func (c *coordinator) start(ctx context.Context) error {
	process, err := c.cluster.StartCoordinator(ctx, coordinatorProgram)
	if err == nil {
		c.process.Store(process)
	}
	return err
}

// keep looks after the process until ctx ends.
func (c *coordinator) keep(ctx context.Context) {
	for sleep(ctx, pollEvery) == nil {
		before, _ := c.usage()
		if !c.process.Load().Exited() {
			continue
		}
		if err := c.start(ctx); err != nil {
			fmt.Fprintln(os.Stderr, "the coordinator has ended, and cannot be started:", err)
			continue
		}
		c.mu.Lock()
		c.before, c.last = before, fleet.Process{}
		c.restarts++
		c.mu.Unlock()
	}
}

// usage is what it has cost so far, and how often it was started again.
func (c *coordinator) usage() (fleet.Process, int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := fleet.ReadProcess(c.process.Load().Pid()); now.RSS > 0 {
		c.last = now
	}
	return fleet.Process{RSS: c.last.RSS, Peak: max(c.before.Peak, c.last.Peak), CPU: c.before.CPU + c.last.CPU}, c.restarts
}
