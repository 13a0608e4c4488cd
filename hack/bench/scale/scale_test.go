package main

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/result"
	"github.com/aws-multi-eni/aws-multi-eni/internal/fleet"
)

func TestPlanned(t *testing.T) {
	for _, test := range []struct {
		sizes string
		want  []plan
		err   string
	}{
		{"", plans, ""},
		{"10", []plan{{size{10, 1}, allPhases}}, ""},
		{"50,1000x2", []plan{{size{50, 1}, allPhases}, {size{1000, 2}, allPhases}}, ""},
		{"0", nil, `SIZES: "0": want a number of nodes from 1 to 8000`},
		{"8001", nil, `"8001": want a number`},
		{"many", nil, `"many": want a number`},
		{"10x3", nil, `"10x3": want a number of nodes from 1 to 8000, such as 1000, or 1000x2 for two ENIs each`},
		{"10,", nil, `"": want a number`},
	} {
		chosen, err := planned(test.sizes)
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("SIZES=%s: error %v, want %q", test.sizes, err, test.err)
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(chosen, test.want) {
			t.Errorf("SIZES=%s: %+v, %v; want %+v", test.sizes, chosen, err, test.want)
		}
	}
}

// A plan's phases can follow each other.
func TestPlans(t *testing.T) {
	for _, p := range append(slices.Clone(plans), plan{phases: allPhases}) {
		if p.phases[0] != phaseLabel || !slices.IsSortedFunc(p.phases, func(a, b phase) int {
			return slices.Index(allPhases, a) - slices.Index(allPhases, b)
		}) {
			t.Errorf("%v nodes: %v", p.size, p.phases)
		}
		if slices.Contains(p.phases, phaseCold) && !slices.Contains(p.phases, phaseDelete) {
			t.Errorf("%v nodes: nothing deletes the ENIs before %s", p.size, phaseCold)
		}
	}
}

func TestBound(t *testing.T) {
	for enis, want := range map[int]float64{1: 0, 50: 0, 51: .2, 1000: 190, 5000: 990} {
		if got := (size{enis, 1}).bound(); got != want {
			t.Errorf("%d ENIs: %v s, want %v", enis, got, want)
		}
	}
}

// TestReport: a run of an hour must not end with figures that cannot be kept,
// whatever phases it had.
func TestReport(t *testing.T) {
	some := func(nodes int) *outcome {
		o := &outcome{
			done: time.Duration(nodes) * time.Second, took: time.Duration(nodes+12) * time.Second,
			calls: fleet.Calls{
				{Action: "CreateNetworkInterface"}:                       nodes,
				{Action: "AttachNetworkInterface"}:                       nodes,
				{Action: "AttachNetworkInterface", Throttled: true}:      nodes / 2,
				{Action: "ModifyNetworkInterfaceAttribute"}:              nodes,
				{Action: "DescribeSubnets"}:                              nodes,
				{Action: "DescribeNetworkInterfaces", Coordinator: true}: nodes / 2,
				{Action: "DetachNetworkInterface", Coordinator: true}:    nodes,
				{Action: "DeleteNetworkInterface", Coordinator: true}:    nodes,
			},
			api: fleet.APIServer{Requests: fleet.Counts[fleet.Request]{
				{Verb: "PUT", Resource: "nodeenistates", Code: "200"}: 4 * nodes,
				{Verb: "PUT", Resource: "nodeenistates", Code: "409"}: 1,
				{Verb: "GET", Resource: "nodeenis", Code: "200"}:      7,
				{Verb: "POST", Resource: "nodes", Code: "201"}:        9,
				{Verb: "LIST", Resource: "pods", Code: "200"}:         9,
			}},
		}
		for i := range nodes {
			o.times = append(o.times, time.Duration(i+1)*time.Second)
		}
		return o
	}
	with := func(nodes, enis int, phases ...phase) *figures {
		f := &figures{size: size{nodes, enis}, outcomes: map[phase]*outcome{}, reports: &fleet.Reports{}}
		for _, p := range phases {
			f.outcomes[p] = some(nodes)
		}
		return f
	}
	for name, all := range map[string][]*figures{
		"all":           {with(10, 1, allPhases...), with(250, 1, allPhases...), with(1000, 1, allPhases...), with(1000, 2, phaseLabel, phaseDelete)},
		"one":           {with(10, 1, phaseLabel, phaseDelete)},
		"nothing":       {with(10, 1)},
		"without label": {with(1000, 1, phaseIdle)},
	} {
		t.Run(name, func(t *testing.T) {
			r := &result.Result{Name: "scale"}
			report(r, all)
			if err := r.Save(t.TempDir()); err != nil {
				t.Error(err)
			}
		})
	}
	r := &result.Result{}
	all := with(1000, 1, allPhases...)
	all.restarts = 2
	report(r, []*figures{all, with(1000, 2, phaseLabel)})
	for name, want := range map[string]float64{
		"changing EC2 calls per ENI, throttled ones included":      3.5,
		"all EC2 calls of agents per ENI, throttled ones included": 4.5,
		"from the label until all are ready":                       1000,
		"conflicts of NodeENIState writes per node":                .001,
		"lists while ENIs came":                                    0,
		"coordinator ended and was started again":                  2,
		"writes to the API server in an idle hour":                 4001,
		"describes of the coordinator while nodes came and went":   .49,
		"describes of the coordinator while ENIs went":             .49,
	} {
		i := slices.IndexFunc(r.Figures, func(f result.Figure) bool { return f.Name == "1,000 nodes: "+name })
		if i < 0 || r.Figures[i].Value != want {
			t.Errorf("%s: want %v; there are %v", name, want, r.Figures)
		}
	}
	for title, want := range map[string][]string{
		"Time until all is done, in seconds":                                     {"1000×2", "390", "1000.0 (2.56×)", "500.0", "990.0", "0.0", "–", "–", "–", "–", "–"},
		"EC2 calls of the agents per ENI":                                        {"1000×2", "label", "0.50", "0.75", "0.50", "1.75", "0.25", "0.50", "0.00", "2.25"},
		"EC2 calls of the coordinator per ENI, from the deletion of the NodeENI": {"1000", "1.00", "1.00", "0.00", "0.50", "2.50"},
		"Requests to the API server from the label until all are ready":          {"1000×2", "0", "7", "4.00", "1", "0", "0", "0.00", "4.01", "0.0", "0", "0.0 KiB", "0.0 KiB"},
		"What it costs": {"1000×2", "0 KiB", "0", "0.00", "0.00", "0.0 MiB", "0.0 s", "–", "0 MiB", "0 s"},
	} {
		i := slices.IndexFunc(r.Tables, func(t result.Table) bool { return t.Title == title })
		if i < 0 || !slices.Equal(r.Tables[i].Rows[len(r.Tables[i].Rows)-1], want) {
			t.Errorf("%s: the last row is not %v; there are %v", title, want, r.Tables)
		}
	}
}
