package docs

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// TestFigures: a figure that a page states is the one that was measured last
// (docs/benchmarks/*.json), rounded as the format says.
func TestFigures(t *testing.T) {
	figures := map[string]float64{}
	for _, name := range []string{"footprint", "latency", "scale"} {
		var result struct {
			Figures []struct {
				Name  string
				Value float64
			}
		}
		if err := json.Unmarshal([]byte(read(t, "docs/benchmarks/"+name+".json")), &result); err != nil {
			t.Fatal(err)
		}
		for _, f := range result.Figures {
			figures[f.Name] = f.Value
		}
	}
	for _, claim := range []struct {
		page, format string
		names        []string
	}{
		{"README.md", "agent %.1f MB, coordinator %.1f MB |", []string{"agent, image, compressed", "coordinator, image, compressed"}},
		{"docs/installation.md", "/eni-agent:vX.Y.Z` | uid 0 with `NET_ADMIN` and nothing else | %.1f MB |", []string{"agent, image, compressed"}},
		{"docs/installation.md", "/eni-coordinator:vX.Y.Z` | uid 65532 | %.1f MB |", []string{"coordinator, image, compressed"}},
		{"README.md", "EC2's own time plus %.0f ms (p99 %.0f ms) |", []string{
			"label to Ready, own time, one node after the other, p50", "label to Ready, own time, one node after the other, p99",
		}},
		{"README.md", "| %.0f ms (p99 %.0f ms) |\n", []string{
			"hot-plug to configured, addressing Host, EC2 as slow as it is, p50", "hot-plug to configured, addressing Host, EC2 as slow as it is, p99",
		}},
		{"README.md", "| 1,000 nodes labeled at once, until all are ready | %.0f s;", []string{"1,000 nodes: from the label until all are ready"}},
		{"README.md", "| 5,000 nodes labeled at once, until all are ready | %.0f s;", []string{"5,000 nodes: from the label until all are ready"}},
		{"README.md", "| 1,000 nodes replaced, a tenth at a time | %.0f s,", []string{"1,000 nodes: rolling replacement of all nodes"}},
		{"README.md", "| coordinator at 1,000 nodes with two ENIs each | %.0f MiB |", []string{"1,000 nodes with 2 ENIs: coordinator's memory at most"}},
		{"docs/sizing.md", "| 1,000 | %.0f s | %.0f s | %.0f MiB |", []string{
			"1,000 nodes: from the label until all are ready", "1,000 nodes: from the deletion of the NodeENI until all ENIs are gone", "1,000 nodes: coordinator's memory at most",
		}},
		{"docs/sizing.md", "| 1,000, two ENIs each | %.0f s | %.0f s | %.0f MiB |", []string{
			"1,000 nodes with 2 ENIs: from the label until all are ready", "1,000 nodes with 2 ENIs: from the deletion of the NodeENI until all ENIs are gone", "1,000 nodes with 2 ENIs: coordinator's memory at most",
		}},
		{"docs/cost.md", "| agent, on each selected node | 10m CPU, 32 MiB | %.0f ms of CPU time per minute, %.0f MiB |", []string{"agent, CPU in an idle minute", "agent, RSS when idle"}},
		{"docs/cost.md", "| coordinator, two replicas | 10m CPU, 64 MiB | %.0f ms of CPU time per minute, %.0f MiB |", []string{"coordinator, CPU in an idle minute", "coordinator, RSS when idle"}},
	} {
		var values []any
		for _, name := range claim.names {
			value, ok := figures[name]
			if !ok {
				t.Fatalf("there is no figure %q", name)
			}
			values = append(values, value)
		}
		if want := fmt.Sprintf(claim.format, values...); !strings.Contains(read(t, claim.page), want) {
			t.Errorf("%s does not say %q, as measured", claim.page, want)
		}
	}
}

// TestOldestKubernetes: the oldest version of Kubernetes that is promised is the one
// that make test-compat builds.
func TestOldestKubernetes(t *testing.T) {
	_, version, _ := strings.Cut(read(t, "hack/controlplane/kube-apiserver-oldest/go.mod"), "require k8s.io/kubernetes v")
	minor := strings.Join(strings.Split(version, ".")[:2], ".")
	for page, want := range map[string]string{
		"packaging/helm/aws-multi-eni/Chart.yaml": `kubeVersion: ">=` + minor + `.0-0"`,
		"docs/installation.md":                    "**Kubernetes " + minor + "** or newer",
		"README.md":                               "Kubernetes " + minor,
		"docs/testing.md":                         "Kubernetes " + minor,
	} {
		if !strings.Contains(read(t, page), want) {
			t.Errorf("%s does not say %s", page, want)
		}
	}
}
