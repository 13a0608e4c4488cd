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

func TestAttachBound(t *testing.T) {
	for enis, want := range map[int]float64{1: 0, 50: 0, 51: .2, 1000: 190, 5000: 990} {
		if got := attachBound(enis); got != want {
			t.Errorf("%d ENIs: %v s, want %v", enis, got, want)
		}
	}
}

// TestSummarize: a run of an hour must not end with figures that cannot be kept,
// whatever phases it had.
func TestSummarize(t *testing.T) {
	some := func(nodes int) counts {
		return counts{
			Calls: fleet.Calls{
				{Action: "CreateNetworkInterface"}:                       nodes,
				{Action: "AttachNetworkInterface"}:                       nodes,
				{Action: "AttachNetworkInterface", Throttled: true}:      nodes / 2,
				{Action: "ModifyNetworkInterfaceAttribute"}:              nodes,
				{Action: "DescribeSubnets"}:                              nodes,
				{Action: "DescribeNetworkInterfaces", Coordinator: true}: 3,
				{Action: "DetachNetworkInterface", Coordinator: true}:    nodes,
				{Action: "DeleteNetworkInterface", Coordinator: true}:    nodes,
			},
			API: fleet.APIServer{Requests: map[fleet.Request]int{
				{Verb: "PUT", Resource: "nodeenistates", Code: "200"}: 4 * nodes,
				{Verb: "PUT", Resource: "nodeenistates", Code: "409"}: 1,
				{Verb: "GET", Resource: "nodeenis", Code: "200"}:      7,
			}},
			OwnGets: 7,
		}
	}
	full := func(nodes, enis int, all bool) *figures {
		f := &figures{size: size{nodes, enis}}
		times := make([]time.Duration, nodes)
		for i := range times {
			times[i] = time.Duration(i+1) * time.Second
		}
		f.Label = &arrival{counts: some(nodes), Times: times}
		f.Delete = &removal{counts: some(nodes), Gone: 100 * time.Second}
		if all {
			f.Cold = &arrival{counts: some(nodes), Times: times}
			f.Roll = &rolling{counts: some(nodes)}
			idle := some(nodes)
			f.Idle = &idle
		}
		return f
	}
	for name, all := range map[string][]*figures{
		"all":           {full(10, 1, true), full(250, 1, true), full(1000, 1, true), full(1000, 2, false)},
		"one":           {full(10, 1, false)},
		"nothing":       {{size: size{10, 1}}},
		"without label": {{size: size{1000, 1}, Idle: new(some(1000))}},
	} {
		t.Run(name, func(t *testing.T) {
			r := &result.Result{Name: "scale", Title: "Scale"}
			summarize(r, all)
			if err := r.Save(t.TempDir()); err != nil {
				t.Error(err)
			}
		})
	}
	goals := full(1000, 1, true).goals()
	find := func(name string) result.Figure {
		for _, g := range goals {
			if strings.HasSuffix(g.Name, name) {
				return g
			}
		}
		t.Fatalf("there is no figure %q", name)
		return result.Figure{}
	}
	for name, want := range map[string]float64{
		"changing EC2 calls per ENI, throttled ones included":      3.5,
		"all EC2 calls of agents per ENI, throttled ones included": 4.5,
		"from the label until all are ready":                       1000,
		"conflicts of NodeENIState writes per node":                .001,
	} {
		if got := find(name); got.Value != want {
			t.Errorf("%s: %v, want %v", name, got.Value, want)
		}
	}
}
