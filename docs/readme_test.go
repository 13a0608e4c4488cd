package docs

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

var getCommand = regexp.MustCompile(`\$ kubectl get (nodeenis|nodeenistates)\n *(NAME .*)\n`)

// The outputs of kubectl get in the README have the columns of today's CRDs.
func TestReadmeOutputs(t *testing.T) {
	found := getCommand.FindAllStringSubmatch(read(t, "README.md"), -1)
	if len(found) != 2 {
		t.Fatalf("the README shows %d outputs, want 2", len(found))
	}
	for _, m := range found {
		var crd apiextensions.CustomResourceDefinition
		if err := yaml.Unmarshal([]byte(read(t, "manifests/crds/networking.k8s.aws_"+m[1]+".yaml")), &crd); err != nil {
			t.Fatal(err)
		}
		want := []string{"NAME"}
		for _, c := range crd.Spec.Versions[0].AdditionalPrinterColumns {
			if c.Priority == 0 {
				want = append(want, strings.ToUpper(c.Name))
			}
		}
		if got := strings.Fields(m[2]); !slices.Equal(got, want) {
			t.Errorf("%s: the README shows the columns %q, the CRD has %q", m[1], got, want)
		}
	}
}
