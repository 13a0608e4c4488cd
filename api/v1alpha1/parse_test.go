package v1alpha1_test

import (
	"maps"
	"os"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

func TestParseFieldManifests(t *testing.T) {
	file, err := os.ReadFile("testdata/field.yaml")
	if err != nil {
		t.Fatal(err)
	}
	nodeENIs, err := v1alpha1.ParseNodeENIs(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(nodeENIs) != 6 {
		t.Fatalf("found %d NodeENIs, want 6", len(nodeENIs))
	}
	first, last := nodeENIs[0].Spec, nodeENIs[5].Spec
	if first.MTU != 9001 || first.DeviceIndex != 2 || !*first.DeleteOnTermination || !*first.SourceDestCheck || first.Addressing != v1alpha1.AddressingNone {
		t.Errorf("the first one is %+v", first)
	}
	if last.DeviceIndex != 1 || *last.DeleteOnTermination {
		t.Errorf("the last one is %+v", last)
	}
}

const goodDocument = `
apiVersion: networking.k8s.aws/v1alpha1
kind: NodeENI
metadata: {name: good}
spec:
  nodeSelector: {ng: multi-eni}
  subnetID: subnet-0f59b4f14737be9ad
  securityGroupIDs: [sg-05da196f3314d4af8]
  deviceIndex: null
  deleteOnTermination: null
  addressing: null
`

func TestParseFillsInNulls(t *testing.T) {
	nodeENIs, err := v1alpha1.ParseNodeENIs([]byte("# a comment\n---\n" + goodDocument + "---\n"))
	if err != nil {
		t.Fatal(err)
	}
	if len(nodeENIs) != 1 {
		t.Fatalf("found %d NodeENIs, want 1", len(nodeENIs))
	}
	spec := nodeENIs[0].Spec
	if spec.DeviceIndex != 1 || spec.DeleteOnTermination == nil || !*spec.DeleteOnTermination || spec.Addressing != v1alpha1.AddressingNone {
		t.Errorf("spec is %+v", spec)
	}
}

// TestParseDropsNulls: an API server takes an entry without a value out of a map.
func TestParseDropsNulls(t *testing.T) {
	document := strings.NewReplacer("{ng: multi-eni}", `{ng: multi-eni, zone: , rack: ""}`, "deviceIndex: null", "tags: {team: , Name: x}").Replace(goodDocument)
	nodeENIs, err := v1alpha1.ParseNodeENIs([]byte(document))
	if err != nil {
		t.Fatal(err)
	}
	spec := nodeENIs[0].Spec
	if want := map[string]string{"ng": "multi-eni", "rack": ""}; !maps.Equal(spec.NodeSelector, want) {
		t.Errorf("got selector %q, want %q", spec.NodeSelector, want)
	}
	if want := map[string]string{"Name": "x"}; !maps.Equal(spec.Tags, want) {
		t.Errorf("got tags %q, want %q", spec.Tags, want)
	}
}

// indented is the good document, or what change makes of it, as an item of a list.
func indented(change ...string) string {
	text := strings.NewReplacer(change...).Replace(strings.TrimSpace(goodDocument))
	return "- " + strings.ReplaceAll(text, "\n", "\n  ") + "\n"
}

// whatKubectlAdds is what an object from an API server has beside what people write.
const whatKubectlAdds = `metadata:
  annotations: {kubectl.kubernetes.io/last-applied-configuration: "{}"}
  creationTimestamp: "2026-01-02T03:04:05Z"
  finalizers: [networking.k8s.aws/eni-cleanup]
  generation: 3
  managedFields:
  - {apiVersion: networking.k8s.aws/v1alpha1, fieldsType: FieldsV1, fieldsV1: {"f:spec": {}}, manager: kubectl, operation: Update, time: "2026-01-02T03:04:05Z"}
  name: good
  resourceVersion: "123"
  uid: 8c1e4f5a-0000-4000-8000-000000000000
status:
  attachments: [{nodeID: node-1, instanceID: i-1, eniID: eni-1, status: Ready, deviceIndex: 1, lastUpdated: "2026-01-02T03:04:05Z"}]
  conditions: [{type: Ready, status: "True", reason: AllNodesReady, message: 1 of 1 nodes are ready, lastTransitionTime: "2026-01-02T03:04:05Z"}]
  nodes: {matching: 1, ready: 1, failed: 0}
  observedGeneration: 3`

func TestParseLists(t *testing.T) {
	second := []string{"name: good", "name: second"}
	for name, file := range map[string]string{
		"kubectl get -o yaml":      "apiVersion: v1\nitems:\n" + indented("metadata: {name: good}", whatKubectlAdds) + indented(second...) + "kind: List\nmetadata:\n  resourceVersion: \"\"\n",
		"a NodeENIList":            "apiVersion: networking.k8s.aws/v1alpha1\nkind: NodeENIList\nmetadata: {resourceVersion: \"1\", continue: \"\"}\nitems:\n" + indented() + indented(second...),
		"items that are not named": "apiVersion: networking.k8s.aws/v1alpha1\nkind: NodeENIList\nitems:\n" + indented("apiVersion: networking.k8s.aws/v1alpha1\nkind: NodeENI\n", "") + indented(second...),
		"two lists":                "---\napiVersion: v1\nkind: List\nitems:\n" + indented() + "---\napiVersion: v1\nkind: List\nitems:\n" + indented(second...),
		"a list and one beside it": "apiVersion: v1\nkind: List\nitems:\n" + indented() + "---\n" + strings.NewReplacer(second...).Replace(goodDocument),
		"JSON":                     `{"kind":"List","apiVersion":"v1","items":[` + asJSON(t, goodDocument) + "," + asJSON(t, strings.NewReplacer(second...).Replace(goodDocument)) + "]}",
		"one object of kubectl's":  strings.Replace(goodDocument, "metadata: {name: good}", whatKubectlAdds, 1) + "---\n" + strings.NewReplacer(second...).Replace(goodDocument),
	} {
		nodeENIs, err := v1alpha1.ParseNodeENIs([]byte(file))
		if err != nil {
			t.Errorf("%s: %v\n%s", name, err, file)
			continue
		}
		if len(nodeENIs) != 2 || nodeENIs[0].Name != "good" || nodeENIs[1].Name != "second" || nodeENIs[0].Spec.DeviceIndex != 1 || nodeENIs[1].Spec.DeleteOnTermination == nil {
			t.Errorf("%s: read %d NodeENIs: %+v", name, len(nodeENIs), nodeENIs)
		}
	}
	if nodeENIs, err := v1alpha1.ParseNodeENIs([]byte("{apiVersion: v1, kind: List, items: []}")); len(nodeENIs) > 0 || err != nil {
		t.Errorf("an empty list holds %v, %v", nodeENIs, err)
	}
}

func asJSON(t *testing.T, document string) string {
	t.Helper()
	content, err := yaml.YAMLToJSON([]byte(document))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func TestParseRefusals(t *testing.T) {
	tests := []struct {
		name, file string
		want       []string
	}{
		{"not YAML", "a: [", []string{"document 1", "line 1"}},
		{"a list", "[a]", []string{"document 1"}},
		{"another kind", "{apiVersion: v1, kind: Node}", []string{"this is not a NodeENI", "apiVersion: networking.k8s.aws/v1alpha1", `"v1"`, `"Node"`}},
		{"another version", strings.Replace(goodDocument, "v1alpha1", "v2", 1), []string{"this is not a NodeENI", `"networking.k8s.aws/v2"`}},
		{"a state", strings.Replace(goodDocument, "kind: NodeENI", "kind: NodeENIState", 1), []string{"this is not a NodeENI", `"NodeENIState"`}},
		{"no kind", "{spec: {}}", []string{"this is not a NodeENI"}},
		{"no name", strings.Replace(goodDocument, "name: good", "", 1), []string{"metadata.name: Required value"}},
		{"bad name", strings.Replace(goodDocument, "name: good", "name: Not_Good", 1), []string{`metadata.name: Invalid value: "Not_Good"`, "lowercase RFC 1123 subdomain"}},
		{"bad second document", goodDocument + "---\n" + strings.Replace(goodDocument, "spec:", "spec:\n  mtu: 9\n  deviceIndx: 2", 1), []string{"document 2 (line 13)", `unknown field "spec.deviceIndx"`}},
		{"a second document that is not YAML", goodDocument + "---\na: 1\nb: [", []string{"document 2 (line 13)", "line 14"}},
		{"the same with the line ends of Windows", strings.ReplaceAll(goodDocument+"---\na: 1\nb: [", "\n", "\r\n"), []string{"document 2 (line 13)", "line 14"}},
		{"behind comments and empty documents", "# a comment\n---\n---\n---\n" + strings.Replace(goodDocument, "name: good", "", 1), []string{"(line 5)", "metadata.name"}},
		{"a separator that is none", goodDocument + "--- a\n", []string{"document 1", "separator"}},
		{"field twice", strings.Replace(goodDocument, "spec:", "spec:\n  mtu: 1500\n  mtu: 9001", 1), []string{`"mtu" already set`}},
		{"a bad item of a list", "apiVersion: v1\nkind: List\nitems:\n" + indented() + indented("spec:", "spec:\n  deviceIndx: 2"), []string{"document 1 (line 1)", "item 2 of the list", `unknown field "spec.deviceIndx"`}},
		{"a field twice in a list", "apiVersion: v1\nkind: List\nitems:\n" + indented("spec:", "spec:\n  mtu: 1500\n  mtu: 9001"), []string{`"mtu" already set`}},
		{"another kind in a list", "{apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: Node}]}", []string{"item 1 of the list", "this is not a NodeENI", `"Node"`}},
		{"an item that is nothing", "{apiVersion: v1, kind: List, items: [null]}", []string{"item 1 of the list", "this is not a NodeENI"}},
		{"a list in a list", "{apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: List, items: []}]}", []string{"item 1 of the list", `"List"`}},
		{"a typo in a list", "{apiVersion: v1, kind: List, itms: []}", []string{"itms"}},
		{"a list of another version", "{apiVersion: v2, kind: List, items: []}", []string{"this is not a NodeENI", `"v2"`}},
		{"everything wrong at once", strings.Replace(goodDocument, "spec:", "spec:\n  mtu: 9\n  interfaceName: eth0", 1), []string{"spec.mtu", "spec.interfaceName"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := v1alpha1.ParseNodeENIs([]byte(test.file))
			if err == nil {
				t.Fatal("it is accepted")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v\nlacks %q", err, want)
				}
			}
		})
	}
}

// FuzzParseNodeENIs looks for files that make the parser panic.
func FuzzParseNodeENIs(f *testing.F) {
	f.Add([]byte(goodDocument))
	f.Add([]byte("{spec: {tags: {a: }, nodeSelector: []}}"))
	f.Add([]byte("---\n---\nnull"))
	f.Add([]byte("{apiVersion: v1, kind: List, items: [{}, null, {kind: NodeENI}]}"))
	f.Add([]byte("a: 1\r\r\n---\nb: ["))
	f.Fuzz(func(t *testing.T, file []byte) {
		nodeENIs, err := v1alpha1.ParseNodeENIs(file)
		if err != nil && len(nodeENIs) > 0 {
			t.Errorf("both %d NodeENIs and %v", len(nodeENIs), err)
		}
	})
}
