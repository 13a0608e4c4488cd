package helm

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

var page = regexp.MustCompile(`https://github\.com/aws-multi-eni/aws-multi-eni/blob/v[0-9.]+/(\S+)`)

// TestNotes: what helm prints after it has installed the chart has a valid NodeENI and links to
// pages that exist, and names the flags that the agent has.
func TestNotes(t *testing.T) {
	for _, test := range []struct {
		set, want string
		pods      bool
	}{
		{"awsRegion=", "/eni-agent doctor\n", false},
		{"nodeSelector.role=network", "kubectl label node NODE ng=multi-eni role=network\n", false},
		{"nodeSelector=null", "\n2. Check", false},
		{"pods.enabled=true,clusterName=blue", "/eni-agent doctor --pods --cluster-name=blue\n", true},
	} {
		out, err := helmCommand(t.Context(), t.TempDir(), "install", release, chart, "--namespace", namespace, "--dry-run=client", "--set", test.set).Output()
		if err != nil {
			t.Fatal(err)
		}
		_, notes, _ := strings.Cut(string(out), "\nNOTES:\n")
		if !strings.Contains(notes, test.want) {
			t.Errorf("%s: the notes do not have %q:\n%s", test.set, test.want, notes)
		}
		_, manifest, _ := strings.Cut(notes, "<<EOF\n")
		manifest, _, _ = strings.Cut(manifest, "\nEOF\n")
		nodeENIs, err := v1alpha1.ParseNodeENIs([]byte(manifest))
		if err != nil || len(nodeENIs) != 1 || (nodeENIs[0].Spec.Pods != nil) != test.pods {
			t.Errorf("%s: %v, %v in\n%s", test.set, nodeENIs, err, manifest)
		}
		links := page.FindAllStringSubmatch(notes, -1)
		if len(links) < 2 {
			t.Errorf("%s: only the links %q", test.set, links)
		}
		for _, link := range links {
			if _, err := os.Stat(filepath.Join("..", "..", link[1])); err != nil {
				t.Errorf("%s: %v", test.set, err)
			}
		}
	}
}

var yamlBlock = regexp.MustCompile("(?ms)^```yaml\n(.*?)^```")

// TestValuesInPages: the chart takes the values that the pages show.
func TestValuesInPages(t *testing.T) {
	count := 0
	for _, pattern := range []string{"../../docs/*.md", "../../docs/guides/*.md"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, block := range yamlBlock.FindAllStringSubmatch(string(text), -1) {
				if !regexp.MustCompile(`(?m)\A(#.*\n)*(controller|eniManager|nodeSelector|pods|image|metrics|uninstall|nodeReadiness):`).MatchString(block[1]) {
					continue
				}
				count++
				values := filepath.Join(t.TempDir(), "values.yaml")
				if err := os.WriteFile(values, []byte(block[1]), 0o600); err != nil {
					t.Fatal(err)
				}
				if _, err := render(t, "--values", values); err != nil {
					t.Errorf("%s: %v:\n%s", file, err, block[1])
				}
			}
		}
	}
	if count < 4 {
		t.Errorf("only %d found", count)
	}
}

// TestTerraformValues: the chart takes the values of examples/terraform-eks.
func TestTerraformValues(t *testing.T) {
	if objects := mustRender(t, "--values", "../../examples/terraform-eks/values.yaml"); len(objects) == 0 {
		t.Error("nothing is rendered")
	}
}
