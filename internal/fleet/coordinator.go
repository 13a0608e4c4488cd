package fleet

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

// Coordinator is the coordinator's process, started again when it ends as a kubelet does:
// one that could not renew its Lease in time ends itself.
type Coordinator struct {
	cluster *Cluster
	program string

	mu       sync.Mutex
	process  *testbed.Process
	last     Process // what this process has cost
	before   Process // and those before it: CPU together, memory at most
	restarts int
}

// KeepCoordinator starts the program, and keeps it running until ctx ends.
func (c *Cluster) KeepCoordinator(ctx context.Context, program string) (*Coordinator, error) {
	process, err := c.StartCoordinator(ctx, program)
	if err != nil {
		return nil, err
	}
	kept := &Coordinator{cluster: c, program: program, process: process}
	go wait.UntilWithContext(ctx, kept.look, 200*time.Millisecond)
	return kept, nil
}

// look reads what the process costs, while that can be read, and starts it again once it
// has ended.
func (c *Coordinator) look(ctx context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.read()
	if !c.process.Exited() || ctx.Err() != nil {
		return
	}
	fmt.Fprintf(os.Stderr, "%v\nIt is started again.\n", c.process.Check())
	process, err := c.cluster.StartCoordinator(ctx, c.program)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	c.before, c.last = c.sum(), Process{}
	c.process = process
	c.restarts++
}

func (c *Coordinator) read() {
	if now := ReadProcess(c.process.Pid()); now.Peak > 0 {
		c.last = now
	}
}

func (c *Coordinator) sum() Process {
	return Process{Peak: max(c.before.Peak, c.last.Peak), CPU: c.before.CPU + c.last.CPU}
}

// Usage is what the coordinator has cost, and how often it was started again.
func (c *Coordinator) Usage() (Process, int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.read()
	return c.sum(), c.restarts
}

// Stop kills the process.
func (c *Coordinator) Stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.process.Kill()
}
