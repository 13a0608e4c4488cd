package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/aws-multi-eni/aws-multi-eni/internal/fleet"
	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

// coordinatorProgram is where make puts it.
const coordinatorProgram = "bin/eni-coordinator"

// coordinator is the process, started again when it ends as a kubelet does: one that
// could not renew its Lease in time ends itself.
type coordinator struct {
	cluster *fleet.Cluster

	mu       sync.Mutex
	process  *testbed.Process
	last     fleet.Process // what this process has cost
	before   fleet.Process // and those before it: CPU together, memory at most
	restarts int
}

func startCoordinator(ctx context.Context, cluster *fleet.Cluster) (*coordinator, error) {
	process, err := cluster.StartCoordinator(ctx, coordinatorProgram)
	if err != nil {
		return nil, err
	}
	c := &coordinator{cluster: cluster, process: process}
	go wait.UntilWithContext(ctx, c.look, 200*time.Millisecond)
	return c, nil
}

// look reads what the process costs, while that can be read, and starts it again once it
// has ended.
func (c *coordinator) look(ctx context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.read()
	if !c.process.Exited() || ctx.Err() != nil {
		return
	}
	fmt.Fprintf(os.Stderr, "%v\nIt is started again.\n", c.process.Check())
	process, err := c.cluster.StartCoordinator(ctx, coordinatorProgram)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	c.before, c.last = c.sum(), fleet.Process{}
	c.process = process
	c.restarts++
}

func (c *coordinator) read() {
	if now := fleet.ReadProcess(c.process.Pid()); now.Peak > 0 {
		c.last = now
	}
}

func (c *coordinator) sum() fleet.Process {
	return fleet.Process{Peak: max(c.before.Peak, c.last.Peak), CPU: c.before.CPU + c.last.CPU}
}

// usage is what the coordinator has cost, and how often it was started again.
func (c *coordinator) usage() (fleet.Process, int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.read()
	return c.sum(), c.restarts
}

func (c *coordinator) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.process.Kill()
}
