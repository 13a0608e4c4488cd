package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/rpc"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/aws-multi-eni/aws-multi-eni/internal/fleet"
)

// workerEnv tells a child of this program to run agents. It talks to its parent
// through stdin and stdout.
const workerEnv = "ENI_SCALE_WORKER"

// agentsPerWorker keeps a process well below the number of files that it may
// have open.
const agentsPerWorker = 1000

// Worker is what a worker does for its parent; net/rpc wants it exported.
type Worker struct{ agents *fleet.Agents }

// none is for calls that say nothing.
type none = struct{}

// Configure replaces how agents are started.
func (w *Worker) Configure(cfg fleet.Config, _ *none) error {
	w.agents.Configure(cfg)
	return nil
}

// Start starts agents.
func (w *Worker) Start(nodes []fleet.Node, _ *none) error { return w.agents.Start(nodes) }

// Stop ends agents.
func (w *Worker) Stop(names []string, _ *none) error { return w.agents.Stop(names) }

// Forget drops nodes that are gone.
func (w *Worker) Forget(names []string, _ *none) error {
	for _, name := range names {
		w.agents.Forget(name)
	}
	return nil
}

// Plug makes a link appear.
func (w *Worker) Plug(p fleet.Plug, _ *none) error {
	w.agents.Plug(p)
	return nil
}

// Unplug makes an ENI's link disappear; of p only node and ENI count.
func (w *Worker) Unplug(p fleet.Plug, _ *none) error {
	w.agents.Unplug(p.Node, p.ENI)
	return nil
}

// Unready counts agents that have not heard from EC2.
func (w *Worker) Unready(_ none, n *int) error {
	*n = w.agents.Unready()
	return nil
}

// Stats tells what the agents cost.
func (w *Worker) Stats(_ none, s *fleet.Stats) error {
	*s = w.agents.Stats()
	return nil
}

type stdio struct {
	io.Reader
	io.WriteCloser
}

// work is a worker's whole life: until its parent closes stdin.
func work() error {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	server := rpc.NewServer()
	if err := server.Register(&Worker{fleet.NewAgents(fleet.Config{}, log)}); err != nil {
		return err
	}
	server.ServeConn(stdio{os.Stdin, os.Stdout})
	return nil
}

// workers are the processes that run agents.
type workers struct {
	dir  string
	list []*worker

	mu sync.Mutex
	of map[string]*worker // by node
}

type worker struct {
	cmd   *exec.Cmd
	rpc   *rpc.Client
	nodes int
}

var _ fleet.Hosts = (*workers)(nil)

func newWorkers(dir string) *workers { return &workers{dir: dir, of: map[string]*worker{}} }

// grow starts as many workers as that many agents need.
func (w *workers) grow(agents int) error {
	for len(w.list)*agentsPerWorker < agents {
		child, err := startWorker(filepath.Join(w.dir, fmt.Sprintf("agents-%d.log", len(w.list)+1)))
		if err != nil {
			return fmt.Errorf("a process for agents: %w", err)
		}
		w.list = append(w.list, child)
	}
	return nil
}

func startWorker(logFile string) (*worker, error) {
	log, err := os.Create(logFile)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the child holds its own copy
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), workerEnv+"=1")
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a Ctrl-C is for the parent
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &worker{cmd: cmd, rpc: rpc.NewClient(stdio{out, in})}, nil
}

// stop ends the processes, whatever their agents do.
func (w *workers) stop() error {
	var errs []error
	for _, child := range w.list {
		errs = append(errs, child.rpc.Close(), child.cmd.Wait())
	}
	w.list = nil
	return errors.Join(errs...)
}

// place says which worker runs a node's agent.
func (w *workers) place(node string) *worker {
	w.mu.Lock()
	defer w.mu.Unlock()
	if child := w.of[node]; child != nil {
		return child
	}
	least := w.list[0]
	for _, child := range w.list {
		if child.nodes < least.nodes {
			least = child
		}
	}
	least.nodes++
	w.of[node] = least
	return least
}

// share splits by worker.
func share[T any](w *workers, all []T, node func(T) string) map[*worker][]T {
	parts := map[*worker][]T{}
	for _, one := range all {
		child := w.place(node(one))
		parts[child] = append(parts[child], one)
	}
	return parts
}

// each makes a call to every worker that has a part, side by side.
func each[T any](parts map[*worker][]T, method string) error {
	var mu sync.Mutex
	var errs []error
	var calls sync.WaitGroup
	for child, part := range parts {
		calls.Go(func() {
			err := child.rpc.Call("Worker."+method, part, &none{})
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		})
	}
	calls.Wait()
	return errors.Join(errs...)
}

func itself(name string) string { return name }

// start starts agents, so many side by side; 0 is all at once.
func (w *workers) start(cfg fleet.Config, nodes []fleet.Node) error {
	for _, child := range w.list {
		if err := child.rpc.Call("Worker.Configure", cfg, &none{}); err != nil {
			return err
		}
	}
	return each(share(w, nodes, func(n fleet.Node) string { return n.Name }), "Start")
}

func (w *workers) end(names []string) error { return each(share(w, names, itself), "Stop") }

func (w *workers) forget(names []string) error {
	if err := each(share(w, names, itself), "Forget"); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, name := range names {
		w.of[name].nodes--
		delete(w.of, name)
	}
	return nil
}

// Plug implements fleet.Hosts.
func (w *workers) Plug(p fleet.Plug) { w.tell("Plug", p) }

// Unplug implements fleet.Hosts.
func (w *workers) Unplug(node, eni string) { w.tell("Unplug", fleet.Plug{Node: node, ENI: eni}) }

func (w *workers) tell(method string, p fleet.Plug) {
	w.mu.Lock()
	child := w.of[p.Node]
	w.mu.Unlock()
	if child == nil {
		return // a node that is going, or one whose agent was never started
	}
	if err := child.rpc.Call("Worker."+method, p, &none{}); err != nil && !errors.Is(err, rpc.ErrShutdown) {
		slog.Error("a link", "what", method, "node", p.Node, "err", err)
	}
}

// awaitAnswered waits until every agent has heard from EC2.
func (w *workers) awaitAnswered(ctx context.Context) error {
	for {
		unready := 0
		for _, child := range w.list {
			var n int
			if err := child.rpc.Call("Worker.Unready", none{}, &n); err != nil {
				return err
			}
			unready += n
		}
		if unready == 0 {
			return nil
		}
		if err := sleep(ctx, pollEvery); err != nil {
			return fmt.Errorf("%d agents have not heard from EC2: %w", unready, err)
		}
	}
}

func (w *workers) stats() (fleet.Stats, error) {
	var sum fleet.Stats
	for _, child := range w.list {
		var s fleet.Stats
		if err := child.rpc.Call("Worker.Stats", none{}, &s); err != nil {
			return sum, err
		}
		sum = sum.Add(s)
	}
	return sum, nil
}
