package v1alpha1_test

import (
	"maps"
	"os"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// specCase is one case of testdata/specs.yaml.
type specCase struct {
	Name   string         `json:"name"`
	Spec   map[string]any `json:"spec"`
	Errors []string       `json:"errors"`
}

func specCases(t *testing.T) (base map[string]any, cases []specCase) {
	t.Helper()
	content, err := os.ReadFile("testdata/specs.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var table struct {
		Base  map[string]any `json:"base"`
		Cases []specCase     `json:"cases"`
	}
	if err := yaml.UnmarshalStrict(content, &table); err != nil {
		t.Fatal(err)
	}
	return table.Base, table.Cases
}

// manifest is a NodeENI with the fields of change put over those of base; an
// explicit null takes a field out.
func manifest(base, change map[string]any) map[string]any {
	spec := maps.Clone(base)
	for name, value := range change {
		if value == nil {
			delete(spec, name)
		} else {
			spec[name] = value
		}
	}
	return map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(),
		"kind":       "NodeENI",
		"metadata":   map[string]any{"name": "a-case"},
		"spec":       spec,
	}
}

// Every case of the table gets the same answer from Go and from the API server,
// with the same messages.
func TestSpecs(t *testing.T) {
	nodeENIs := clusterOf(t).nodeENIs
	base, cases := specCases(t)
	for _, test := range cases {
		t.Run(test.Name, func(t *testing.T) {
			object := manifest(base, test.Spec)
			document, err := yaml.Marshal(object)
			if err != nil {
				t.Fatal(err)
			}
			_, goErr := v1alpha1.ParseNodeENIs(document)
			_, serverErr := nodeENIs.Create(t.Context(), &unstructured.Unstructured{Object: object}, metav1.CreateOptions{
				FieldValidation: metav1.FieldValidationStrict,
				DryRun:          []string{metav1.DryRunAll},
			})
			checkRefusal(t, "Go", goErr, test.Errors)
			checkRefusal(t, "the API server", serverErr, test.Errors)
		})
	}
}

func checkRefusal(t *testing.T, who string, err error, want []string) {
	t.Helper()
	if (err != nil) != (len(want) > 0) {
		t.Errorf("%s says %v, want an error with %q", who, err, want)
		return
	}
	for _, part := range want {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%s says\n%v\nwhich lacks %q", who, err, part)
		}
	}
}
