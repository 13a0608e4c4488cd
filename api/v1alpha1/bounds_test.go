package v1alpha1_test

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/yaml"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// schema is the part of an OpenAPI schema that bounds values.
type schema struct {
	Type                 string
	Format               string
	Enum                 []any
	MaxLength            *int
	MaxItems             *int
	MaxProperties        *int
	Properties           map[string]schema
	Items                *schema
	AdditionalProperties *schema
	Rules                []struct{ Rule string } `json:"x-kubernetes-validations"`
}

// schemaOf reads a part of a CRD's schema.
func schemaOf(t *testing.T, resource, part string) schema {
	t.Helper()
	content, err := os.ReadFile("../../manifests/crds/networking.k8s.aws_" + resource + ".yaml")
	if err != nil {
		t.Fatal(err)
	}
	var crd struct {
		Spec struct {
			Versions []struct {
				Schema struct{ OpenAPIV3Schema schema }
			}
		}
	}
	if err := yaml.Unmarshal(content, &crd); err != nil {
		t.Fatal(err)
	}
	return crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties[part]
}

// unbounded lists the fields that may be of any size.
func (s schema) unbounded(path string) []string {
	var all []string
	switch {
	case s.Type == "string" && s.MaxLength == nil && len(s.Enum) == 0 && s.Format != "date-time":
		all = append(all, path)
	case s.Type == "array" && s.MaxItems == nil:
		all = append(all, path)
	case s.AdditionalProperties != nil && (s.MaxProperties == nil || len(s.Rules) == 0): // a rule bounds its keys and values
		all = append(all, path)
	}
	if s.Items != nil {
		all = append(all, s.Items.unbounded(path+"[]")...)
	}
	for name, property := range s.Properties {
		all = append(all, property.unbounded(path+"."+name)...)
	}
	return all
}

func TestTheSchemaBoundsEverything(t *testing.T) {
	for _, part := range []struct{ resource, name string }{{"nodeenis", "spec"}, {"nodeenis", "status"}, {"nodeenistates", "status"}} {
		s := schemaOf(t, part.resource, part.name)
		if len(s.Properties) == 0 {
			t.Errorf("%s of %s is not in the schema", part.name, part.resource)
		}
		if all := s.unbounded(part.name); len(all) > 0 {
			t.Errorf("of %s these may be of any size: %s", part.resource, strings.Join(all, ", "))
		}
	}
}

func TestConstantsAreThoseOfTheSchema(t *testing.T) {
	enis := schemaOf(t, "nodeenistates", "status").Properties["enis"]
	attachments := schemaOf(t, "nodeenis", "status").Properties["attachments"]
	entry, attachment := enis.Items.Properties, attachments.Items.Properties
	for name, limit := range map[string]struct {
		schema *int
		want   int
	}{
		"enis":                    {enis.MaxItems, v1alpha1.MaxENIs},
		"addresses":               {entry["addresses"].MaxItems, v1alpha1.MaxAddresses},
		"prefixes":                {entry["prefixes"].MaxItems, v1alpha1.MaxPrefixes},
		"a prefix":                {entry["prefixes"].Items.MaxLength, v1alpha1.MaxAddressLength},
		"a subnet's IPv6 ranges":  {entry["subnetIPv6CIDRs"].MaxItems, v1alpha1.MaxSubnetCIDRs},
		"an address":              {entry["addresses"].Items.MaxLength, v1alpha1.MaxAddressLength},
		"interfaceName":           {entry["interfaceName"].MaxLength, v1alpha1.MaxInterfaceNameLength},
		"reason":                  {entry["reason"].MaxLength, v1alpha1.MaxWordLength},
		"message":                 {entry["message"].MaxLength, v1alpha1.MaxMessageLength},
		"attachments":             {attachments.MaxItems, v1alpha1.MaxAttachments},
		"an attachment's node":    {attachment["nodeID"].MaxLength, v1alpha1.MaxNameLength},
		"an attachment's CIDR":    {attachment["subnetCIDR"].MaxLength, v1alpha1.MaxAddressLength},
		"an attachment's ENI":     {attachment["eniID"].MaxLength, v1alpha1.MaxIDLength},
		"an attachment's id":      {attachment["attachmentID"].MaxLength, v1alpha1.MaxIDLength},
		"an attachment's message": {attachment["message"].MaxLength, v1alpha1.MaxMessageLength},
	} {
		if limit.schema == nil || *limit.schema != limit.want {
			t.Errorf("the schema's limit of %s is %v, not %d", name, limit.schema, limit.want)
		}
	}
}

// hostile is a report in which everything is odd.
func hostile(name string, entries int) *v1alpha1.NodeENIState {
	state := newState(name)
	long := strings.Repeat("<", 2000)
	odd := v1alpha1.ENIState{
		NodeENI: long, NodeENIUID: types.UID(long), SubnetID: long, SubnetCIDR: long, ENIID: "eni-\x1b[31m", AttachmentID: long, MAC: long,
		InterfaceName: strings.Repeat("é", 20), Phase: v1alpha1.PhaseFailed, Reason: "An odd\nreason" + long,
		Message: "first\nsecond\r\x1b]0;title\x07\u009b31m\u2028\u202e\xff" + long, LastTransitionTime: metav1.Now(), Replaces: long,
	}
	odd.Addresses = slices.Repeat([]string{"10.0.0.1", long}, 100)
	odd.Prefixes, odd.SubnetIPv6CIDRs = odd.Addresses, odd.Addresses
	state.Status.Region, state.Status.Account = "a Region\x1b", long
	state.Status.ENIs = nil
	for range entries {
		state.Status.ENIs = append(state.Status.ENIs, *odd.DeepCopy())
	}
	return state
}

func TestAClippedReportIsTaken(t *testing.T) {
	c := clusterOf(t)
	state := hostile("clipped", 300)
	kept := v1alpha1.ENIState{
		NodeENI: "kept", NodeENIUID: "0a1b", SubnetID: "subnet-0123abcd", SubnetCIDR: "10.0.0.0/24", ENIID: "eni-0123abcd",
		AttachmentID: "eni-attach-0123abcd", MAC: "0a:00:00:00:00:01", SubnetIPv6CIDRs: []string{"2600:1f18::/64"},
		NetworkCard: 1, Addresses: []string{"10.0.0.7", "2600:1f18::1"}, Prefixes: []string{"10.0.0.16/28", "2600:1f18:0:0:1::/80"}, PrimaryIPv6: true,
		ConnectionTracking: &v1alpha1.ConnectionTracking{TCPEstablishedTimeout: 350, UDPStreamTimeout: 180}, ENAExpress: &v1alpha1.ENAExpress{Enabled: true, UDP: true}, ENAQueues: 8,
		InterfaceName: "ens6", Phase: v1alpha1.PhaseReady, Reason: "Client.Invalid_Value-1", Message: "as it is: “…”, 日本", LastTransitionTime: metav1.Now().Rfc3339Copy(),
	}
	state.Status.ENIs = append(state.Status.ENIs, kept)
	state.Status.Clip()
	created, err := c.states.Create(t.Context(), toUnstructured(t, state), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	stored := toTyped[v1alpha1.NodeENIState](t, created).Status.ENIs
	if len(stored) != v1alpha1.MaxENIs {
		t.Errorf("%d entries are left", len(stored))
	}
	want, _ := json.Marshal(kept)
	if got, _ := json.Marshal(stored[0]); string(got) != string(want) {
		t.Errorf("of an entry that fits is left\n%.500s of\n%s", got, want)
	}
	if message := stored[1].Message; !strings.HasPrefix(message, "first second  ]0;title  31m   <<") || len(message) != v1alpha1.MaxMessageLength {
		t.Errorf("the message is now %.50q", message)
	}
}

// The largest report that the schema takes is one that etcd takes, and what is
// larger in one respect is refused.
func TestReportsAreBounded(t *testing.T) {
	c := clusterOf(t)
	largest := func() *v1alpha1.NodeENIState {
		state := hostile("largest", v1alpha1.MaxENIs)
		for i := range state.Status.ENIs {
			e := &state.Status.ENIs[i]
			e.NodeENI, e.NodeENIUID = strings.Repeat("n", v1alpha1.MaxNameLength), types.UID(strings.Repeat("u", v1alpha1.MaxIDLength))
			e.Message, e.Reason = strings.Repeat("<", v1alpha1.MaxMessageLength), strings.Repeat("r", v1alpha1.MaxWordLength)
			for id, prefix := range map[*string]string{&e.SubnetID: "subnet-", &e.ENIID: "eni-", &e.AttachmentID: "eni-attach-", &e.Replaces: "eni-"} {
				*id = prefix + strings.Repeat("0", v1alpha1.MaxIDLength-len(prefix))
			}
			widest := []string{"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128"}
			e.Addresses, e.Prefixes = slices.Repeat(widest, v1alpha1.MaxAddresses), slices.Repeat(widest, v1alpha1.MaxPrefixes)
			e.SubnetCIDR, e.SubnetIPv6CIDRs = widest[0], slices.Repeat(widest, v1alpha1.MaxSubnetCIDRs)
			e.NetworkCard, e.DeviceIndex, e.MTU, e.ENAQueues, e.ObservedGeneration = 1e9, 1e9, 1e9, 1e9, 1e18
			e.ConnectionTracking = &v1alpha1.ConnectionTracking{TCPEstablishedTimeout: 1e9, UDPTimeout: 1e9, UDPStreamTimeout: 1e9}
			e.ENAExpress, e.PrimaryIPv6 = &v1alpha1.ENAExpress{Enabled: true, UDP: true}, true
			e.MAC, e.CreatedAt = "ff:ff:ff:ff:ff:ff", &e.LastTransitionTime
		}
		state.Status.Clip()
		return state
	}
	if _, err := c.states.Create(t.Context(), toUnstructured(t, largest()), metav1.CreateOptions{}); err != nil {
		t.Errorf("the largest report: %v", err)
	}
	long := strings.Repeat("x", 300_000)
	for what, spoil := range map[string]func(*v1alpha1.NodeENIStateStatus){
		"an ENI more":        func(s *v1alpha1.NodeENIStateStatus) { s.ENIs = append(s.ENIs, s.ENIs[0]) },
		"an address more":    func(s *v1alpha1.NodeENIStateStatus) { s.ENIs[0].Addresses = append(s.ENIs[0].Addresses, "10.0.0.1") },
		"a prefix more":      func(s *v1alpha1.NodeENIStateStatus) { s.ENIs[0].Prefixes = append(s.ENIs[0].Prefixes, "10.0.0.0/28") },
		"a long prefix":      func(s *v1alpha1.NodeENIStateStatus) { s.ENIs[0].Prefixes[0] = long },
		"a long IPv6 range":  func(s *v1alpha1.NodeENIStateStatus) { s.ENIs[0].SubnetIPv6CIDRs[0] = long },
		"a long address":     func(s *v1alpha1.NodeENIStateStatus) { s.ENIs[0].Addresses[0] = long },
		"a long ENI":         func(s *v1alpha1.NodeENIStateStatus) { s.ENIs[0].ENIID = "eni-" + long },
		"a long attachment":  func(s *v1alpha1.NodeENIStateStatus) { s.ENIs[0].AttachmentID = long },
		"a long subnet":      func(s *v1alpha1.NodeENIStateStatus) { s.ENIs[0].SubnetID = long },
		"a long CIDR":        func(s *v1alpha1.NodeENIStateStatus) { s.ENIs[0].SubnetCIDR = long },
		"a long name":        func(s *v1alpha1.NodeENIStateStatus) { s.ENIs[0].NodeENI = long },
		"a long UID":         func(s *v1alpha1.NodeENIStateStatus) { s.ENIs[0].NodeENIUID = types.UID(long) },
		"a long MAC":         func(s *v1alpha1.NodeENIStateStatus) { s.ENIs[0].MAC = long },
		"a long link":        func(s *v1alpha1.NodeENIStateStatus) { s.ENIs[0].InterfaceName = long },
		"a long reason":      func(s *v1alpha1.NodeENIStateStatus) { s.ENIs[0].Reason = long },
		"a long message":     func(s *v1alpha1.NodeENIStateStatus) { s.ENIs[0].Message = long },
		"a long predecessor": func(s *v1alpha1.NodeENIStateStatus) { s.ENIs[0].Replaces = long },
		"a long instance":    func(s *v1alpha1.NodeENIStateStatus) { s.InstanceID = "i-" + long },
		"a long Region":      func(s *v1alpha1.NodeENIStateStatus) { s.Region = long },
		"a long account":     func(s *v1alpha1.NodeENIStateStatus) { s.Account = long },
		"a Region to print":  func(s *v1alpha1.NodeENIStateStatus) { s.Region = "us-east-1\x1b[2J" },
		"a long zone":        func(s *v1alpha1.NodeENIStateStatus) { s.Zone = long },
		"a forged line":      func(s *v1alpha1.NodeENIStateStatus) { s.ENIs[0].Message = "a\nb" },
		"an escape sequence": func(s *v1alpha1.NodeENIStateStatus) { s.ENIs[0].Message = "\x1b[31mred" },
		"an 8-bit sequence":  func(s *v1alpha1.NodeENIStateStatus) { s.ENIs[0].Message = "\u009b31mred" },
		"a turned direction": func(s *v1alpha1.NodeENIStateStatus) { s.ENIs[0].InterfaceName = "\u202e0hte" },
	} {
		state := largest()
		state.Name = "larger"
		spoil(&state.Status)
		if _, err := c.states.Create(t.Context(), toUnstructured(t, state), metav1.CreateOptions{}); !apierrors.IsInvalid(err) {
			t.Errorf("%s: %v, want it to be refused as invalid", what, shortened(err))
		}
	}
}

func shortened(err error) string {
	if err == nil {
		return "it is taken"
	}
	return fmt.Sprintf("%.300s", err)
}

// A NodeENI whose status another controller has written, before there were limits,
// stays editable.
func TestAnOversizedStatusKeepsNothingFromBeingEdited(t *testing.T) {
	c := clusterOf(t)
	if err := c.controlPlane.Apply(t.Context(), crdWithoutBounds(t)); err != nil {
		t.Fatal(err)
	}
	nodeENI := createNodeENI(t, c, nil)
	nodeENI.Status.Attachments = []v1alpha1.Attachment{{NodeID: "a", InstanceID: "b", Status: "attached", ENIID: strings.Repeat("x", 2000)}}
	nodeENI, err := update(t, c, nodeENI, "status")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.controlPlane.ApplyFiles(t.Context(), "../../manifests/crds/*.yaml"); err != nil {
		t.Fatal(err)
	}
	nodeENI.Spec.MTU = 1500
	if nodeENI, err = update(t, c, nodeENI); err != nil {
		t.Fatalf("editing the spec: %v", shortened(err))
	}
	if minor(t, c) < 33 {
		return // Kubernetes 1.32 takes such a status only as a whole, as the coordinator writes it
	}
	nodeENI.Status.ObservedGeneration = 2
	if _, err = update(t, c, nodeENI, "status"); err != nil {
		t.Errorf("writing another part of the status: %v", shortened(err))
	}
}

// minor is the minor version of the API server.
func minor(t *testing.T, c *cluster) int {
	t.Helper()
	client, err := discovery.NewDiscoveryClientForConfig(c.controlPlane.AdminConfig())
	if err != nil {
		t.Fatal(err)
	}
	version, err := client.ServerVersion()
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(version.Minor)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func crdWithoutBounds(t *testing.T) []byte {
	t.Helper()
	content, err := os.ReadFile("../../manifests/crds/networking.k8s.aws_nodeenis.yaml")
	if err != nil {
		t.Fatal(err)
	}
	before, status, _ := strings.Cut(string(content), "              attachments:\n")
	var lines []string
	for line := range strings.Lines(status) {
		if !strings.Contains(line, " maxLength: ") {
			lines = append(lines, line)
		}
	}
	return []byte(before + "              attachments:\n" + strings.Join(lines, ""))
}
