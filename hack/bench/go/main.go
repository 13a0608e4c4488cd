// Command go runs the Go benchmarks of what agent and coordinator do again and again,
// and saves what they cost. Run it with `make bench-go`.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/perf/benchfmt"
	"golang.org/x/perf/benchunit"

	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/result"
)

const module = "github.com/aws-multi-eni/aws-multi-eni/"

var packages = []string{"./agent", "./agent/inventory", "./agent/hostnet", "./internal/eni", "./api/v1alpha1", "./coordinator"}

func main() {
	result.Main("go", false, func(b *result.Bench, r *result.Result) { b.Must(measure(b.Context(), r)) })
}

// measure runs the benchmarks of all packages; `go test` does that one after the other.
func measure(ctx context.Context, r *result.Result) error {
	args := append([]string{"test", "-run=^$", "-bench=.", "-benchmem", "-count=5", "-benchtime=200ms"}, packages...)
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Stdout, cmd.Stderr = io.MultiWriter(&out, os.Stderr), os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go %s: %w", strings.Join(args, " "), err)
	}
	all, err := parse(&out)
	if err != nil {
		return err
	}
	r.Tables = []result.Table{table(all)}
	r.Figures, err = figures(all)
	return err
}

// benchmark is what `go test -bench` has written about one benchmark.
type benchmark struct {
	pkg, name string
	runs      map[string][]float64 // by unit
}

var cores = regexp.MustCompile(`-[0-9]+$`)

// parse reads what `go test -bench` writes.
func parse(out io.Reader) ([]benchmark, error) {
	var all []benchmark
	reader := benchfmt.NewReader(out, "go test")
	for reader.Scan() {
		switch line := reader.Result().(type) {
		case *benchfmt.Result:
			pkg, name := strings.TrimPrefix(line.GetConfig("pkg"), module), cores.ReplaceAllString(string(line.Name), "")
			i := slices.IndexFunc(all, func(b benchmark) bool { return b.pkg == pkg && b.name == name })
			if i < 0 {
				i, all = len(all), append(all, benchmark{pkg, name, map[string][]float64{}})
			}
			for _, v := range line.Values {
				all[i].runs[v.Unit] = append(all[i].runs[v.Unit], v.Value)
			}
		case *benchfmt.SyntaxError:
			return nil, line
		}
	}
	if len(all) == 0 && reader.Err() == nil {
		return nil, errors.New("there are no benchmarks")
	}
	return all, reader.Err()
}

func (b benchmark) seconds() float64 { return result.Quantile(b.runs["sec/op"], .5) }
func (b benchmark) bytes() float64   { return result.Quantile(b.runs["B/op"], .5) }
func (b benchmark) allocs() float64  { return result.Quantile(b.runs["allocs/op"], .5) }

func table(all []benchmark) result.Table {
	t := result.Table{Title: "All benchmarks", Columns: []string{"package", "benchmark", "time", "bytes", "allocations"}}
	for _, b := range all {
		t.Rows = append(t.Rows, []string{b.pkg, b.name, benchunit.Scale(b.seconds(), benchunit.Decimal) + "s", result.Number(b.bytes()), result.Number(b.allocs())})
	}
	return t
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
		{"Configure/nothing_to_do", "a look at a link that is as it must be, on a node with 300 pods", 100},
		{"Decode/rules=603", "603 rules read", 0},
		{"LeftOverOfFleet", "2,000 decisions whether an ENI is a leftover", 0},
	} {
		i := slices.IndexFunc(all, func(b benchmark) bool { return b.name == f.benchmark })
		if i < 0 {
			return nil, fmt.Errorf("there is no benchmark %s; its figure needs another", f.benchmark)
		}
		fs = append(fs,
			result.Figure{Name: f.name + ": allocations", Value: all[i].allocs(), Goal: &f.goal, Note: f.benchmark},
			result.Figure{Name: f.name + ": time", Value: all[i].seconds() * 1e6, Unit: "µs", Note: f.benchmark})
	}
	return fs, nil
}
