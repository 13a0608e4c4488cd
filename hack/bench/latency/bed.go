package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/tools/cache"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

const (
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

// bed is a cluster whose nodes are labelled again and again, in turn.
type bed struct {
	*testbed.Testbed
	dir       string
	processes []*testbed.Process
	nodes     map[string]*node
	turn      int
}

// node is a node with what is seen of it.
type node struct {
	sim.Node
	host    *recorder
	reports *history[report]
}

func newBed(ctx context.Context, programs string) (*bed, error) {
	dir, err := os.MkdirTemp("", "aws-multi-eni-latency-")
	if err != nil {
		return nil, err
	}
	b := &bed{dir: dir, nodes: map[string]*node{}}
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
		topology.Nodes = append(topology.Nodes, sim.NodeSpec{Name: nodeName(i), Type: "bench.large"})
	}
	if b.Testbed, err = testbed.Start(ctx, testbed.Config{Programs: programs, Dir: b.dir, Topology: topology}); err != nil {
		return err
	}
	for _, n := range b.Sim.Nodes() {
		host, err := record(n.Namespace)
		if err != nil {
			return err
		}
		b.nodes[n.Name] = &node{n, host, newHistory[report]()}
	}
	if err := errors.Join(b.watchReports(ctx), b.Apply(ctx, nodeENIs())); err != nil {
		return err
	}
	return b.startPrograms(ctx)
}

func nodeName(i int) string { return fmt.Sprintf("node-%d", i%nodes+1) }

func (b *bed) startPrograms(ctx context.Context) error {
	coordinator, err := b.StartCoordinator(ctx, "coordinator", "--poll-interval", "200ms", "--max-concurrent-eni-cleanup", "20")
	if err != nil {
		return err
	}
	b.processes = append(b.processes, coordinator)
	for name := range b.nodes {
		if err := b.CreateNode(ctx, name, nil); err != nil {
			return fmt.Errorf("register %s: %w", name, err)
		}
		agent, err := b.StartAgent(ctx, name)
		if err != nil {
			return err
		}
		b.processes = append(b.processes, agent)
	}
	for name, n := range b.nodes {
		err := b.await(ctx, name+"'s agent has asked EC2 what is there", func() bool {
			return len(b.calls(n, time.Time{}, time.Now())) > 0
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// watchReports keeps what somebody who watches NodeENIStates sees.
func (b *bed) watchReports(ctx context.Context) error {
	lw := cache.NewListWatchFromClient(b.Client.API, kube.NodeENIStates, "", fields.Everything())
	informer := cache.NewSharedIndexInformer(lw, &v1alpha1.NodeENIState{}, 0, nil)
	add := func(o any) {
		state := o.(*v1alpha1.NodeENIState)
		b.nodes[state.Name].reports.add(nil, report{time.Now(), state.Status.ENIs})
	}
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: add, UpdateFunc: func(_, o any) { add(o) }})
	if err != nil {
		return err
	}
	go informer.RunWithContext(ctx)
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		return ctx.Err()
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
func (b *bed) calls(n *node, from, to time.Time) []cloud.Call {
	var calls []cloud.Call
	for _, c := range b.Sim.Cloud().Calls() {
		if c.SourceID == cloud.AccessKeyID(n.ID) && !c.Time.Before(from) && c.Time.Before(to) {
			calls = append(calls, c)
		}
	}
	return calls
}

// explained adds the logs of processes that have ended to an error.
func (b *bed) explained(err error) error {
	if err == nil {
		return nil
	}
	for _, p := range b.processes {
		if p.Exited() {
			err = fmt.Errorf("%w\n%s: %s", err, p.Name, p.Tail(5))
		}
	}
	return err
}

func (b *bed) stop() error {
	for _, p := range b.processes {
		p.Kill()
	}
	for _, n := range b.nodes {
		n.host.socket.Close()
	}
	var err error
	if b.Testbed != nil {
		err = b.Stop()
	}
	return errors.Join(err, os.RemoveAll(b.dir))
}
