package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/rpc"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/klog/v2"

	"github.com/aws-multi-eni/aws-multi-eni/internal/fleet"
	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

// workerEnv tells a child of this program to run agents, for the parent that listens
// at this socket.
const workerEnv = "ENI_SCALE_WORKER"

// agentsPerWorker keeps a process well below the number of files that it may have open.
const agentsPerWorker = 1000

// Worker is what a worker does for its parent; net/rpc wants it exported.
type Worker struct{ agents *fleet.Agents }

// Order is what a worker gets to do; the fields that are set count.
type Order struct {
	Config       fleet.Config // for those to start
	Start        []fleet.Node
	Stop         []string
	Plug, Unplug *fleet.Plug
	Stats        bool // to be answered
}

// Do carries out an order.
func (w *Worker) Do(o Order, stats *fleet.Stats) error {
	if o.Plug != nil {
		w.agents.Plug(*o.Plug)
	}
	if o.Unplug != nil {
		w.agents.Unplug(o.Unplug.Node, o.Unplug.ENI)
	}
	if o.Stats {
		*stats = w.agents.Stats()
	}
	return errors.Join(w.agents.Start(o.Config, o.Start), w.agents.Stop(o.Stop))
}

// work is a worker's whole life: until its parent hangs up.
func work(socket string) {
	klog.SetSlogLogger(slog.New(slog.DiscardHandler)) // client-go's; errors are returned too
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	server := rpc.NewServer()
	parent, err := net.Dial("unix", socket)
	if err := errors.Join(err, server.Register(&Worker{fleet.NewAgents(log)})); err != nil {
		panic(err) // its parent shows it
	}
	server.ServeConn(parent)
}

// workers are the processes that run agents. They end with this program at the latest.
type workers []*worker

type worker struct {
	process *testbed.Process
	rpc     *rpc.Client
}

func (w *worker) do(o Order) (stats fleet.Stats, err error) {
	err = w.rpc.Call("Worker.Do", o, &stats)
	return stats, err
}

// startWorkers starts as many workers as that many agents need.
func startWorkers(dir string, agents int) (w workers, err error) {
	socket := filepath.Join(dir, "workers")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket})
	if err != nil {
		return nil, err
	}
	defer listener.Close()
	for len(w)*agentsPerWorker < agents {
		name := fmt.Sprintf("agents-%d", len(w)+1)
		process, err := testbed.StartProcess(name, dir, append(os.Environ(), workerEnv+"="+socket), "/proc/self/exe")
		if err != nil {
			return nil, err
		}
		listener.SetDeadline(time.Now().Add(10 * time.Second)) //nolint:errcheck // Accept says what is wrong
		conn, err := listener.Accept()
		if err != nil {
			return nil, fmt.Errorf("%s: %w\n%s", name, err, process.Tail(5))
		}
		w = append(w, &worker{process, rpc.NewClient(conn)})
	}
	return w, nil
}

// stop ends the processes, whatever their agents do. It is an error if one has ended before.
func (w workers) stop() error {
	var errs []error
	for _, child := range w {
		errs = append(errs, child.process.Check())
		child.rpc.Close() // an error if the process has ended
		child.process.Kill()
	}
	return errors.Join(errs...)
}

const nodePrefix = "node-"

// of is the worker that runs a node's agent.
func (w workers) of(node string) *worker {
	n, _ := strconv.Atoi(strings.TrimPrefix(node, nodePrefix))
	return w[n%len(w)]
}

// each gives every worker an order about its part of the nodes, side by side.
func (w workers) each(nodes []string, order func(part []string) (Order, error)) error {
	parts := map[*worker][]string{}
	for _, name := range nodes {
		child := w.of(name)
		parts[child] = append(parts[child], name)
	}
	var group errgroup.Group
	for child, part := range parts {
		group.Go(func() error {
			o, err := order(part)
			if err == nil {
				_, err = child.do(o)
			}
			return err
		})
	}
	return group.Wait()
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
