package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/aws-multi-eni/aws-multi-eni/agent"
	"github.com/aws-multi-eni/aws-multi-eni/coordinator"
	"github.com/aws-multi-eni/aws-multi-eni/dra"
	shared "github.com/aws-multi-eni/aws-multi-eni/internal/program"
)

var described = regexp.MustCompile(`^Desc\{fqName: "(\w+)", help: "(.*)", unit: "\w*", constLabels: \{(.*)\}, variableLabels: \{(.*)\}\}$`)

// describe makes a row of the page for each registered metric. A Gather would leave out
// metrics without a value.
func describe(t *testing.T, c prometheus.Collector) (rows []string) {
	t.Helper()
	ch := make(chan *prometheus.Desc)
	go func() {
		c.Describe(ch)
		close(ch)
	}()
	for desc := range ch {
		m := described.FindStringSubmatch(desc.String())
		if m == nil {
			t.Fatalf("not understood: %s", desc)
		}
		if !strings.HasPrefix(m[1], "eni_") {
			continue
		}
		name := m[1]
		var labels []string
		for _, constant := range strings.Split(m[3], ",") {
			if label, _, ok := strings.Cut(constant, "="); ok {
				labels = append(labels, label)
			}
		}
		if m[4] != "" {
			labels = append(labels, strings.Split(m[4], ",")...)
		}
		if len(labels) > 0 {
			name += "{" + strings.Join(labels, ", ") + "}"
		}
		rows = append(rows, fmt.Sprintf("| `%s` | %s |\n", name, m[2]))
	}
	return rows
}

// The page's tables list exactly the metrics that are registered.
func TestMetricsPage(t *testing.T) {
	var rows []string
	for prefix, register := range map[string]func(prometheus.Registerer){
		"eni_agent": func(r prometheus.Registerer) {
			agent.NewMetrics(r)
			agent.NewCounters(r, nil, nil)
			agent.NewPodCounters(r, "", nil)
		},
		"eni_coordinator": func(r prometheus.Registerer) { coordinator.NewMetrics(r) },
		"eni_dra": func(r prometheus.Registerer) {
			dra.NewMetrics(r)
			dra.Observe(r, dra.New(dra.Config{}, nil))
		},
	} {
		registry := shared.NewMetrics(prefix)
		register(registry)
		rows = append(rows, describe(t, registry)...)
	}
	slices.Sort(rows)
	rows = slices.Compact(rows)
	text, err := os.ReadFile(filepath.Join(root, "docs/metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, prefix := range []string{"eni_agent", "eni_link", "eni_ena", "eni_coordinator", "eni_dra", "eni_ec2"} {
		want := "| metric | description |\n|---|---|\n"
		for _, row := range rows {
			if strings.HasPrefix(row, "| `"+prefix+"_") {
				want += row
			}
		}
		_, rest, _ := strings.Cut(string(text), "<!-- "+prefix+" -->\n")
		got, _, ok := strings.Cut(rest, "<!-- end -->\n")
		if !ok || got != want {
			t.Errorf("the table of %s in docs/metrics.md is not up to date; replace it with:\n%s", prefix, want)
		}
	}
}
