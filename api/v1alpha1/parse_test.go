package v1alpha1_test

import (
	"maps"
	"os"
	"strings"
	"testing"

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
	f.Add([]byte("a: 1\r\r\n---\nb: ["))
	f.Fuzz(func(t *testing.T, file []byte) {
		nodeENIs, err := v1alpha1.ParseNodeENIs(file)
		if err != nil && len(nodeENIs) > 0 {
			t.Errorf("both %d NodeENIs and %v", len(nodeENIs), err)
		}
	})
}
