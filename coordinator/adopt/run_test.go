package adopt

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/controlplane"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/simtest"
)

var sharedControlPlane = controlplane.Shared{Install: func(ctx context.Context, cp *controlplane.ControlPlane) error {
	return cp.ApplyFiles(ctx, "../../manifests/namespace.yaml", "../../manifests/crds/*.yaml")
}}

func TestMain(m *testing.M) {
	klog.SetSlogLogger(slog.New(slog.DiscardHandler))
	sharedControlPlane.Main(m)
}

// rig is an API server and an account with three ENIs of the former controller, on node-1.
type rig struct {
	*testing.T
	kube  *kube.Client
	cloud *cloud.Cloud
	cfg   aws.Config
	enis  []string

	subnet string // of the instances
	named  bool   // the cluster name is not the default
}

const group = "sg-00000000000000001"

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{T: t}
	var err error
	if r.kube, err = kube.NewClient(sharedControlPlane.Get(t).AdminConfig(), "test"); err != nil {
		t.Fatal(err)
	}
	config := cloud.Config{
		VPCs:           []cloud.VPC{{ID: vpcA, CIDR: netip.MustParsePrefix("10.0.0.0/16")}},
		SecurityGroups: []cloud.SecurityGroup{{ID: group, Name: "g", VPCID: vpcA}},
	}
	var subnets []string
	for n := range 3 {
		id := fmt.Sprintf("subnet-%017x", n+1)
		subnets = append(subnets, id)
		config.Subnets = append(config.Subnets, cloud.Subnet{ID: id, VPCID: vpcA, Zone: "us-east-1a", CIDR: netip.MustParsePrefix(fmt.Sprintf("10.0.%d.0/24", n))})
	}
	r.cloud, r.cfg = simtest.Account(t, config)
	r.subnet = subnets[0]
	instance := r.node("node-1")
	r.must(r.kube.API.Post().Resource(kube.NodeENIs).Body(&v1alpha1.NodeENI{
		ObjectMeta: metav1.ObjectMeta{Name: "data", Finalizers: []string{"example.com/kept", FormerFinalizer}},
		Spec:       v1alpha1.NodeENISpec{NodeSelector: map[string]string{"ng": "multi-eni"}, SubnetIDs: subnets, SecurityGroupNames: []string{"g"}},
	}).Do(t.Context()).Error())
	t.Cleanup(r.removeObjects)
	for n, subnet := range subnets {
		e, err := r.cloud.CreateNetworkInterface(cloud.CreateNetworkInterfaceInput{SubnetID: subnet, GroupIDs: []string{group}, Tags: map[string]string{
			FormerTag: FormerTagValue, FormerNodeENI: "data", FormerNode: "node-1", "Name": "nodeeni-data-node-1", eni.TagNoManage: "true",
		}})
		r.must(err)
		_, err = r.cloud.AttachNetworkInterface(cloud.AttachNetworkInterfaceInput{NetworkInterfaceID: e.ID, InstanceID: instance, DeviceIndex: int32(n + 1)})
		r.must(err)
		r.enis = append(r.enis, e.ID)
	}
	return r
}

// node starts an instance and registers it as a Node.
func (r *rig) node(name string) (instance string) {
	r.Helper()
	i, err := r.cloud.RunInstance(cloud.RunInstance{Type: "m5.4xlarge", SubnetID: r.subnet})
	r.must(err)
	r.must(r.kube.Core.Post().Resource(kube.Nodes).Body(&kube.Node{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Node"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"ng": "multi-eni"}},
		Spec:       kube.NodeSpec{ProviderID: "aws:///us-east-1a/" + i.ID},
	}).Do(r.Context()).Error())
	return i.ID
}

func (r *rig) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

func (r *rig) removeObjects() {
	ctx := context.Background()
	r.must(r.kube.API.Patch(types.MergePatchType).Resource(kube.NodeENIs).Name("data").Body([]byte(`{"metadata":{"finalizers":null}}`)).Do(ctx).Error())
	if err := r.kube.API.Delete().Resource(kube.NodeENIs).Name("data").Do(ctx).Error(); !apierrors.IsNotFound(err) {
		r.must(err) // one that was being deleted goes with its finalizers
	}
	r.must(r.kube.Core.Delete().Resource(kube.Nodes).Do(ctx).Error())
}

// do runs it, and returns what it printed.
func (r *rig) do(ctx context.Context, undo, dryRun bool) (string, error) {
	var out bytes.Buffer
	run := Run{Kube: r.kube, EC2: eni.NewClient(r.cfg), Region: r.cfg.Region, Cluster: testCluster, Named: r.named, Undo: undo, DryRun: dryRun, Out: &out}
	err := run.Do(ctx)
	return out.String(), err
}

func (r *rig) wantTagged(want ...bool) {
	r.Helper()
	for i, id := range r.enis {
		e, _ := r.cloud.Interface(id)
		if got := e.Tags[eni.TagCluster] == testCluster; got != want[i] {
			r.Errorf("%s has the tags %v", id, e.Tags)
		}
	}
}

func (r *rig) nodeENI() (n v1alpha1.NodeENI) {
	r.Helper()
	r.must(r.kube.API.Get().Resource(kube.NodeENIs).Name("data").Do(r.Context()).Into(&n))
	return n
}

// An error about one ENI does not stop the others, EC2's throttling none, and a second run
// does what is left.
func TestRunAgain(t *testing.T) {
	r := newRig(t)
	r.must(r.cloud.Inject(cloud.Fault{Action: "CreateTags", ResourceID: r.enis[0], Code: "RequestLimitExceeded", Count: 2}))
	r.must(r.cloud.Inject(cloud.Fault{Action: "CreateTags", ResourceID: r.enis[1], Code: "UnauthorizedOperation"}))
	out, err := r.do(t.Context(), false, false)
	if coded := (Unfinished("")); !errors.As(err, &coded) || coded.ExitCode() != 2 || !strings.Contains(out, r.enis[1]+": ") || !strings.Contains(out, "2 ENIs adopted.") {
		t.Errorf("%v\n%s", err, out)
	}
	r.wantTagged(true, false, true)
	r.cloud.ClearFaults()
	if out, err := r.do(t.Context(), false, false); err != nil || !strings.Contains(out, "1 ENI adopted.") || !strings.Contains(out, "1 adopt, 2 already owned") {
		t.Errorf("%v\n%s", err, out)
	}
	r.wantTagged(true, true, true)
	calls := len(r.cloud.Calls())
	if out, err := r.do(t.Context(), false, false); err != nil || !strings.Contains(out, "There is nothing left to do.") {
		t.Errorf("%v\n%s", err, out)
	}
	want := map[string]int{"DescribeNetworkInterfaces": 2, "DescribeInstances": 1, "DescribeSubnets": 1, "DescribeSecurityGroups": 1}
	if got := cloud.CountCalls(r.cloud.Calls()[calls:]); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("with nothing to do it calls %v, want %v", got, want)
	}
	if got := r.nodeENI().Finalizers; !slices.Equal(got, []string{"example.com/kept", v1alpha1.CleanupFinalizer}) {
		t.Errorf("the finalizers are %v", got)
	}
}

// What IAM does not allow for a few ENIs in a row, it is not asked for all the others.
func TestRunDenied(t *testing.T) {
	r := newRig(t)
	second := r.node("node-2")
	for n := range 3 {
		e, err := r.cloud.CreateNetworkInterface(cloud.CreateNetworkInterfaceInput{SubnetID: r.nodeENI().Spec.SubnetIDs[n], GroupIDs: []string{group}, Tags: map[string]string{
			FormerTag: FormerTagValue, FormerNodeENI: "data", FormerNode: "node-2",
		}})
		r.must(err)
		_, err = r.cloud.AttachNetworkInterface(cloud.AttachNetworkInterfaceInput{NetworkInterfaceID: e.ID, InstanceID: second, DeviceIndex: int32(n + 1)})
		r.must(err)
	}
	r.must(r.cloud.Inject(cloud.Fault{Action: "CreateTags", Code: "UnauthorizedOperation", Skip: 1}))
	out, err := r.do(t.Context(), false, false)
	if err == nil || !strings.Contains(err.Error(), "5 changes failed") || !strings.Contains(out, "The other 2 ENIs were not tried") || !strings.Contains(out, "1 ENI adopted.") {
		t.Errorf("%v\n%s", err, out)
	}
	if got := cloud.CountCalls(r.cloud.Calls())["CreateTags"]; got != 4 {
		t.Errorf("it calls CreateTags %d times", got)
	}
}

// An ENI that was adopted for a NodeENI that has been created again since is adopted for the
// new one, and keeps its former name.
func TestRunAfterNodeENICreatedAgain(t *testing.T) {
	r := newRig(t)
	if out, err := r.do(t.Context(), false, false); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	n := r.nodeENI()
	r.must(r.kube.API.Patch(types.MergePatchType).Resource(kube.NodeENIs).Name("data").Body([]byte(`{"metadata":{"finalizers":null}}`)).Do(t.Context()).Error())
	r.must(r.kube.API.Delete().Resource(kube.NodeENIs).Name("data").Do(t.Context()).Error())
	if out, err := r.do(t.Context(), false, false); err != nil || strings.Count(out, "if you want to keep it, see Finalizers") != 3 {
		t.Errorf("without the NodeENI: %v\n%s", err, out)
	}
	r.must(r.kube.API.Post().Resource(kube.NodeENIs).Body(&v1alpha1.NodeENI{ObjectMeta: metav1.ObjectMeta{Name: "data"}, Spec: n.Spec}).Do(t.Context()).Error())
	r.named = true
	if out, err := r.do(t.Context(), false, false); err != nil || !strings.Contains(out, "3 ENIs adopted. Agents that start from now on use the ENIs as their own if they have the same cluster name: --cluster-name="+testCluster) {
		t.Errorf("%v\n%s", err, out)
	}
	for _, id := range r.enis {
		if e, _ := r.cloud.Interface(id); e.Tags[eni.TagNodeENIUID] != string(r.nodeENI().UID) || e.Tags[eni.TagAdoptedFrom] != "nodeeni-data-node-1" {
			t.Errorf("%s has the tags %v", id, e.Tags)
		}
	}
}

// A report that an agent left behind would have the coordinator remove the ENI.
func TestRunWithReportOfRelease(t *testing.T) {
	r := newRig(t)
	state := &v1alpha1.NodeENIState{ObjectMeta: metav1.ObjectMeta{Name: "node-1"}, Status: v1alpha1.NodeENIStateStatus{
		InstanceID: "i-00000000000000001", Zone: "us-east-1a",
		ENIs: []v1alpha1.ENIState{{NodeENI: "data", NodeENIUID: r.nodeENI().UID, ENIID: r.enis[1], SubnetID: "subnet-00000000000000002", Phase: v1alpha1.PhaseReleased, LastTransitionTime: metav1.Now()}},
	}}
	r.must(r.kube.API.Post().Resource(kube.NodeENIStates).Body(state).Do(t.Context()).Error())
	t.Cleanup(func() {
		r.must(r.kube.API.Delete().Resource(kube.NodeENIStates).Name("node-1").Do(context.Background()).Error())
	})
	out, err := r.do(t.Context(), false, false)
	if err == nil || !strings.Contains(out, r.enis[1]+" (refuse): NodeENIState node-1") {
		t.Errorf("%v\n%s", err, out)
	}
	r.wantTagged(true, false, true)
}

// Agents that are installed with another cluster name would not recognize the ENIs.
func TestRunWithOtherClusterName(t *testing.T) {
	r := newRig(t)
	for args, want := range map[string]string{
		"": "kube-system", `"--cluster-name=other"`: "other", `"--cluster-name=` + testCluster + `"`: "",
	} {
		const path = "/apis/apps/v1/namespaces/default/daemonsets"
		r.must(r.kube.Core.Post().AbsPath(path).SetHeader("Content-Type", "application/json").Body([]byte(`{"metadata":{"name":"eni-agent","labels":{"app.kubernetes.io/name":"aws-multi-eni","app.kubernetes.io/component":"agent"}},
			"spec":{"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"sidecar","image":"x"},{"name":"eni-agent","image":"x","args":[` + args + `]}]}}}}`)).Do(t.Context()).Error())
		if want == "kube-system" {
			id, err := r.kube.ClusterID(t.Context())
			r.must(err)
			want = id
		}
		out, err := r.do(t.Context(), false, true)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), "run the command again with --cluster-name "+want) {
			t.Errorf("%s: %v, want %q\n%s", args, err, want, out)
		}
		r.must(r.kube.Core.Delete().AbsPath(path + "/eni-agent").Do(t.Context()).Error())
	}
}

// A NodeENI that someone deletes meanwhile is reported: its finalizer stays.
func TestRunWhileNodeENIIsDeleted(t *testing.T) {
	r := newRig(t)
	n := r.nodeENI()
	r.must(r.kube.API.Delete().Resource(kube.NodeENIs).Name("data").Do(t.Context()).Error())
	c := change{nodeENI: &n, from: FormerFinalizer, to: v1alpha1.CleanupFinalizer}
	if err := c.apply(t.Context(), r.kube); err == nil || !strings.Contains(err.Error(), "began to delete it while the command ran") {
		t.Errorf("it returns %v", err)
	}
	other := *n.DeepCopy()
	other.UID = "other"
	c.nodeENI = &other
	if err := c.apply(t.Context(), r.kube); err == nil || !strings.Contains(err.Error(), "it was deleted while the command ran") {
		t.Errorf("it returns %v", err)
	}
}

// Interrupted, it says so, and the next run goes on. An interruption between the two calls of
// a give-back leaves an ENI that is given back by the next.
func TestRunInterrupted(t *testing.T) {
	r := newRig(t)
	ctx, cancel := context.WithCancel(t.Context())
	r.must(r.cloud.Inject(cloud.Fault{Action: "CreateTags", ResourceID: r.enis[1], Hang: true}))
	time.AfterFunc(time.Second, cancel)
	if _, err := r.do(ctx, false, false); err == nil || !strings.Contains(err.Error(), "interrupted after 1 ENI") || errors.Is(err, context.Canceled) {
		t.Errorf("interrupted, it returns %v", err)
	}
	r.wantTagged(true, false, false)
	r.cloud.ClearFaults()
	if out, err := r.do(t.Context(), false, false); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	r.must(r.cloud.Inject(cloud.Fault{Action: "DeleteTags", ResourceID: r.enis[0], Code: "InternalError"}))
	if out, err := r.do(t.Context(), true, false); err == nil || !strings.Contains(out, "2 ENIs given back.") {
		t.Errorf("%v\n%s", err, out)
	}
	r.wantTagged(true, false, false)
	r.cloud.ClearFaults()
	if out, err := r.do(t.Context(), true, false); err != nil || !strings.Contains(out, "1 give back, 2 keep") {
		t.Errorf("%v\n%s", err, out)
	}
	for _, id := range r.enis {
		if e, _ := r.cloud.Interface(id); e.Tags["Name"] != "nodeeni-data-node-1" || len(e.Tags) != 5 {
			t.Errorf("%s has the tags %v", id, e.Tags)
		}
	}
	n := r.nodeENI()
	if !slices.Equal(n.Finalizers, []string{"example.com/kept", FormerFinalizer}) || len(n.Status.Attachments) != 3 {
		t.Errorf("the NodeENI is %+v", n)
	}
}

// In a wrong account nothing is concluded, and nothing is done.
func TestRunInWrongAccount(t *testing.T) {
	r := newRig(t)
	other, cfg := simtest.Account(t, cloud.Config{AccountID: "210987654321"})
	r.cfg = cfg
	if _, err := r.do(t.Context(), false, false); err == nil || errors.As(err, new(Unfinished)) || !strings.Contains(err.Error(), "none of the Nodes' instances") {
		t.Errorf("it returns %v", err)
	}
	for _, call := range other.Calls() {
		if !strings.HasPrefix(call.Action, "Describe") {
			t.Errorf("it calls %s", call.Action)
		}
	}
}

// Without rights it says which are needed.
func TestRunWithoutRights(t *testing.T) {
	r := newRig(t)
	admin := r.kube
	cfg, err := sharedControlPlane.Get(t).UserConfig("unbound")
	r.must(err)
	r.kube, err = kube.NewClient(cfg, "test")
	r.must(err)
	if _, err := r.do(t.Context(), false, true); err == nil || !strings.Contains(err.Error(), "the ClusterRole in docs/migration.md") {
		t.Errorf("it returns %v", err)
	}
	r.kube = admin
}

// More ENIs than our CRD takes in a status need the former one; the error says so.
func TestTooManyAttachments(t *testing.T) {
	r := newRig(t)
	n := r.nodeENI()
	c := change{nodeENI: &n, restore: true, attachments: make([]v1alpha1.Attachment, mostAttachments+1)}
	if err := c.apply(t.Context(), r.kube); err == nil || !strings.Contains(err.Error(), "apply the former controller's CRD") {
		t.Errorf("it returns %v", err)
	}
}

// What the former controller wrote is read, whatever else it wrote.
func TestFormerStatus(t *testing.T) {
	var n v1alpha1.NodeENI
	err := json.Unmarshal([]byte(`{"spec": {"nodeSelector": {"a": "b"}, "subnetID": "subnet-1", "enableDPDK": true, "deviceIndex": 2}, "status": {"attachments": [{
		"nodeID": "node-1", "instanceID": "i-1", "eniID": "eni-1", "attachmentID": "eni-attach-1", "subnetID": "subnet-1", "subnetCIDR": "10.0.0.0/24",
		"mtu": 9001, "deviceIndex": 2, "dpdkBound": false, "status": "attached", "lastUpdated": "2025-06-01T10:00:00Z"}]}}`), &n)
	if err != nil || len(n.Status.Attachments) != 1 || n.Status.Attachments[0].ENIID != "eni-1" {
		t.Errorf("%+v, %v", n, err)
	}
}
