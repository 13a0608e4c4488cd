package coordinator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/controlplane"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/simtest"
)

const testNamespace = "eni-system"

// sharedControlPlane is a real API server with our CRDs, started by the first
// test that needs it. Tests that use it clean up and do not run in parallel.
var sharedControlPlane = controlplane.Shared{Install: func(ctx context.Context, cp *controlplane.ControlPlane) error {
	return cp.ApplyFiles(ctx, "../manifests/namespace.yaml", "../manifests/crds/*.yaml", "../manifests/rbac/coordinator.yaml")
}}

func TestMain(m *testing.M) {
	if encoded := os.Getenv(processEnv); encoded != "" {
		os.Exit(runProcess(encoded))
	}
	klog.SetSlogLogger(slog.New(slog.DiscardHandler))
	sharedControlPlane.Main(m)
}

// rig is an API server and an AWS account, empty at first, with coordinators.
type rig struct {
	*testing.T
	cp     *controlplane.ControlPlane
	access *rest.Config // a coordinator's; the rig itself may do anything
	kube   *kube.Client
	leases coordinationv1.LeasesGetter
	cloud  *cloud.Cloud
	ec2URL string
	ec2    *eni.Client

	created int
}

func newRig(t *testing.T, change ...func(*cloud.Config)) *rig {
	t.Helper()
	cp := sharedControlPlane.Get(t)
	r := &rig{T: t, cp: cp}
	var err error
	if r.access, err = cp.ServiceAccountConfig(t.Context(), testNamespace, "eni-coordinator", ""); err != nil {
		t.Fatal(err)
	}
	if r.kube, err = kube.NewClient(cp.AdminConfig(), "test"); err != nil {
		t.Fatal(err)
	}
	if r.leases, err = coordinationv1.NewForConfig(cp.AdminConfig()); err != nil {
		t.Fatal(err)
	}
	config := cloud.Config{
		VPCs: []cloud.VPC{{ID: "vpc-00000000000000001", CIDR: netip.MustParsePrefix("10.0.0.0/16")}},
		Subnets: []cloud.Subnet{
			{ID: subnetA, VPCID: "vpc-00000000000000001", Zone: "us-east-1a", CIDR: netip.MustParsePrefix("10.0.1.0/24")},
			{ID: subnetB, VPCID: "vpc-00000000000000001", Zone: "us-east-1a", CIDR: netip.MustParsePrefix("10.0.2.0/24")},
		},
		SecurityGroups: []cloud.SecurityGroup{{ID: testGroup, Name: "web", VPCID: "vpc-00000000000000001"}},
	}
	for _, f := range change {
		f(&config)
	}
	var access aws.Config
	r.cloud, access = simtest.Account(t, config)
	r.ec2URL = *access.BaseEndpoint
	r.ec2 = ec2Client(r.ec2URL, "AKIDTEST")
	t.Cleanup(r.removeObjects)
	return r
}

// newNodeRig has an instance that is node-a, and a NodeENI that selects it.
func newNodeRig(t *testing.T) (r *rig, n *v1alpha1.NodeENI, instance string) {
	t.Helper()
	r = newRig(t)
	instance = r.newNode("node-a")
	return r, r.nodeENI("multi"), instance
}

// newENIRig has an ENI of that NodeENI, too, attached to the instance.
func newENIRig(t *testing.T) (r *rig, n *v1alpha1.NodeENI, instance, id string) {
	t.Helper()
	r, n, instance = newNodeRig(t)
	return r, n, instance, r.fullENI(n, "node-a", instance, subnetA, 2)
}

const testGroup = "sg-0123456789abcdef0"

func ec2Client(url, key string) *eni.Client {
	return eni.NewClient(aws.Config{
		Region:       "us-east-1",
		BaseEndpoint: aws.String(url),
		Credentials:  credentials.NewStaticCredentialsProvider(key, "secret", ""),
	})
}

// removeObjects leaves the API server as it was before the test.
func (r *rig) removeObjects() {
	ctx := context.Background()
	var nodeENIs v1alpha1.NodeENIList
	if err := r.kube.API.Get().Resource(kube.NodeENIs).Do(ctx).Into(&nodeENIs); err != nil {
		r.Error(err)
	}
	for _, n := range nodeENIs.Items {
		r.remove(r.kube.API, kube.NodeENIs, n.Name)
		if _, err := setFinalizer(ctx, r.kube, n.Name, n.UID, false); err != nil {
			r.Error(err)
		}
	}
	for _, all := range []struct {
		client   rest.Interface
		resource string
	}{{r.kube.API, kube.NodeENIStates}, {r.kube.Core, kube.Nodes}} {
		if err := all.client.Delete().Resource(all.resource).Do(ctx).Error(); err != nil {
			r.Error(err)
		}
	}
	if err := r.kube.Core.Delete().Namespace("default").Resource("events").Do(ctx).Error(); err != nil {
		r.Error(err)
	}
	err := r.leases.Leases(testNamespace).Delete(ctx, leaseName, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		r.Error(err)
	}
}

// fastConfig waits for nothing that a test does not want to see.
func fastConfig(ctx context.Context, access *rest.Config, ec2URL, identity string) (Config, error) {
	client, err := kube.NewClient(access, identity)
	if err != nil {
		return Config{}, err
	}
	leases, err := LeaseClient(access, 10*time.Second)
	if err != nil {
		return Config{}, err
	}
	log := slog.New(slog.DiscardHandler)
	return Config{
		Kube: client, Leases: leases, EC2: ec2Client(ec2URL, identity), Log: log,
		Events:  kube.NewRecorder(ctx, client, kube.EventSource{Component: "eni-coordinator"}, log),
		Cluster: testCluster, Region: "us-east-1", Namespace: testNamespace, Identity: identity, Concurrency: 3,
		SweepInterval: time.Hour, ReleaseGrace: 10 * time.Millisecond, NodeGrace: 10 * time.Millisecond, OrphanAge: 10 * time.Minute,
		StatusInterval: 20 * time.Millisecond, PollInterval: 20 * time.Millisecond,
		LeaseDuration: 15 * time.Second, RenewDeadline: 10 * time.Second, RetryPeriod: 50 * time.Millisecond,
	}, nil
}

// shortLease is for tests that wait until a Lease is lost.
func shortLease(cfg *Config) {
	cfg.LeaseDuration, cfg.RenewDeadline = 2*time.Second, 1500*time.Millisecond
}

// running is a coordinator within the test's process.
type running struct {
	rig  *rig
	stop context.CancelFunc
	done chan error
}

// start runs a coordinator until the test ends or stops it.
func (r *rig) start(identity string, change ...func(*Config)) *running {
	r.Helper()
	ctx, stop := context.WithCancel(context.Background())
	cfg, err := fastConfig(ctx, r.access, r.ec2URL, identity)
	if err != nil {
		r.Fatal(err)
	}
	for _, f := range change {
		f(&cfg)
	}
	c := &running{rig: r, stop: stop, done: make(chan error, 1)}
	go func() { c.done <- Run(ctx, cfg) }()
	r.Cleanup(func() {
		stop()
		if err := c.wait(); err != nil && !errors.Is(err, ErrLeaseLost) {
			r.Errorf("coordinator %s: %v", identity, err)
		}
	})
	return c
}

// startLeading waits until the coordinator leads and has swept once.
func (r *rig) startLeading(change ...func(*Config)) *running {
	r.Helper()
	c := r.start("leader", change...)
	r.await("the first sweep", func() bool { return r.count("DescribeNetworkInterfaces") > 0 })
	return c
}

// wait returns what Run returned.
func (c *running) wait() error {
	c.rig.Helper()
	select {
	case err := <-c.done:
		c.done <- err
		return err
	case <-time.After(30 * time.Second):
		c.rig.Fatal("the coordinator did not end within 30 s")
		return nil
	}
}

// end stops the coordinator, which has led without an error.
func (c *running) end() {
	c.rig.Helper()
	c.stop()
	if err := c.wait(); err != nil {
		c.rig.Fatal(err)
	}
}

// coordinator is one that does not run.
func (r *rig) coordinator() *coordinator {
	r.Helper()
	cfg, err := fastConfig(r.Context(), r.access, r.ec2URL, "leader")
	if err != nil {
		r.Fatal(err)
	}
	c, err := newCoordinator(cfg)
	if err != nil {
		r.Fatal(err)
	}
	c.sweeper.executor.holdsLease = func() bool { return true }
	return c
}

// follow has the coordinator's caches follow the API server until stop.
func (r *rig) follow(c *coordinator) (stop func()) {
	r.Helper()
	stop, filled := c.caches.run(r.Context())
	if !filled {
		r.Fatal("the caches were not filled before the test ended")
	}
	return stop
}

// coordinatorAsOf returns a coordinator whose caches hold what the API server
// shows now and do not change after that.
func (r *rig) coordinatorAsOf() *coordinator {
	r.Helper()
	c := r.coordinator()
	r.follow(c)()
	return c
}

func (r *rig) sweeperAsOf() *sweeper {
	r.Helper()
	return r.coordinatorAsOf().sweeper
}

func (r *rig) await(what string, condition func() bool) {
	r.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !condition() {
		if time.Now().After(deadline) {
			r.Fatalf("not within 30 s: %s\ncalls: %v\nENIs: %v", what, r.calls(), r.describe())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (r *rig) calls() (all []string) {
	for _, c := range r.cloud.Calls() {
		all = append(all, strings.TrimSpace(c.Action+" "+c.Params["NetworkInterfaceId"]+c.Params["AttachmentId"]+" "+c.Code))
	}
	return all
}

func (r *rig) describe() (all []string) {
	for _, i := range r.cloud.Interfaces() {
		all = append(all, fmt.Sprintf("%s %s %v", i.ID, i.Status, i.Attachment))
	}
	return all
}

// exists says whether EC2 still has the ENI.
func (r *rig) exists(id string) bool {
	_, ok := r.cloud.Interface(id)
	return ok
}

func (r *rig) attached(id string) bool {
	i, ok := r.cloud.Interface(id)
	return ok && i.Attachment != nil && i.Attachment.Status == cloud.AttachmentAttached
}

func (r *rig) awaitGone(ids ...string) {
	r.Helper()
	r.await(fmt.Sprintf("%v deleted in EC2", ids), func() bool { return !slices.ContainsFunc(ids, r.exists) })
}

// awaitSweep returns after a sweep that began after now and has ended, for
// which it wakes the coordinator: a NodeENI comes and goes.
func (r *rig) awaitSweep() {
	r.Helper()
	n := r.nodeENI("wake", func(n *v1alpha1.NodeENI) { n.Spec.NodeSelector = map[string]string{"no-node": "has-it"} })
	r.awaitFinalizer(n)
	r.remove(r.kube.API, kube.NodeENIs, "wake")
	r.awaitNoNodeENI("wake") // its finalizer goes at the end of a sweep
}

// processEnv makes the test binary a coordinator, which a test can kill.
const processEnv = "ENI_COORDINATOR_TEST_PROCESS"

// process says how that coordinator reaches the rig.
type process struct {
	Kubeconfig string
	EC2        string
	Identity   string
}

// startProcess runs a coordinator in a process of its own.
func (r *rig) startProcess(identity string) *exec.Cmd {
	r.Helper()
	kubeconfig := filepath.Join(r.TempDir(), "kubeconfig")
	if err := controlplane.WriteKubeconfig(kubeconfig, r.access); err != nil {
		r.Fatal(err)
	}
	encoded, err := json.Marshal(process{Kubeconfig: kubeconfig, EC2: r.ec2URL, Identity: identity})
	if err != nil {
		r.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), processEnv+"="+string(encoded))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
		if s := stderr.String(); strings.Contains(s, "DATA RACE") || strings.Contains(s, "panic") {
			r.Errorf("coordinator %s: %s", identity, s)
		}
	})
	return cmd
}

func runProcess(encoded string) int {
	var p process
	err := json.Unmarshal([]byte(encoded), &p)
	if err == nil {
		err = p.run(context.Background())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func (p process) run(ctx context.Context) error {
	access, err := clientcmd.BuildConfigFromFlags("", p.Kubeconfig)
	if err != nil {
		return err
	}
	cfg, err := fastConfig(ctx, access, p.EC2, p.Identity)
	if err != nil {
		return err
	}
	shortLease(&cfg)
	return Run(ctx, cfg)
}
