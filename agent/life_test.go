package agent_test

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/agent"
	"github.com/aws-multi-eni/aws-multi-eni/agent/agenttest"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/imds"
	"github.com/aws-multi-eni/aws-multi-eni/internal/draw"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/query"
)

// FuzzLife runs an agent through events that the fuzzer chooses, on a synctest
// clock: changed specs and labels, failing calls, lags, kills, people who detach,
// delete and edit, an API server that is cut off or lists too little, an IMDS that
// hangs. The agent is complete, with the SDK, and so is the simulated EC2; the
// kernel and the API server are in memory. While this goes on no invariant may
// break, and at the end EC2, the host and the report must be as they are wanted.
func FuzzLife(f *testing.F) {
	fuzzWorld(f, 40, func(w *world) {
		w.boot()
		for step := 0; w.choices.More() && step < 24; step++ {
			w.happen()
			time.Sleep(draw.Of(w.choices, 300*time.Millisecond, 0, 10*time.Millisecond, 100*time.Millisecond,
				time.Second, 3*time.Second, 10*time.Second, 40*time.Second, 2*time.Minute, 6*time.Minute, 70*time.Minute))
			w.checkOffers()
		}
		w.endFaults()
		w.check()
		w.checkPods()
		w.checkRestart()
	})
}

// fuzzWorld has the fuzzer choose what happens in worlds, on a synctest clock.
func fuzzWorld(f *testing.F, seeds int, live func(*world)) {
	for _, seed := range draw.Seeds(seeds) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 200 {
			t.Skip("long lives find nothing that short ones do not, and cannot be read")
		}
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, draw.From(data))
			live(w)
			w.end()
		})
	})
}

// world is everything around an agent.
type world struct {
	*testing.T
	choices     *draw.Choices
	cloud       *cloud.Cloud
	self        imds.Identity
	host        *slate
	memory      *memory
	hints       *hints
	alone       bool    // without Kubernetes
	claims      *claims // nil without
	pods        *agent.PodFiles
	podCounters *agent.PodCounters
	events      *agenttest.Recorder // of the agent

	stop   context.CancelFunc // of the agent
	killed *atomic.Bool
	done   chan error

	mu        sync.Mutex
	since     time.Time // of the last change of what is wanted
	idleSince time.Time // since when the Node is another instance; zero when it is this one
	doubles   bool      // a second ENI may be made
	lagged    bool      // describes lag by more than pluggedWindow
	linksLost bool      // links were lost that describes may still show as attached
	booted    time.Time // the agent
	flapping  bool      // a label is gone for so short that it has cost nothing
	born      int       // NodeENIs ever
	counted   bool      // the ENIs' addresses and prefixes, after each call
	foreign   []cloud.Interface
	given     map[string]map[netip.Prefix]bool // addresses and prefixes, ever, by ENI
	over      chan struct{}
	parallel  sync.WaitGroup
}

const (
	cluster  = "life"
	subnetA  = "subnet-0aaaaaaaaaaaaaaa1"
	subnetA2 = "subnet-0aaaaaaaaaaaaaaa2"
	subnetB  = "subnet-0bbbbbbbbbbbbbbb1" // in another zone
	subnet6  = "subnet-0aaaaaaaaaaaaaaa6" // with IPv6 only
	groupX   = "sg-0000000000000000a"
	groupY   = "sg-0000000000000000b"
	// linkedWindow is how long the agent waits before it believes that an ENI is gone
	// whose link has been here.
	linkedWindow = 15 * time.Second
	// ec2Write is how long EC2 takes to answer a call that changes something.
	ec2Write = 50 * time.Millisecond
)

// place is the place for one ENI on the node: a NodeENI and a subnet.
type place struct {
	uid    types.UID
	subnet string
	number string // of an ENI on demand
}

// small is an instance type that takes a primary ENI and two more, each with up to
// smallAddresses addresses.
const (
	small          = "t3.fuzz"
	smallAddresses = 4
)

// newWorld has an instance of one of the types, by default of m5.fuzz or small.
func newWorld(t *testing.T, c *draw.Choices, types ...string) *world {
	if len(types) == 0 {
		types = []string{"m5.fuzz", "m5.fuzz", "m5.fuzz", small}
	}
	w := &world{T: t, choices: c, memory: newMemory(), over: make(chan struct{}), given: map[string]map[netip.Prefix]bool{}}
	dir := t.TempDir()
	w.pods = &agent.PodFiles{NetworksDir: filepath.Join(dir, "networks"), DataDir: filepath.Join(dir, "data")}
	w.host = newSlate(func(mac string) bool {
		return !slices.ContainsFunc(w.cloud.Interfaces(), func(e cloud.Interface) bool { return e.MAC == mac && !w.ours(e) })
	}, w.seeRelease)
	w.cloud = newCloud(t, c, w.host)
	// One byte for both, as for the first of them alone: so older seeds keep their meaning.
	n := c.N(8)
	w.alone = n%2 == 1
	in, err := w.cloud.RunInstance(cloud.RunInstance{Type: types[n/2%len(types)], SubnetID: subnetA})
	w.must(err)
	w.self = imds.Identity{InstanceID: in.ID, InstanceType: in.Type, Zone: in.Zone, Region: "us-east-1", Partition: "aws", AccountID: "123456789012", VPCID: in.VPCID}
	w.hints = &hints{cloud: w.cloud, instance: in.ID}
	w.foreign = w.cloud.Interfaces()
	w.memory.waiting = draw.Of(c, 1, 0, 1000)
	w.memory.wanted = agent.Snapshot{NodeExists: true, NodeUID: "node", Labels: map[string]string{"on": "yes"}}
	w.wish()
	if !w.alone {
		w.parallel.Go(w.coordinate)
	}
	return w
}

func newCloud(t *testing.T, c *draw.Choices, fabric cloud.Fabric) *cloud.Cloud {
	const vpc = "vpc-00000000000000001"
	network := netip.MustParsePrefix
	simulated, err := cloud.New(cloud.Config{
		VPCs: []cloud.VPC{{ID: vpc, CIDR: network("10.0.0.0/16"), IPv6CIDR: network("fd00:1::/56")}},
		Subnets: []cloud.Subnet{
			{ID: subnetA, VPCID: vpc, Zone: "us-east-1a", CIDR: network("10.0.1.0/24"), IPv6CIDR: network("fd00:1:0:1::/64"), Tags: map[string]string{"Name": "one"}},
			{ID: subnetA2, VPCID: vpc, Zone: "us-east-1a", CIDR: network("10.0.2.0/24"), IPv6CIDR: network("fd00:1:0:2::/64"), AssignIPv6AddressOnCreation: true, Tags: map[string]string{"Name": "two"}},
			{ID: subnetB, VPCID: vpc, Zone: "us-east-1b", CIDR: network("10.0.3.0/24"), Tags: map[string]string{"Name": "two"}},
			{ID: subnet6, VPCID: vpc, Zone: "us-east-1a", IPv6CIDR: network("fd00:1:0:6::/64"), IPv6Native: true, AssignIPv6AddressOnCreation: true},
		},
		SecurityGroups: []cloud.SecurityGroup{{ID: groupX, Name: "x", VPCID: vpc}, {ID: groupY, Name: "y", VPCID: vpc}},
		InstanceTypes: []cloud.InstanceType{
			{Name: "m5.fuzz", MaxENIs: 30, NetworkCards: 2, IPv4PerENI: 30, EnaSrd: true, EnaQueues: cloud.EnaQueues{Flexible: true, Default: 8, MaxPerENI: 32}}, {Name: small, MaxENIs: 3, IPv4PerENI: smallAddresses},
		},
		Timing: cloud.Timing{
			Read: 20 * time.Millisecond, Write: ec2Write,
			Attach: draw.Of(c, 0, 200*time.Millisecond, 5*time.Second), Detach: draw.Of(c, time.Second, 3*time.Second, 90*time.Second),
			PlugDelay: draw.Of(c, 0, 100*time.Millisecond, 2*time.Second, 30*time.Second),
			IMDSLag:   draw.Of(c, 0, 10*time.Second), DeleteInUse: draw.Of(c, 0, time.Second, 4*time.Second),
		},
		Fabric: fabric,
	})
	if err != nil {
		t.Fatal(err)
	}
	return simulated
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// boot starts an agent.
func (w *world) boot() {
	killed := &atomic.Bool{}
	ctx, cancel := context.WithCancel(context.Background())
	client := eni.NewClient(aws.Config{
		Region: w.self.Region, BaseEndpoint: aws.String("http://ec2.test"),
		Credentials: credentials.NewStaticCredentialsProvider("AKIDTEST", "secret", ""),
		HTTPClient:  &wire{query.New(w.cloud), killed, w.beforeCall, w.afterCall},
	})
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("FUZZ_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	w.events = &agenttest.Recorder{}
	process := newProcess(w.memory, killed, !w.alone)
	cfg := agent.Config{
		Cluster: cluster, Node: "node", Identity: w.self, EC2: client, Source: server{process}, Links: w.host,
		Metadata: w.hints, Recorder: w.events, Log: log, ReleaseDelay: 5 * time.Second, Pods: w.pods, PodCounters: w.podCounters,
	}
	if w.alone {
		cfg.Source, cfg.Collector = process, client
	} else if w.claims != nil {
		cfg.OnDemand = &agent.OnDemand{Claims: claimServer{process, w.claims}, Idle: onDemandIdle, Files: w.claims.files}
	}
	done := make(chan error, 1)
	go func() { done <- agent.New(cfg).Run(ctx) }()
	w.stop, w.killed, w.done = cancel, killed, done
	w.mu.Lock()
	w.booted = time.Now()
	w.mu.Unlock()
}

// halt ends the agent: in good order, or in the middle of whatever it does.
func (w *world) halt(kill bool) {
	w.killed.Store(kill)
	w.stop()
	if err := <-w.done; !errors.Is(err, context.Canceled) { // it may not have begun yet
		w.must(err)
	}
	w.killed.Store(true) // calls that still run get no answer
}

// end stops everything.
func (w *world) end() {
	close(w.over)
	w.parallel.Wait()
	w.halt(true)
	w.cloud.ClearFaults()
	w.cloud.Close()
}

func (w *world) ours(e cloud.Interface) bool {
	return e.Tags[eni.TagCluster] == cluster && e.Tags[eni.TagInstance] == w.self.InstanceARN()
}

func placeOf(e cloud.Interface) place {
	return place{types.UID(e.Tags[eni.TagNodeENIUID]), e.SubnetID, e.Tags[eni.TagPlace]}
}

// living are our ENIs in EC2.
func (w *world) living() []cloud.Interface {
	return slices.DeleteFunc(w.cloud.Interfaces(), func(e cloud.Interface) bool { return !w.ours(e) })
}

// wanted is what the node must have, by what the objects say and all names are.
func (w *world) wanted() map[place]v1alpha1.NodeENISpec {
	s := w.memory.truth()
	w.mu.Lock()
	if w.flapping {
		s.Labels = map[string]string{"on": "yes"}
	}
	w.mu.Unlock()
	all := map[place]v1alpha1.NodeENISpec{}
	for _, n := range s.NodeENIs {
		if !s.NodeExists || !n.Selects(s.Labels) {
			continue
		}
		if n.Spec.Attach == v1alpha1.AttachOnDemand {
			maps.Copy(all, w.claims.wanted(s, n))
			continue
		}
		for _, id := range n.Spec.SubnetIDs {
			if id != subnetB {
				all[place{n.UID, id, ""}] = n.Spec
			}
		}
		for _, name := range n.Spec.SubnetNames {
			all[place{n.UID, map[string]string{"one": subnetA, "two": subnetA2}[name], ""}] = n.Spec
		}
	}
	return all
}

// change changes what is wanted.
func (w *world) change(f func(*agent.Snapshot)) {
	w.mu.Lock()
	w.since = time.Now()
	w.mu.Unlock()
	w.memory.set(func(m *memory) {
		m.wanted.NodeENIs = slices.Clone(m.wanted.NodeENIs)
		f(&m.wanted)
	})
}
