package v1alpha1_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// toTyped decodes as a client with our types does.
func toTyped[T any](t *testing.T, obj *unstructured.Unstructured) *T {
	t.Helper()
	typed := new(T)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(obj.Object, typed); err != nil {
		t.Fatal(err)
	}
	return typed
}

// toUnstructured encodes as a client with our types does.
func toUnstructured(t *testing.T, typed any) *unstructured.Unstructured {
	t.Helper()
	content, err := json.Marshal(typed)
	if err != nil {
		t.Fatal(err)
	}
	obj := new(unstructured.Unstructured)
	if err := obj.UnmarshalJSON(content); err != nil {
		t.Fatal(err)
	}
	return obj
}

// createNodeENI creates the base of testdata/specs.yaml with a change, under the
// test's name.
func createNodeENI(t *testing.T, c *cluster, change map[string]any) *v1alpha1.NodeENI {
	t.Helper()
	base, _ := specCases(t)
	obj := &unstructured.Unstructured{Object: manifest(base, change)}
	obj.SetName(strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name())))
	created, err := c.nodeENIs.Create(t.Context(), obj, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return toTyped[v1alpha1.NodeENI](t, created)
}

func update(t *testing.T, c *cluster, nodeENI *v1alpha1.NodeENI, subresources ...string) (*v1alpha1.NodeENI, error) {
	t.Helper()
	updated, err := c.nodeENIs.Update(t.Context(), toUnstructured(t, nodeENI), metav1.UpdateOptions{}, subresources...)
	if err != nil {
		return nil, err
	}
	return toTyped[v1alpha1.NodeENI](t, updated), nil
}

func TestFieldManifestsApply(t *testing.T) {
	c := clusterOf(t)
	if err := c.controlPlane.ApplyFiles(t.Context(), "testdata/field.yaml"); err != nil {
		t.Fatal(err)
	}
	for name, deleteOnTermination := range map[string]bool{
		"subnet-and-group-by-id": true, "subnet-by-name": true, "group-by-name": true, "two-subnets-by-name": true,
		"jumbo-frames": true, "kept-when-the-instance-ends": false,
	} {
		obj, err := c.nodeENIs.Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Error(err)
			continue
		}
		if got := toTyped[v1alpha1.NodeENI](t, obj).Spec.DeleteOnTermination; got == nil || *got != deleteOnTermination {
			t.Errorf("%s: deleteOnTermination is %v, want %v", name, got, deleteOnTermination)
		}
	}
}

func TestServerDefaults(t *testing.T) {
	got := createNodeENI(t, clusterOf(t), nil)
	want := got.DeepCopy()
	want.Spec.DeviceIndex, want.Spec.Addressing = 0, ""
	want.Spec.DeleteOnTermination, want.Spec.SourceDestCheck = nil, nil
	v1alpha1.Default(want)
	if fmt.Sprint(toUnstructured(t, got)) != fmt.Sprint(toUnstructured(t, want)) {
		t.Errorf("the API server's defaults are %+v, Default's %+v", got.Spec, want.Spec)
	}
	if got.Spec.DeviceIndex != 1 || !*got.Spec.DeleteOnTermination || !*got.Spec.SourceDestCheck || got.Spec.Addressing != v1alpha1.AddressingNone {
		t.Errorf("the defaults are %+v", got.Spec)
	}
}

func TestFalseStaysFalse(t *testing.T) {
	c := clusterOf(t)
	nodeENI := createNodeENI(t, c, map[string]any{"deleteOnTermination": false, "sourceDestCheck": false})
	v1alpha1.Default(nodeENI)
	nodeENI.Spec.MTU = 9001
	nodeENI, err := update(t, c, nodeENI)
	if err != nil {
		t.Fatal(err)
	}
	nodeENI.Status.ObservedGeneration = nodeENI.Generation
	if _, err = update(t, c, nodeENI, "status"); err != nil {
		t.Fatal(err)
	}
	obj, err := c.nodeENIs.Get(t.Context(), nodeENI.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	spec := toTyped[v1alpha1.NodeENI](t, obj).Spec
	if spec.DeleteOnTermination == nil || *spec.DeleteOnTermination || spec.SourceDestCheck == nil || *spec.SourceDestCheck {
		t.Errorf("after a round trip the spec is %+v", obj.Object["spec"])
	}
}

func TestOnlyThePlaceIsImmutable(t *testing.T) {
	c := clusterOf(t)
	nodeENI := createNodeENI(t, c, map[string]any{"deviceIndex": 2})

	nodeENI.Spec.DeviceIndex = 3
	if _, err := update(t, c, nodeENI); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "spec.deviceIndex: Invalid value: ") || !strings.Contains(err.Error(), ": cannot be changed, because an attached ENI keeps its device index: delete the NodeENI and create it again") {
		t.Errorf("changing the device index: %v", err)
	}
	// Leaving it out means the default, which is another index.
	nodeENI.Spec.DeviceIndex = 0
	if _, err := update(t, c, nodeENI); !apierrors.IsInvalid(err) {
		t.Errorf("dropping the device index: %v", err)
	}

	nodeENI.Spec = v1alpha1.NodeENISpec{
		NodeSelector:        map[string]string{"another": "label"},
		SubnetNames:         []string{"a", "b"},
		SecurityGroupNames:  []string{"c"},
		DeviceIndex:         2,
		MTU:                 1500,
		DeleteOnTermination: new(false),
		SourceDestCheck:     new(false),
		Description:         "another",
		Addressing:          v1alpha1.AddressingHost,
		InterfaceName:       "net1",
		Tags:                map[string]string{"team": "another"},
		IPv4:                &v1alpha1.IPv4{SecondaryAddresses: 4},
		IPv6:                &v1alpha1.IPv6{Addresses: new(int32(2)), PrimaryIPv6: true},
		ConnectionTracking:  &v1alpha1.ConnectionTracking{TCPEstablishedTimeout: 350, UDPTimeout: 60, UDPStreamTimeout: 60},
		ENAExpress:          &v1alpha1.ENAExpress{Enabled: true, UDP: true},
		ENAQueues:           8,
		InterfaceType:       "interface",
	}
	if _, err := update(t, c, nodeENI); err != nil {
		t.Errorf("changing all the rest: %v", err)
	}
}

// The n-th listed subnet in a zone wants the n-th index, so the order is the user's.
func TestSubnetsKeepTheirOrder(t *testing.T) {
	c := clusterOf(t)
	base, _ := specCases(t)
	for _, subnets := range [][]any{
		{"subnet-0000000a", "subnet-0000000b", "subnet-0000000c"},
		{"subnet-0000000c", "subnet-0000000a", "subnet-0000000b"},
		{"subnet-0000000b", "subnet-0000000d", "subnet-0000000a"},
	} {
		obj := &unstructured.Unstructured{Object: manifest(base, map[string]any{"subnetIDs": subnets})}
		obj.SetName("ordered")
		applied, err := c.nodeENIs.Apply(t.Context(), "ordered", obj, metav1.ApplyOptions{FieldManager: "kubectl"})
		if err != nil {
			t.Fatal(err)
		}
		if got, _, _ := unstructured.NestedSlice(applied.Object, "spec", "subnetIDs"); !slices.Equal(got, subnets) {
			t.Errorf("applied %v, stored %v", subnets, got)
		}
	}
}

func TestNodeENIStatusIsASubresource(t *testing.T) {
	c := clusterOf(t)
	nodeENI := createNodeENI(t, c, nil)
	nodeENI.Status = v1alpha1.NodeENIStatus{
		ObservedGeneration: 1,
		Nodes:              v1alpha1.NodeCounts{Matching: 3, Ready: 1, Failed: 1},
		Conditions: []metav1.Condition{{
			Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: "NodesFailed", Message: "1 of 3",
			LastTransitionTime: metav1.Now(),
		}},
		// Without lastUpdated, which Go then writes as null.
		Attachments: []v1alpha1.Attachment{{NodeID: "node-1", InstanceID: "i-1", Status: "Failed"}},
	}
	ignored, err := update(t, c, nodeENI)
	if err != nil {
		t.Fatal(err)
	}
	if ignored.Status.ObservedGeneration != 0 || ignored.Status.Attachments != nil {
		t.Errorf("an update of the object changes the status: %+v", ignored.Status)
	}
	nodeENI.ResourceVersion = ignored.ResourceVersion
	nodeENI.Spec.MTU = 1500
	stored, err := update(t, c, nodeENI, "status")
	if err != nil {
		t.Fatal(err)
	}
	if stored.Status.Nodes != nodeENI.Status.Nodes || len(stored.Status.Attachments) != 1 || stored.Spec.MTU != 0 || stored.Generation != 1 {
		t.Errorf("after an update of the status: generation %d, %+v, %+v", stored.Generation, stored.Spec, stored.Status)
	}
	stored.Status.Attachments = make([]v1alpha1.Attachment, 101)
	if _, err := update(t, c, stored, "status"); !apierrors.IsInvalid(err) {
		t.Errorf("101 attachments: %v", err)
	}
}

func newState(name string) *v1alpha1.NodeENIState {
	return &v1alpha1.NodeENIState{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "NodeENIState"},
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Status: v1alpha1.NodeENIStateStatus{
			InstanceID: "i-0123456789abcdef0", Zone: "eu-central-1a", Region: "eu-central-1", Account: "111122223333",
			ENIs: []v1alpha1.ENIState{
				{NodeENI: "a", NodeENIUID: types.UID("1"), ENIID: "eni-1", Phase: v1alpha1.PhaseReady, LastTransitionTime: metav1.Now()},
				{NodeENI: "b", NodeENIUID: types.UID("2"), Phase: v1alpha1.PhasePending, LastTransitionTime: metav1.Now()},
			},
		},
	}
}

func TestNodeENIStateIsWrittenWhole(t *testing.T) {
	c := clusterOf(t)
	created, err := c.states.Create(t.Context(), toUnstructured(t, newState("node-1")), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	state := toTyped[v1alpha1.NodeENIState](t, created)
	if state.Status.Zone != "eu-central-1a" || len(state.Status.ENIs) != 2 {
		t.Fatalf("created %+v", state.Status)
	}
	state.Status.ENIs = state.Status.ENIs[:1]
	updated, err := c.states.Update(t.Context(), toUnstructured(t, state), metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if state = toTyped[v1alpha1.NodeENIState](t, updated); len(state.Status.ENIs) != 1 {
		t.Errorf("updated to %+v", state.Status)
	}
	if _, err := c.states.UpdateStatus(t.Context(), updated, metav1.UpdateOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("status subresource: %v, want none", err)
	}
	for name, spoil := range map[string]func(*v1alpha1.NodeENIState){
		"phase":       func(s *v1alpha1.NodeENIState) { s.Status.ENIs[0].Phase = "Happy" },
		"instanceID":  func(s *v1alpha1.NodeENIState) { s.Status.InstanceID = "" },
		"zone":        func(s *v1alpha1.NodeENIState) { s.Status.Zone = "" },
		"region":      func(s *v1alpha1.NodeENIState) { s.Status.Region = strings.Repeat("r", 65) },
		"account":     func(s *v1alpha1.NodeENIState) { s.Status.Account = strings.Repeat("1", 65) },
		"phase unset": func(s *v1alpha1.NodeENIState) { s.Status.ENIs[0].Phase = "" },
	} {
		bad := newState("node-2")
		spoil(bad)
		if _, err := c.states.Create(t.Context(), toUnstructured(t, bad), metav1.CreateOptions{}); !apierrors.IsInvalid(err) {
			t.Errorf("bad %s: %v, want invalid", name, err)
		}
	}
}

// table is what `kubectl get` shows, one text per row.
func table(t *testing.T, c *cluster, resource, name string) string {
	t.Helper()
	config := rest.CopyConfig(c.config)
	config.GroupVersion, config.APIPath = &v1alpha1.GroupVersion, "/apis"
	config.NegotiatedSerializer = serializer.NewCodecFactory(runtime.NewScheme())
	client, err := rest.RESTClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	content, err := client.Get().Resource(resource).Name(name).
		SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var table metav1.Table
	if err := json.Unmarshal(content, &table); err != nil {
		t.Fatal(err)
	}
	if len(table.Rows) != 1 {
		t.Fatalf("the table has %d rows", len(table.Rows))
	}
	var cells []string
	for i, cell := range table.Rows[0].Cells {
		column := table.ColumnDefinitions[i]
		if column.Name == "Age" {
			cell = "…"
		}
		line := fmt.Sprintf("%s=%v", column.Name, cell)
		if column.Priority > 0 {
			line = "(" + line + ")"
		}
		cells = append(cells, line)
	}
	return strings.Join(cells, " ")
}

func TestColumns(t *testing.T) {
	c := clusterOf(t)
	nodeENI := createNodeENI(t, c, map[string]any{"subnetID": nil, "subnetNames": []any{"a", "b"}})
	if got, want := table(t, c, "nodeenis", nodeENI.Name),
		`Name=testcolumns Matching=<nil> Ready=<nil> Failed=<nil> Subnets=["a","b"] (Card=0) (Device=1) (Addressing=None) (Message=<nil>) Age=…`; got != want {
		t.Errorf("a new NodeENI\nshows %s\nwant  %s", got, want)
	}
	nodeENI.Spec.SubnetNames, nodeENI.Spec.SubnetID = nil, "subnet-0f59b4f14737be9ad"
	nodeENI, err := update(t, c, nodeENI)
	if err != nil {
		t.Fatal(err)
	}
	nodeENI.Status = v1alpha1.NodeENIStatus{
		Nodes: v1alpha1.NodeCounts{Matching: 3, Ready: 2, Failed: 1},
		Conditions: []metav1.Condition{{
			Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse, Reason: "NodesFailed",
			Message: "node-3: no subnet in zone c", LastTransitionTime: metav1.Now(),
		}},
	}
	if _, err := update(t, c, nodeENI, "status"); err != nil {
		t.Fatal(err)
	}
	client, err := kube.NewClient(c.config, "test")
	if err != nil {
		t.Fatal(err)
	}
	// Agents read these columns from the API server's cache, which follows etcd.
	var counts v1alpha1.NodeCounts
	for deadline := time.Now().Add(10 * time.Second); counts.Matching == 0 && err == nil && time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		counts, err = client.NodeCounts(t.Context(), nodeENI.Name)
	}
	if err != nil || counts != (v1alpha1.NodeCounts{Matching: 3, Ready: 2, Failed: 1}) {
		t.Errorf("an agent reads %+v, %v", counts, err)
	}
	if got, want := table(t, c, "nodeenis", nodeENI.Name),
		`Name=testcolumns Matching=3 Ready=2 Failed=1 Subnets=subnet-0f59b4f14737be9ad (Card=0) (Device=1) (Addressing=None) (Message=node-3: no subnet in zone c) Age=…`; got != want {
		t.Errorf("a NodeENI with status\nshows %s\nwant  %s", got, want)
	}

	state := newState("columns")
	state.Status.ENIs[0].Addresses = []string{"10.0.0.7", "2600:1f18::1"}
	state.Status.ENIs[0].Prefixes, state.Status.ENIs[0].NetworkCard = []string{"10.0.0.16/28"}, 1
	if _, err := c.states.Create(t.Context(), toUnstructured(t, state), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if got, want := table(t, c, "nodeenistates", "columns"),
		`Name=columns Instance=i-0123456789abcdef0 Zone=eu-central-1a (Region=eu-central-1) (Account=111122223333) ENI-1=eni-1 Phase-1=Ready (Card-1=1) (Addresses-1=["10.0.0.7","2600:1f18::1"]) (Prefixes-1=["10.0.0.16/28"]) ENI-2=<nil> Phase-2=Pending (Card-2=<nil>) (Addresses-2=<nil>) (Prefixes-2=<nil>) (ENI-3=<nil>) (Phase-3=<nil>) Age=…`; got != want {
		t.Errorf("a NodeENIState\nshows %s\nwant  %s", got, want)
	}
}
