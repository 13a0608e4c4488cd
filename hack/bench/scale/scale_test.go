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

func TestParsePlans(t *testing.T) {
	short := []phase{phaseLabel, phaseDelete}
	small := append(slices.Clone(short), phaseCold)
	for _, test := range []struct {
		sizes, phases string
		want          []plan
		partial       bool
		err           string
	}{
		{"10", "", []plan{{size{10, 1}, small}}, false, ""},
		{"1000,5000", "", []plan{{size{1000, 1}, phases}, {size{5000, 1}, []phase{phaseLabel, phaseRoll, phaseDelete}}}, false, ""},
		{"1000x2", "", []plan{{size{1000, 2}, short}}, false, ""},
		{" 50, 100x1", "idle,label", []plan{{size{50, 1}, []phase{phaseIdle, phaseLabel}}, {size{100, 1}, []phase{phaseIdle, phaseLabel}}}, true, ""},
		{"0", "", nil, false, `"0": want a number of nodes from 1 to 8000`},
		{"many", "", nil, false, `"many": want a number`},
		{"10x3", "", nil, false, "1 or 2 ENIs"},
		{"10", "lable", nil, false, `PHASES: "lable" is none of [label`},
	} {
		plans, partial, err := parsePlans(test.sizes, test.phases)
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("SIZES=%s PHASES=%s: error %v, want %q", test.sizes, test.phases, err, test.err)
			}
			continue
		}
		if err != nil || partial != test.partial || !reflect.DeepEqual(plans, test.want) {
			t.Errorf("SIZES=%s PHASES=%s: %+v, partial %v, %v; want %+v", test.sizes, test.phases, plans, partial, err, test.want)
		}
	}
	plans, _, err := parsePlans("", "")
	if err != nil || len(plans) != len(split(defaultSizes)) || len(plans[len(plans)-1].phases) == 0 {
		t.Errorf("by default: %v, %v", plans, err)
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
			done: time.Duration(nodes) * time.Second, took: time.Duration(nodes+12) * time.Second, gets: 7,
			calls: fleet.Calls{
				{Action: "CreateNetworkInterface"}:                       nodes,
				{Action: "AttachNetworkInterface"}:                       nodes,
				{Action: "AttachNetworkInterface", Throttled: true}:      nodes / 2,
				{Action: "ModifyNetworkInterfaceAttribute"}:              nodes,
				{Action: "DescribeSubnets"}:                              nodes,
				{Action: "DescribeNetworkInterfaces", Coordinator: true}: 3,
				{Action: "DetachNetworkInterface", Coordinator: true}:    nodes,
				{Action: "DeleteNetworkInterface", Coordinator: true}:    nodes,
			},
			api: fleet.APIServer{Requests: fleet.Counts[fleet.Request]{
				{Verb: "PUT", Resource: "nodeenistates", Code: "200"}: 4 * nodes,
				{Verb: "PUT", Resource: "nodeenistates", Code: "409"}: 1,
				{Verb: "GET", Resource: "nodeenis", Code: "200"}:      7,
			}},
		}
		for i := range nodes {
			o.times = append(o.times, time.Duration(i+1)*time.Second)
		}
		return o
	}
	with := func(nodes, enis int, phases ...phase) *figures {
		f := &figures{size: size{nodes, enis}, outcomes: map[phase]*outcome{}}
		for _, p := range phases {
			f.outcomes[p] = some(nodes)
		}
		return f
	}
	for name, all := range map[string][]*figures{
		"all":           {with(10, 1, phases...), with(250, 1, phases...), with(1000, 1, phases...), with(1000, 2, phaseLabel, phaseDelete)},
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
	report(r, []*figures{with(1000, 1, phases...), with(1000, 2, phaseLabel)})
	for name, want := range map[string]float64{
		"changing EC2 calls per ENI, throttled ones included":      3.5,
		"all EC2 calls of agents per ENI, throttled ones included": 4.5,
		"from the label until all are ready":                       1000,
		"conflicts of NodeENIState writes per node":                .001,
	} {
		i := slices.IndexFunc(r.Figures, func(f result.Figure) bool { return f.Name == "1,000 nodes: "+name })
		if i < 0 || r.Figures[i].Value != want {
			t.Errorf("%s: want %v; there are %v", name, want, r.Figures)
		}
	}
	for title, want := range map[string][]string{
		"Time until all is done, in seconds":                                     {"1000×2", "390", "1000.0 (2.56×)", "501.0", "990.0", "0.0", "–", "–", "–", "–", "–"},
		"EC2 calls of the agents per ENI":                                        {"1000×2", "label", "0.50", "0.75", "0.50", "1.75", "0.25", "0.50", "0.00", "2.25"},
		"EC2 calls of the coordinator per ENI, from the deletion of the NodeENI": {"1000", "1.00", "1.00", "0.00", "0.00", "2.00"},
		"Requests to the API server from the label until all are ready":          {"1000×2", "0", "0", "4.00", "1", "0", "0", "0.00", "4.00", "0.0", "0", "0.0 KiB", "0.0 KiB"},
		"What it costs": {"1000×2", "0 KiB", "0", "0.00", "0.00", "0.0 MiB", "0.0 s", "–", "0 MiB", "0 s"},
	} {
		i := slices.IndexFunc(r.Tables, func(t result.Table) bool { return t.Title == title })
		if i < 0 || !slices.Equal(r.Tables[i].Rows[len(r.Tables[i].Rows)-1], want) {
			t.Errorf("%s: the last row is not %v; there are %v", title, want, r.Tables)
		}
	}
}
