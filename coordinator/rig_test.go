package coordinator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/controlplane"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/query"
)

const testNamespace = "eni-system"

// sharedControlPlane is a real API server with our CRDs, started by the first
// test that needs it. Tests that use it clean up and do not run in parallel.
var sharedControlPlane = sync.OnceValues(func() (*controlplane.ControlPlane, error) {
	ctx := context.Background()
	cp, err := controlplane.Start(ctx, controlplane.Config{})
	if err != nil {
		return nil, err
	}
	started = cp
	namespace := []byte("apiVersion: v1\nkind: Namespace\nmetadata: {name: " + testNamespace + "}\n")
	if err := cp.Apply(ctx, namespace); err != nil {
		return nil, err
	}
	return cp, cp.ApplyFiles(ctx, "../manifests/crds")
})

var started *controlplane.ControlPlane

func TestMain(m *testing.M) {
	if encoded := os.Getenv(processEnv); encoded != "" {
		os.Exit(runProcess(encoded))
	}
	klog.SetSlogLogger(slog.New(slog.DiscardHandler))
	code := m.Run()
	if started != nil {
		if err := started.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// rig is an API server and an AWS account, empty at first, with coordinators.
type rig struct {
	*testing.T
	cp     *controlplane.ControlPlane
	access *rest.Config
	kube   *kube.Client
	leases coordinationv1.LeasesGetter
	cloud  *cloud.Cloud
	ec2URL string
	ec2    *eni.Client

	created int
}

func newRig(t *testing.T, change ...func(*cloud.Config)) *rig {
	t.Helper()
	cp, err := sharedControlPlane()
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{T: t, cp: cp, access: cp.AdminConfig()}
	if r.kube, err = kube.NewClient(r.access, "test"); err != nil {
		t.Fatal(err)
	}
	if r.leases, err = coordinationv1.NewForConfig(r.access); err != nil {
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
	if r.cloud, err = cloud.New(config); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(query.New(r.cloud))
	r.ec2URL = server.URL
	r.ec2 = ec2Client(r.ec2URL, "AKIDTEST")
	t.Cleanup(func() {
		r.removeObjects()
		r.cloud.Close()
		server.Close()
	})
	return r
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
		if err := setFinalizer(ctx, r.kube, n.Name, n.UID, false); err != nil {
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
	leases, err := coordinationv1.NewForConfig(access)
	if err != nil {
		return Config{}, err
	}
	log := slog.New(slog.DiscardHandler)
	return Config{
		Kube: client, Leases: leases, EC2: ec2Client(ec2URL, identity), Log: log,
		Events:  kube.NewRecorder(ctx, client, kube.EventSource{Component: "eni-coordinator"}, log),
		Cluster: testCluster, Namespace: testNamespace, Identity: identity, Concurrency: 3,
		SweepInterval: time.Hour, ReleaseGrace: 10 * time.Millisecond, OrphanAge: 10 * time.Minute,
		StatusInterval: 20 * time.Millisecond, PollInterval: 20 * time.Millisecond,
		LeaseDuration: 2 * time.Second, RenewDeadline: 1500 * time.Millisecond, RetryPeriod: 100 * time.Millisecond,
	}, nil
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

func (r *rig) await(what string, holds func() bool) {
	r.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !holds() {
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

// count counts the calls of an action by coordinators; the rig makes its own
// ENIs as AKIDTEST.
func (r *rig) count(action string) int {
	n := 0
	for _, c := range r.cloud.Calls() {
		if c.Action == action && c.SourceID != "AKIDTEST" {
			n++
		}
	}
	return n
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
	n := r.nodeENI("wake", func(n *v1alpha1.NodeENI) { n.Spec.NodeSelector = map[string]string{"nobody": "has-it"} })
	r.awaitFinalizer(n)
	r.remove(r.kube.API, kube.NodeENIs, "wake")
	r.awaitNoNodeENI("wake") // its finalizer goes at the end of a sweep
}

func (r *rig) instance() string {
	r.Helper()
	i, err := r.cloud.RunInstance(cloud.RunInstance{Type: "m5.xlarge", SubnetID: subnetA})
	if err != nil {
		r.Fatal(err)
	}
	r.await("a running instance", func() bool {
		return slices.ContainsFunc(r.cloud.Instances(), func(o cloud.Instance) bool {
			return o.ID == i.ID && o.State == cloud.InstanceRunning
		})
	})
	return i.ID
}

// create makes an object and reads it back.
func create[T any](r *rig, client rest.Interface, resource string, obj runtime.Object) *T {
	r.Helper()
	var out T
	if err := client.Post().Resource(resource).Body(obj).Do(r.Context()).Into(any(&out).(runtime.Object)); err != nil {
		r.Fatalf("creating %s: %v", resource, err)
	}
	return &out
}

func get[T any](r *rig, client rest.Interface, resource, name string) *T {
	r.Helper()
	var out T
	err := client.Get().Resource(resource).Name(name).Do(r.Context()).Into(any(&out).(runtime.Object))
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		r.Fatalf("reading %s %s: %v", resource, name, err)
	}
	return &out
}

func (r *rig) patch(client rest.Interface, resource, name string, change map[string]any) {
	r.Helper()
	body, err := json.Marshal(change)
	if err == nil {
		err = client.Patch(types.MergePatchType).Resource(resource).Name(name).Body(body).Do(r.Context()).Error()
	}
	if err != nil {
		r.Fatalf("changing %s %s: %v", resource, name, err)
	}
}

func (r *rig) remove(client rest.Interface, resource, name string) {
	r.Helper()
	err := client.Delete().Resource(resource).Name(name).Do(context.Background()).Error()
	if err != nil && !apierrors.IsNotFound(err) {
		r.Fatalf("deleting %s %s: %v", resource, name, err)
	}
}

// node makes a Node of an instance that a NodeENI of the rig selects.
func (r *rig) node(name, instance string) *kube.Node {
	r.Helper()
	return create[kube.Node](r, r.kube.Core, kube.Nodes, &kube.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"ng": "multi-eni"}},
		Spec:       kube.NodeSpec{ProviderID: providerID(instance)},
	})
}

func (r *rig) nodeENI(name string, change ...func(*v1alpha1.NodeENI)) *v1alpha1.NodeENI {
	r.Helper()
	n := validNodeENI()
	n.ObjectMeta = metav1.ObjectMeta{Name: name}
	for _, f := range change {
		f(n)
	}
	return create[v1alpha1.NodeENI](r, r.kube.API, kube.NodeENIs, n)
}

func (r *rig) getNodeENI(name string) *v1alpha1.NodeENI {
	r.Helper()
	return get[v1alpha1.NodeENI](r, r.kube.API, kube.NodeENIs, name)
}

func (r *rig) awaitFinalizer(n *v1alpha1.NodeENI) {
	r.Helper()
	r.await("the finalizer on "+n.Name, func() bool {
		now := r.getNodeENI(n.Name)
		return now != nil && slices.Contains(now.Finalizers, v1alpha1.CleanupFinalizer)
	})
}

func (r *rig) awaitNoNodeENI(name string) {
	r.Helper()
	r.await("NodeENI "+name+" gone", func() bool { return r.getNodeENI(name) == nil })
}

// owner is what an agent's tags say.
func owner(n *v1alpha1.NodeENI, node, instance string) eni.Owner {
	return eni.Owner{
		Cluster: testCluster, Node: node, Instance: arn(instance), NodeENI: n.Name, NodeENIUID: n.UID,
		CreatedAt: time.Now().Truncate(time.Second),
	}
}

// newENI makes an ENI as an agent does, without attaching it. Each is another one.
func (r *rig) newENI(o eni.Owner, subnet string) string {
	r.Helper()
	r.created++
	e, err := r.ec2.Create(r.Context(), eni.CreateParams{
		Owner: o, SubnetID: subnet, Groups: []string{testGroup}, Description: fmt.Sprint("test ", r.created),
	})
	if err != nil {
		r.Fatal(err)
	}
	return e.ID
}

// attachENI attaches an ENI to the instance that its owner names.
func (r *rig) attachENI(id, instance string, index int32) {
	r.Helper()
	if _, err := r.ec2.Attach(r.Context(), id, instance, index); err != nil {
		r.Fatal(err)
	}
	r.await(id+" attached", func() bool { return r.attached(id) })
}

// fullENI is an ENI that an agent made and attached.
func (r *rig) fullENI(n *v1alpha1.NodeENI, node, instance, subnet string, index int32) string {
	r.Helper()
	id := r.newENI(owner(n, node, instance), subnet)
	r.attachENI(id, instance, index)
	return id
}

// report is an agent's report of the ENIs of one NodeENI, all in one phase.
func (r *rig) report(n *v1alpha1.NodeENI, node, instance string, phase v1alpha1.Phase, enis ...string) {
	r.Helper()
	status := v1alpha1.NodeENIStateStatus{InstanceID: instance, Zone: "us-east-1a"}
	for _, id := range enis {
		status.ENIs = append(status.ENIs, v1alpha1.ENIState{
			NodeENI: n.Name, NodeENIUID: n.UID, ENIID: id, SubnetID: subnetA, Phase: phase,
			LastTransitionTime: metav1.NewTime(time.Now().Truncate(time.Second)),
		})
	}
	if get[v1alpha1.NodeENIState](r, r.kube.API, kube.NodeENIStates, node) == nil {
		create[v1alpha1.NodeENIState](r, r.kube.API, kube.NodeENIStates, &v1alpha1.NodeENIState{
			ObjectMeta: metav1.ObjectMeta{Name: node}, Status: status,
		})
		return
	}
	r.patch(r.kube.API, kube.NodeENIStates, node, map[string]any{"status": status})
}

// events are the Events of a reason, as "Type about: message".
func (r *rig) events(reason string) []string {
	r.Helper()
	raw, err := r.kube.Core.Get().Namespace("default").Resource("events").Do(r.Context()).Raw()
	if err != nil {
		r.Fatal(err)
	}
	var list struct{ Items []kube.Event }
	if err := json.Unmarshal(raw, &list); err != nil {
		r.Fatal(err)
	}
	var all []string
	for _, e := range list.Items {
		if e.Reason == reason {
			all = append(all, fmt.Sprintf("%s %s: %s", e.Type, e.InvolvedObject.Name, e.Message))
		}
	}
	slices.Sort(all)
	return all
}

func (r *rig) awaitEvent(reason, text string) {
	r.Helper()
	r.await(fmt.Sprintf("an Event %s with %q", reason, text), func() bool {
		return slices.ContainsFunc(r.events(reason), func(e string) bool { return strings.Contains(e, text) })
	})
}

// processEnv tells the test binary to be a coordinator, which a test can kill.
const processEnv = "ENI_COORDINATOR_TEST_PROCESS"

// process says how that coordinator reaches the rig.
type process struct {
	Kubeconfig string
	EC2        string
	Identity   string
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
	access, err := clientcmd.RESTConfigFromKubeConfig([]byte(p.Kubeconfig))
	if err != nil {
		return err
	}
	cfg, err := fastConfig(ctx, access, p.EC2, p.Identity)
	if err != nil {
		return err
	}
	return Run(ctx, cfg)
}
