package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/sim"
	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

// patience bounds every wait but the build. Most take a second or two.
const patience = 60 * time.Second

// The label that the samples select.
const (
	labelKey   = "ng"
	labelValue = "multi-eni"
)

// samples are the NodeENIs of the demo.
var samples = []string{"examples/host-addressing.yaml", "examples/pods/nodeeni.yaml"}

// demo is one run.
type demo struct {
	options
	out *screen
	dir string // logs, kubeconfigs and programs

	tb        *testbed.Testbed
	processes []*testbed.Process
	targets   []target // of their metrics
	recording *recording
	kept      bool // it was left running for people to play with
	left      int  // ENIs that EC2 has at the end
}

func newDemo(o options, out *screen) (*demo, error) {
	dir, err := os.MkdirTemp("", "aws-multi-eni-demo-")
	if err != nil {
		return nil, fmt.Errorf("create a directory for the logs: %w", err)
	}
	return &demo{options: o, out: out, dir: dir}, nil
}

const intro = `aws-multi-eni: the life cycle of ENIs on three nodes

  This machine simulates EC2, the instance metadata service, and the VPC, with
  latencies like those of EC2. No AWS account is used. Everything else is real: the
  API server, the agents and coordinators, the AWS SDK, netlink, and the packets.
`

// play tells the whole story.
func (d *demo) play(ctx context.Context) error {
	d.out.printf("%s", intro)
	for _, chapter := range []func(context.Context) error{d.start, d.request, d.ready, d.showNode, d.ping, d.attachPods} {
		if err := chapter(ctx); err != nil {
			return err
		}
	}
	if d.keep {
		return d.leaveRunning(ctx)
	}
	if err := d.unlabel(ctx); err != nil {
		return err
	}
	if err := d.recording.end(); err != nil {
		return err
	}
	if err := d.delete(ctx); err != nil {
		return err
	}
	if d.left = len(d.tb.ENIs()); d.left > 0 {
		return fmt.Errorf("%d ENIs still exist in EC2", d.left)
	}
	return nil
}

// start starts everything. No ENI is wanted yet.
func (d *demo) start(ctx context.Context) error {
	d.out.chapter("1. Start a cluster with three nodes")
	if err := d.build(ctx); err != nil {
		return err
	}
	began := time.Now()
	timing := sim.RealisticTiming()
	var err error
	d.tb, err = testbed.Start(ctx, testbed.Config{
		Programs: d.programs, Dir: d.dir, Topology: sim.Topology{Nodes: sim.Nodes(3), Timing: &timing},
	})
	if err != nil {
		return err
	}
	d.out.step(time.Since(began), "started an API server, simulated EC2, and three nodes in two zones")
	began = time.Now()
	if err := d.startNodes(ctx); err != nil {
		return err
	}
	d.out.step(time.Since(began), "started an agent in the network namespace of each node")
	began = time.Now()
	for _, name := range []string{"coordinator-1", "coordinator-2"} {
		if err := d.startCoordinator(ctx, name); err != nil {
			return err
		}
	}
	d.out.step(time.Since(began), "started two coordinators, which elect a leader")
	d.out.printf("\n")
	d.listNodes()
	if d.metrics != "" {
		d.recording = startRecording(d.metrics, d.targets)
	}
	return nil
}

func (d *demo) startCoordinator(ctx context.Context, name string) error {
	address, err := freeAddress()
	if err != nil {
		return err
	}
	p, err := d.tb.StartCoordinator(ctx, name, "--status-interval", "500ms", "--http-address", address)
	if err != nil {
		return err
	}
	d.processes = append(d.processes, p)
	d.targets = append(d.targets, targetIn(nil, "eni-coordinator", name, address))
	return nil
}

func (d *demo) build(ctx context.Context) error {
	if d.programs != "" {
		var err error
		d.programs, err = filepath.Abs(d.programs)
		return err
	}
	d.programs = d.dir
	d.out.text("building the programs; this takes minutes the first time, and seconds after that ...")
	began := time.Now()
	if err := errors.Join(testbed.Build(ctx, d.dir, false), testbed.BuildPlugins(ctx, d.dir)); err != nil {
		return err
	}
	d.out.step(time.Since(began), "built the programs")
	return nil
}

// startNodes registers the nodes as kubelet would, and starts their agents.
func (d *demo) startNodes(ctx context.Context) error {
	for _, n := range d.tb.Sim.Nodes() {
		if err := d.tb.CreateNode(ctx, n.Name, nil); err != nil {
			return fmt.Errorf("register %s: %w", n.Name, err)
		}
		p, err := d.tb.StartAgent(ctx, n.Name, append(d.tb.PodsFlags(n.Name), "--http-address", agentMetrics)...)
		if err != nil {
			return err
		}
		d.processes = append(d.processes, p)
		d.targets = append(d.targets, targetIn(n.Namespace, "eni-agent", n.Name, agentMetrics))
	}
	return d.await(ctx, "every agent has listed its ENIs in EC2", func(context.Context) error {
		asked := map[string]bool{}
		for _, call := range d.tb.Sim.Cloud().Calls() {
			if !call.Pending && call.Code == "" {
				asked[call.SourceID] = true // each instance has credentials of its own
			}
		}
		if n := len(d.tb.Sim.Nodes()); len(asked) < n {
			return fmt.Errorf("%d of %d agents have", len(asked), n)
		}
		return nil
	})
}

func (d *demo) listNodes() {
	d.out.text(fmt.Sprintf("%-8s %-11s %-12s %s", "NODE", "ZONE", "ADDRESS", "INSTANCE"))
	for _, n := range d.tb.Sim.Nodes() {
		d.out.text(fmt.Sprintf("%-8s %-11s %-12s %s", n.Name, n.Zone, n.PrivateIP, n.ID))
	}
}

// request applies the samples, before any node has the label that they select.
func (d *demo) request(ctx context.Context) error {
	d.out.chapter("2. Create two NodeENIs")
	root, err := testbed.Root(ctx)
	if err != nil {
		return err
	}
	for i, path := range samples {
		document, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			return err
		}
		if err := d.tb.Apply(ctx, string(document)); err != nil {
			return fmt.Errorf("apply %s: %w", path, err)
		}
		if i > 0 {
			d.out.printf("\n")
		}
		d.out.text("$ kubectl apply -f " + path)
		_, spec, _ := strings.Cut(string(document), "\nspec:\n")
		d.out.text(spec)
	}
	return nil
}

// await polls until check succeeds. It gives up after patience, or when a
// process has ended, and then says what check said last.
func (d *demo) await(ctx context.Context, what string, check func(context.Context) error) error {
	timed, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		err := check(timed)
		if err == nil {
			return nil
		}
		if last == nil || timed.Err() == nil { // later, only the end of the wait would be printed
			last = err
		}
		for _, p := range d.processes {
			if p.Exited() {
				return fmt.Errorf("%s has exited before %s", p.Name, what)
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timed.Done():
			return fmt.Errorf("timed out after %v before %s: %w", patience, what, last)
		case <-tick.C:
		}
	}
}

// explain shows what helps to find out what went wrong, and ends with what did.
func (d *demo) explain(err error) {
	for _, p := range d.processes {
		d.out.printf("\nThe last lines of %s:\n", p.Log)
		d.out.text(cmp.Or(p.Tail(10), "(empty)"))
	}
	if len(d.processes) > 0 {
		d.out.printf("\nENIs in EC2:\n")
		d.out.text(d.enis())
		d.out.printf("\nAll logs are in %s.\n", d.dir)
	}
	d.out.printf("\nFAILED: %v\n", err)
}

// enis lists our ENIs as EC2 has them.
func (d *demo) enis() string {
	lines := []string{}
	for _, e := range d.tb.ENIs() {
		line := fmt.Sprintf("%s %s %s", e.ID, e.Tags["Name"], e.Status)
		if a := e.Attachment; a != nil {
			line += fmt.Sprintf(", %s at index %d of %s", a.Status, a.DeviceIndex, a.InstanceID)
		}
		lines = append(lines, line)
	}
	if len(lines) == 0 {
		return "none"
	}
	return strings.Join(lines, "\n")
}

// stop ends everything that was started: as Kubernetes does, or at once.
func (d *demo) stop(failed bool) error {
	var errs []error
	for _, p := range d.processes {
		if failed {
			p.Kill()
		} else if err := p.Stop(); err != nil {
			errs = append(errs, fmt.Errorf("%s, after SIGTERM: %w; its log ends with\n%s", p.Name, err, p.Tail(5)))
		}
	}
	if d.tb != nil {
		errs = append(errs, d.tb.Stop())
	}
	return errors.Join(errs...)
}
