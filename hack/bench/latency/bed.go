package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/sim"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

const (
	// nodes are enough for one to be cold again when its turn comes.
	nodes = 12
	// enisPerNode is what the instance type takes besides the primary ENI.
	enisPerNode = 15
	// patience bounds every wait.
	patience = 90 * time.Second
	labelKey = "bench"
)

// quick is an EC2 that costs next to nothing, so that the agent's own time shows. An
// answer in no time at all would have the SDK close connections.
var quick = cloud.Timing{
	Read: 2 * time.Millisecond, Write: 2 * time.Millisecond, PlugDelay: 2 * time.Millisecond,
	Attach: 2 * time.Millisecond, Detach: 50 * time.Millisecond,
}

// realistic is an EC2 as slow as EC2 is. What comes after the last ENI is Ready need
// not take as long.
func realistic() cloud.Timing {
	t := sim.RealisticTiming()
	t.Detach, t.DeleteInUse = quick.Detach, 0
	return t
}

// bed is a cluster whose nodes are labelled again and again.
type bed struct {
	*testbed.Testbed
	dir       string
	processes []*testbed.Process
	reports   *reports
	hosts     map[string]*recorder // by node
	cold      chan string          // nodes that have nothing of an earlier lap
	failed    chan error           // of a node that does not get cold
}

func newBed(ctx context.Context, programs string) (*bed, error) {
	dir, err := os.MkdirTemp("", "aws-multi-eni-latency-")
	if err != nil {
		return nil, err
	}
	b := &bed{dir: dir, hosts: map[string]*recorder{}, cold: make(chan string, nodes), failed: make(chan error, nodes)}
	if err := b.start(ctx, programs); err != nil {
		return nil, errors.Join(b.explained(err), b.stop())
	}
	return b, nil
}

func (b *bed) start(ctx context.Context, programs string) (err error) {
	if programs == "" {
		programs = b.dir
		if err := testbed.Build(ctx, programs, false); err != nil {
			return err
		}
	}
	if programs, err = filepath.Abs(programs); err != nil {
		return err
	}
	timing := realistic()
	topology := sim.Topology{
		Timing:        &timing,
		InstanceTypes: []cloud.InstanceType{{Name: "bench.large", MaxENIs: enisPerNode + 1, IPv4PerENI: 4}},
	}
	for i := range nodes {
		topology.Nodes = append(topology.Nodes, sim.NodeSpec{Name: fmt.Sprintf("node-%d", i+1), Type: "bench.large"})
	}
	b.Testbed, err = testbed.Start(ctx, testbed.Config{Programs: programs, Dir: b.dir, Topology: topology})
	if err != nil {
		return err
	}
	if b.reports, err = watchReports(ctx, b.Client); err != nil {
		return err
	}
	if err := b.Apply(ctx, nodeENIs()); err != nil {
		return err
	}
	coordinator, err := b.StartCoordinator(ctx, "coordinator", "--poll-interval", "200ms", "--max-concurrent-eni-cleanup", "20")
	if err != nil {
		return err
	}
	b.processes = append(b.processes, coordinator)
	return b.startNodes(ctx)
}

func (b *bed) startNodes(ctx context.Context) error {
	for _, n := range b.Sim.Nodes() {
		if err := b.CreateNode(ctx, n.Name, nil); err != nil {
			return fmt.Errorf("register %s: %w", n.Name, err)
		}
		var err error
		if b.hosts[n.Name], err = record(n.Namespace); err != nil {
			return err
		}
		agent, err := b.StartAgent(ctx, n.Name)
		if err != nil {
			return err
		}
		b.processes = append(b.processes, agent)
	}
	for _, n := range b.Sim.Nodes() {
		err := b.await(ctx, n.Name+"'s agent has asked EC2 what is there", func() bool {
			return len(b.calls(n.Name, time.Time{}, time.Now())) > 0
		})
		if err != nil {
			return err
		}
		b.cold <- n.Name
	}
	return nil
}

// nodeENIs are manifests that select bench=NAME.
func nodeENIs() string {
	one := func(name, selected, more string) string {
		return fmt.Sprintf(`---
apiVersion: networking.k8s.aws/v1alpha1
kind: NodeENI
metadata: {name: %s}
spec: {nodeSelector: {%s: %s}, subnetNames: [data], securityGroupNames: [data], mtu: 1500, %s}
`, name, labelKey, selected, more)
	}
	all := one("host", "host", "addressing: Host") + one("none", "none", "addressing: None") +
		one("renamed", "renamed", "addressing: Host, interfaceName: data0")
	for i := range enisPerNode {
		all += one(fmt.Sprintf("many-%02d", i+1), "many", fmt.Sprintf("addressing: Host, deviceIndex: %d", i+1))
	}
	return all
}

// await polls until something is so.
func (b *bed) await(ctx context.Context, what string, is func() bool) error {
	for end := time.Now().Add(patience); !is(); {
		for _, p := range b.processes {
			if p.Exited() {
				return fmt.Errorf("%s has ended; it was awaited that %s", p.Name, what)
			}
		}
		if time.Now().After(end) {
			return fmt.Errorf("not within %v: %s", patience, what)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}

// calls are the EC2 calls of a node's agent that began between two moments.
func (b *bed) calls(node string, from, to time.Time) []cloud.Call {
	n, err := b.Sim.Node(node)
	if err != nil {
		return nil
	}
	var calls []cloud.Call
	for _, c := range b.Sim.Cloud().Calls() {
		if c.SourceID == cloud.AccessKeyID(n.ID) && !c.Time.Before(from) && c.Time.Before(to) {
			calls = append(calls, c)
		}
	}
	return calls
}

// explained keeps the logs of what went wrong.
func (b *bed) explained(err error) error {
	for _, p := range b.processes {
		if p.Exited() {
			err = fmt.Errorf("%w\n%s: %s", err, p.Name, p.Tail(5))
		}
	}
	return err
}

func (b *bed) stop() error {
	var errs []error
	for _, p := range b.processes {
		p.Kill()
	}
	for _, h := range b.hosts {
		h.close()
	}
	if b.Testbed != nil {
		errs = append(errs, b.Testbed.Stop())
	}
	return errors.Join(append(errs, os.RemoveAll(b.dir))...)
}
