// Command go runs the Go benchmarks of what agent and coordinator do again and again,
// and saves what they cost. Run it with `make bench-go`.
package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"

	"golang.org/x/perf/benchfmt"

	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/result"
)

// packages are those with benchmarks.
var packages = []string{"agent", "agent/inventory", "agent/hostnet", "internal/eni", "api/v1alpha1", "coordinator"}

func main() {
	short := flag.Bool("short", false, "run each benchmark once and save nothing: to see whether it works")
	flag.Parse()
	count, duration := 5, "200ms" // the medians count
	if *short {
		count, duration = 1, "1x"
	}
	result.Main("go", func(t result.Bench, r *result.Result) bool {
		t.Must(measure(t.Context(), r, count, duration))
		return !*short
	})
}

func measure(ctx context.Context, r *result.Result, count int, duration string) error {
	var all []benchmark
	for _, path := range packages {
		fmt.Fprintf(os.Stderr, "%s ...\n", path)
		cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", ".", "-benchmem",
			"-benchtime", duration, "-count", strconv.Itoa(count), "./"+path)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("go test -bench of %s: %w\n%s", path, err, &out)
		}
		some, err := parse(&out, path)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		all = append(all, some...)
	}
	r.Tables = []result.Table{table(all)}
	var err error
	r.Figures, err = figures(all)
	return err
}

// benchmark is one line of the table: the medians of all its runs.
type benchmark struct {
	pkg, name            string
	nanos, bytes, allocs float64
}

var cores = regexp.MustCompile(`-[0-9]+$`)

// parse reads what `go test -bench` writes about a package.
func parse(out io.Reader, pkg string) ([]benchmark, error) {
	var names []string
	taken := map[string]map[string][]float64{} // by name and unit
	reader := benchfmt.NewReader(out, "go test")
	for reader.Scan() {
		switch line := reader.Result().(type) {
		case *benchfmt.Result:
			name := cores.ReplaceAllString(string(line.Name), "")
			if taken[name] == nil {
				names = append(names, name)
				taken[name] = map[string][]float64{}
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
		of := taken[name]
		all = append(all, benchmark{pkg, name, 1e9 * median(of["sec/op"]), median(of["B/op"]), median(of["allocs/op"])})
	}
	return all, nil
}

func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	return slices.SortedFunc(slices.Values(values), cmp.Compare[float64])[(len(values)-1)/2]
}

func table(all []benchmark) result.Table {
	t := result.Table{Title: "All benchmarks", Columns: []string{"package", "benchmark", "time", "bytes", "allocations"}}
	for _, b := range all {
		t.Rows = append(t.Rows, []string{b.pkg, b.name, short(b.nanos), result.Number(b.bytes), result.Number(b.allocs)})
	}
	return t
}

// short is a duration with three digits.
func short(nanos float64) string {
	switch {
	case nanos < 1e3:
		return fmt.Sprintf("%.0f ns", nanos)
	case nanos < 1e6:
		return result.Number(nanos/1e3) + " µs"
	}
	return result.Number(nanos/1e6) + " ms"
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
			result.Figure{Name: f.name + ": allocations", Value: all[i].allocs, Goal: &f.goal, Note: f.benchmark},
			result.Figure{Name: f.name + ": time", Value: all[i].nanos / 1e3, Unit: "µs", Note: f.benchmark})
	}
	return fs, nil
}
