// Package prometheus tests the alerts and, as it asks for the same metrics, the
// dashboard for Grafana.
package prometheus

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

const dashboardFile = "../grafana/aws-multi-eni.json"

// group and rule are Prometheus's.
type group struct {
	Name  string `json:"name"`
	Rules []rule `json:"rules"`
}

type rule struct {
	Alert       string            `json:"alert,omitempty"`
	Record      string            `json:"record,omitempty"`
	Expr        string            `json:"expr"`
	For         string            `json:"for,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

func alerts(t *testing.T) []group {
	t.Helper()
	var object struct {
		APIVersion, Kind string
		Metadata         map[string]any
		Spec             struct{ Groups []group }
	}
	read(t, "rules.yaml", &object)
	if object.APIVersion != "monitoring.coreos.com/v1" || object.Kind != "PrometheusRule" || len(object.Spec.Groups) == 0 {
		t.Fatalf("rules.yaml is no PrometheusRule: %+v", object)
	}
	return object.Spec.Groups
}

// dashboard is as much of Grafana's model as is looked at.
type dashboard struct {
	UID    string
	Panels []struct {
		ID      int
		Type    string
		Title   string
		GridPos struct{ H, W, X, Y int }
		Targets []struct{ Expr string }
	}
}

func read(t *testing.T, file string, into any) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if filepath.Ext(file) == ".json" {
		err = json.Unmarshal(data, into)
	} else {
		err = yaml.UnmarshalStrict(data, into)
	}
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// write writes a rule file.
func write(t *testing.T, file string, groups []group) {
	t.Helper()
	data, err := yaml.Marshal(map[string]any{"groups": groups})
	if err == nil {
		err = os.WriteFile(file, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// promtool runs it; its service discoveries, of which it needs none, are left out.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.Command("go", append([]string{"tool", "-modfile=../../hack/tools/promtool/go.mod", "promtool"}, args...)...)
	cmd.Env = append(os.Environ(), "GOFLAGS=-tags=remove_all_sd", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("promtool %v: %v\n%s", args, err, out)
	}
}

func TestRulesAreRules(t *testing.T) {
	file := filepath.Join(t.TempDir(), "rules.yaml")
	write(t, file, alerts(t))
	promtool(t, "check", "rules", "--lint=all", "--lint-fatal", file)
}

// Every alert fires when it should, and not before.
func TestAlertsFire(t *testing.T) {
	var tests struct {
		RuleFiles          []string `json:"rule_files"`
		EvaluationInterval string   `json:"evaluation_interval"`
		Tests              []struct {
			Name        string
			Interval    string
			InputSeries []struct{ Series, Values string } `json:"input_series"`
			Alerts      []struct {
				EvalTime  string           `json:"eval_time"`
				AlertName string           `json:"alertname"`
				Expected  []map[string]any `json:"exp_alerts"`
			} `json:"alert_rule_test"`
		}
	}
	read(t, "testdata/alerts.yaml", &tests)
	fires, silent := map[string]bool{}, map[string]bool{}
	for _, test := range tests.Tests {
		for _, a := range test.Alerts {
			fires[a.AlertName] = fires[a.AlertName] || len(a.Expected) > 0
			silent[a.AlertName] = silent[a.AlertName] || len(a.Expected) == 0
		}
	}
	groups := alerts(t)
	for _, g := range groups {
		for i, r := range g.Rules {
			if !fires[r.Alert] || !silent[r.Alert] {
				t.Errorf("%s: tested to fire %v, tested to be silent %v", r.Alert, fires[r.Alert], silent[r.Alert])
			}
			if r.Annotations["summary"] == "" || r.Annotations["description"] == "" || !slices.Contains([]string{"info", "warning", "critical"}, r.Labels["severity"]) {
				t.Errorf("%s lacks a summary, a description or a severity", r.Alert)
			}
			g.Rules[i].Annotations = nil // promtool would have them repeated in every test
		}
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "rules.yaml"), groups)
	data, err := os.ReadFile("testdata/alerts.yaml")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "alerts.yaml"), data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	promtool(t, "test", "rules", filepath.Join(dir, "alerts.yaml"))
}

// What the dashboard asks is PromQL, and its panels do not lie on each other.
func TestDashboard(t *testing.T) {
	var d dashboard
	read(t, dashboardFile, &d)
	var rules []rule
	taken := map[[2]int]string{}
	for _, p := range d.Panels {
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other, ok := taken[[2]int{x, y}]; ok || x >= 24 {
					t.Fatalf("%q lies on %q, or beyond the edge", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("%q shows nothing", p.Title)
		}
		for _, target := range p.Targets {
			rules = append(rules, rule{
				Record: "job:panel:" + string(rune('a'+len(rules)%26)) + string(rune('a'+len(rules)/26)),
				Expr:   strings.ReplaceAll(target.Expr, "$__rate_interval", "5m"),
			})
		}
	}
	file := filepath.Join(t.TempDir(), "rules.yaml")
	write(t, file, []group{{Name: "dashboard", Rules: rules}})
	promtool(t, "check", "rules", file)
}

var (
	documented = regexp.MustCompile("(?m)^\\| `(eni_\\w+?)(?:\\{(.*)\\})?` \\|")
	used       = regexp.MustCompile(`\b((?:eni|process|go)_\w+)(?:\{([^}]*)\})?`)
	matcher    = regexp.MustCompile(`(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"`)
	suffix     = regexp.MustCompile(`_(bucket|sum|count)$`)
)

// Labels that the scrape adds.
var added = []string{"job", "instance", "namespace", "cluster"}

// Alerts and dashboard ask only for metrics, and labels of them, that are documented,
// which another test holds to what is registered; and the dashboard shows all of them.
func TestMetricsExist(t *testing.T) {
	page, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string][]string{"process_resident_memory_bytes": nil}
	for _, m := range documented.FindAllStringSubmatch(string(page), -1) {
		labels[m[1]] = strings.Split(m[2], ", ")
	}
	if len(labels) < 20 {
		t.Fatalf("only %d metrics are documented", len(labels))
	}
	check := func(where, expr string) (names []string) {
		for _, m := range used.FindAllStringSubmatch(expr, -1) {
			name := m[1]
			if _, ok := labels[name]; !ok {
				name = suffix.ReplaceAllString(name, "")
			}
			known, ok := labels[name]
			if !ok {
				t.Errorf("%s: there is no metric %s", where, m[1])
			}
			for _, l := range matcher.FindAllStringSubmatch(m[2], -1) {
				if !slices.Contains(known, l[1]) && !slices.Contains(added, l[1]) {
					t.Errorf("%s: %s has no label %s", where, name, l[1])
				}
				if l[1] == "phase" && strings.Trim(l[2], "|") != "" {
					for _, phase := range strings.Split(l[2], "|") {
						if !slices.Contains([]string{"Pending", "Attaching", "Configuring", "Ready", "Failed", "Releasing", "Released"}, phase) {
							t.Errorf("%s: there is no phase %s", where, phase)
						}
					}
				}
			}
			names = append(names, name)
		}
		return names
	}
	for _, g := range alerts(t) {
		for _, r := range g.Rules {
			check(r.Alert, r.Expr)
		}
	}
	var d dashboard
	read(t, dashboardFile, &d)
	shown := map[string]bool{}
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			for _, name := range check(p.Title, target.Expr) {
				shown[name] = true
			}
		}
	}
	for name := range labels {
		// When something was last done is for alerts.
		if !shown[name] && !strings.HasSuffix(name, "_timestamp_seconds") {
			t.Errorf("the dashboard does not show %s", name)
		}
	}
}
