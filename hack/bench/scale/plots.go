package main

import (
	"slices"

	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/result"
)

// plots show the growth of fleets with one ENI per node.
func plots(all []*figures) []result.Plot {
	var growth []*figures
	for _, f := range all {
		if f.enis == 1 && f.Label != nil {
			growth = append(growth, f)
		}
	}
	slices.SortFunc(growth, func(a, b *figures) int { return a.nodes - b.nodes })
	if len(growth) < 2 {
		return nil
	}
	series := func(name string, y func(*figures) (float64, bool)) result.Series {
		s := result.Series{Name: name}
		for _, f := range growth {
			if v, ok := y(f); ok && v > 0 {
				s.X, s.Y = append(s.X, float64(f.nodes)), append(s.Y, v)
			}
		}
		return s
	}
	label := func(y func(*arrival) float64) func(*figures) (float64, bool) {
		return func(f *figures) (float64, bool) { return y(f.Label), true }
	}
	bound := series("what EC2's bucket allows", func(f *figures) (float64, bool) { return attachBound(f.nodes), true })
	limit := series("goal", func(f *figures) (float64, bool) { return overBound * attachBound(f.nodes), true })
	goal := series("goal", func(*figures) (float64, bool) { return callsPerENI, true })
	memory := series("goal", func(*figures) (float64, bool) { return coordinatorMiB, true })
	for _, s := range []*result.Series{&bound, &limit, &goal, &memory} {
		s.Dashed = true
	}
	const nodes = "nodes, one ENI each"
	return withSeries([]result.Plot{
		{
			File: "scale-time.svg", Title: "Until all nodes are ready", XLabel: nodes, YLabel: "s", LogX: true, LogY: true, Kind: result.Line,
			Series: []result.Series{
				series("from the label", label((*arrival).last)),
				series("from the label, median node", label(func(a *arrival) float64 { return a.quantile(.5) })),
				series("from a cold start", func(f *figures) (float64, bool) {
					if f.Cold == nil {
						return 0, false
					}
					return f.Cold.last(), true
				}),
				series("deletion", func(f *figures) (float64, bool) {
					if f.Delete == nil {
						return 0, false
					}
					return f.Delete.Gone.Seconds(), true
				}),
				bound, limit,
			},
		},
		{
			File: "scale-calls.svg", Title: "EC2 calls per ENI, from the label", XLabel: nodes, YLabel: "calls per ENI", LogX: true, Kind: result.Line,
			Series: []result.Series{
				series("changing calls, throttled ones included", label(func(a *arrival) float64 { return a.perENI(size{len(a.Times), 1}, mutating) })),
				series("all calls", label(func(a *arrival) float64 { return a.perENI(size{len(a.Times), 1}, byAgents) })),
				goal,
			},
		},
		{
			File: "scale-requests.svg", Title: "Requests to the API server per node, from the label", XLabel: nodes, YLabel: "requests per node", LogX: true, Kind: result.Line,
			Series: []result.Series{series("agents and coordinator", label(func(a *arrival) float64 { return a.requestsPerNode(len(a.Times)) }))},
		},
		{
			File: "scale-memory.svg", Title: "Coordinator's resident memory at most", XLabel: nodes, YLabel: "MiB", LogX: true, Kind: result.Line,
			Series: []result.Series{series("coordinator", func(f *figures) (float64, bool) { return mebibytes(f.coordinatorPeak()), true }), memory},
		},
	})
}

// withSeries drops series without a point, which small fleets have.
func withSeries(all []result.Plot) []result.Plot {
	for i := range all {
		all[i].Series = slices.DeleteFunc(all[i].Series, func(s result.Series) bool { return len(s.X) == 0 })
	}
	return all
}
