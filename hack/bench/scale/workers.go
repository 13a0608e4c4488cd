package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/rpc"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"k8s.io/klog/v2"

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

// Order is what a worker gets to do; the fields that are set count.
type Order struct {
	Config       fleet.Config // for those to start
	Start        []fleet.Node
	Stop, Forget []string
	Plug, Unplug *fleet.Plug

	Unready, Stats bool // to be answered
}

// Answer is what a worker was asked for.
type Answer struct {
	Unready int // agents that have not heard from EC2
	Stats   fleet.Stats
}

// Do carries out an order.
func (w *Worker) Do(o Order, a *Answer) error {
	if o.Plug != nil {
		w.agents.Plug(*o.Plug)
	}
	if o.Unplug != nil {
		w.agents.Unplug(o.Unplug.Node, o.Unplug.ENI)
	}
	for _, name := range o.Forget {
		w.agents.Forget(name)
	}
	if o.Unready {
		a.Unready = w.agents.Unready()
	}
	if o.Stats {
		a.Stats = w.agents.Stats()
	}
	return errors.Join(w.agents.Start(o.Config, o.Start), w.agents.Stop(o.Stop))
}

type stdio struct {
	io.Reader
	io.WriteCloser
}

// work is a worker's whole life: until its parent closes stdin.
func work() {
	klog.SetSlogLogger(slog.New(slog.DiscardHandler)) // client-go's; errors are returned too
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	server := rpc.NewServer()
	if err := server.Register(&Worker{fleet.NewAgents(log)}); err != nil {
		panic(err) // its methods are wrong
	}
	server.ServeConn(stdio{os.Stdin, os.Stdout})
}

// workers are the processes that run agents.
type workers []*worker

type worker struct {
	cmd *exec.Cmd
	rpc *rpc.Client
}

func (w *worker) do(o Order) (a Answer, err error) {
	err = w.rpc.Call("Worker.Do", o, &a)
	return a, err
}

var _ fleet.Hosts = (workers)(nil)

// startWorkers starts as many workers as that many agents need.
func startWorkers(dir string, agents int) (workers, error) {
	var w workers
	for len(w)*agentsPerWorker < agents {
		child, err := startWorker(filepath.Join(dir, fmt.Sprintf("agents-%d.log", len(w)+1)))
		if err != nil {
			return w, fmt.Errorf("a process for agents: %w", err)
		}
		w = append(w, child)
	}
	return w, nil
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
	in, errIn := cmd.StdinPipe()
	out, errOut := cmd.StdoutPipe()
	if err := errors.Join(errIn, errOut); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &worker{cmd: cmd, rpc: rpc.NewClient(stdio{out, in})}, nil
}

// stop ends the processes, whatever their agents do.
func (w workers) stop() error {
	var errs []error
	for _, child := range w {
		errs = append(errs, child.rpc.Close(), child.cmd.Wait())
	}
	return errors.Join(errs...)
}

const nodePrefix = "node-"

// of is the worker that runs a node's agent.
func (w workers) of(node string) *worker {
	n, _ := strconv.Atoi(strings.TrimPrefix(node, nodePrefix))
	return w[n%len(w)]
}

// each gives every worker that is concerned its part of the nodes, side by side.
func each[T any](w workers, nodes []T, name func(T) string, order func([]T) Order) error {
	parts := map[*worker][]T{}
	for _, n := range nodes {
		child := w.of(name(n))
		parts[child] = append(parts[child], n)
	}
	errs := make(chan error, len(parts))
	for child, part := range parts {
		go func() {
			_, err := child.do(order(part))
			errs <- err
		}()
	}
	var err error
	for range parts {
		err = errors.Join(err, <-errs)
	}
	return err
}

// start starts agents, so many side by side; 0 is all at once.
func (w workers) start(cfg fleet.Config, nodes []fleet.Node) error {
	return each(w, nodes, func(n fleet.Node) string { return n.Name }, func(part []fleet.Node) Order { return Order{Config: cfg, Start: part} })
}

func itself(name string) string { return name }

func (w workers) end(names []string) error {
	return each(w, names, itself, func(part []string) Order { return Order{Stop: part} })
}

func (w workers) forget(names []string) error {
	return each(w, names, itself, func(part []string) Order { return Order{Forget: part} })
}

// Plug implements fleet.Hosts.
func (w workers) Plug(p fleet.Plug) { w.tell(p.Node, Order{Plug: &p}) }

// Unplug implements fleet.Hosts.
func (w workers) Unplug(node, eni string) {
	w.tell(node, Order{Unplug: &fleet.Plug{Node: node, ENI: eni}})
}

func (w workers) tell(node string, o Order) {
	if _, err := w.of(node).do(o); err != nil && !errors.Is(err, rpc.ErrShutdown) {
		slog.Error("a link", "node", node, "err", err)
	}
}

// ask asks all workers and adds up what they say.
func (b *bench) ask(o Order) (sum Answer) {
	for _, child := range b.workers {
		a, err := child.do(o)
		b.Must(err)
		sum.Unready += a.Unready
		sum.Stats = sum.Stats.Add(a.Stats)
	}
	return sum
}
