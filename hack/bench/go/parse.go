package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"golang.org/x/perf/benchfmt"

	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/result"
)

// benchmark is one line of a table: the medians of all its runs.
type benchmark struct {
	name          string
	time          time.Duration
	bytes, allocs float64
}

// The units of testing.B, as benchfmt has them.
const (
	seconds = "sec/op"
	bytesOp = "B/op"
	allocs  = "allocs/op"
)

// parse reads what `go test -bench` writes.
func parse(out io.Reader) ([]benchmark, error) {
	type samples map[string][]float64 // by unit
	var names []string
	taken := map[string]samples{}
	reader := benchfmt.NewReader(out, "go test")
	for reader.Scan() {
		switch line := reader.Result().(type) {
		case *benchfmt.Result:
			name := nameOf(line.Name)
			if taken[name] == nil {
				names = append(names, name)
				taken[name] = samples{}
			}
			for _, v := range line.Values {
				taken[name][v.Unit] = append(taken[name][v.Unit], v.Value)
			}
		case *benchfmt.SyntaxError:
			return nil, line
		}
	}
	if err := reader.Err(); err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, errors.New("there are no benchmarks")
	}
	var all []benchmark
	for _, name := range names {
		s := taken[name]
		all = append(all, benchmark{
			name: name, time: time.Duration(median(s[seconds]) * float64(time.Second)), bytes: median(s[bytesOp]), allocs: median(s[allocs]),
		})
	}
	return all, nil
}

// nameOf leaves out the number of cores at the end.
func nameOf(full benchfmt.Name) string {
	base, parts := full.Parts()
	name := string(base)
	for _, p := range parts {
		if !strings.HasPrefix(string(p), "-") {
			name += string(p)
		}
	}
	return name
}

func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	return slices.SortedFunc(slices.Values(values), cmp.Compare[float64])[(len(values)-1)/2]
}

func table(title string, all []benchmark) result.Table {
	t := result.Table{Title: title, Columns: []string{"benchmark", "time", "bytes", "allocations"}, Note: "For each operation."}
	for _, b := range all {
		t.Rows = append(t.Rows, []string{b.name, short(b.time), result.Number(b.bytes), result.Number(b.allocs)})
	}
	return t
}

// short is a duration with three digits.
func short(d time.Duration) string {
	switch {
	case d < time.Microsecond:
		return fmt.Sprintf("%d ns", d.Nanoseconds())
	case d < time.Millisecond:
		return result.Number(float64(d)/float64(time.Microsecond)) + " µs"
	}
	return result.Number(float64(d)/float64(time.Millisecond)) + " ms"
}

// figures are the costs that matter most. Times are the machine's; what a goal is for
// are counts.
func figures(all []benchmark) ([]result.Figure, error) {
	var fs []result.Figure
	for _, f := range []struct {
		benchmark, name string
		goal            float64 // of allocations
	}{
		{"PassSettled/enis=1", "a pass with nothing to do, 1 ENI, without netlink", 200},
		{"PassSettled/enis=15", "a pass with nothing to do, 15 ENIs, without netlink", 3000},
		{"Configure/nothing_to_do", "a look at a link that is as it shall be, on a node with 300 pods", 100},
		{"Decode/rules=603", "603 rules read", 0},
		{"LeftOverOfFleet", "2,000 decisions whether an ENI is left over", 0},
	} {
		i := slices.IndexFunc(all, func(b benchmark) bool { return b.name == f.benchmark })
		if i < 0 {
			return nil, fmt.Errorf("there is no benchmark %s; its figure needs another", f.benchmark)
		}
		fs = append(fs,
			result.Figure{Name: f.name + ": allocations", Value: all[i].allocs, Goal: result.Goal(f.goal), Note: f.benchmark},
			result.Figure{Name: f.name + ": time", Value: float64(all[i].time) / float64(time.Microsecond), Unit: "µs", Note: f.benchmark})
	}
	return fs, nil
}
