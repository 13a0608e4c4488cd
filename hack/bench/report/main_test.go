package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/result"
)

// The page in the tree is the one that its results make.
func TestTree(t *testing.T) {
	t.Chdir("../../..")
	want, err := page(result.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(result.Dir + ".md"); err != nil || string(got) != string(want) {
		t.Errorf("%s.md is not what the results make (%v): run make bench-report", result.Dir, err)
	}
}

func TestNoResult(t *testing.T) {
	if _, err := page(t.TempDir()); err == nil || !strings.Contains(err.Error(), "run make bench-latency") {
		t.Errorf("without results: %v", err)
	}
}

var sample = &result.Result{
	Name: "footprint", Taken: time.Date(2026, 11, 24, 18, 0, 0, 0, time.UTC), Commit: "0123456789ab", Remark: "It was late.",
	Machine: result.Machine{CPU: "A CPU", Cores: 2, Memory: 8 << 30, Kernel: "Linux 6.18", Go: "go1.26 linux/amd64", Load: 0.02},
	Figures: []result.Figure{
		{Name: "binary", Value: 18.93, Unit: "MB", Goal: new(22.0)},
		{Name: "image", Value: 8, Unit: "MB", Goal: new(22.0)},
		{Name: "memory", Value: 26.1, Unit: "MiB", Goal: new(25.0), Note: "A dependency has grown."},
		{Name: "threads", Value: 9},
	},
	Tables: []result.Table{{Title: "Growth", Columns: []string{"ENIs", "RSS", "remark"}, Rows: [][]string{{"1", "22.1 MiB", "a | b"}, {"15", "1,023 MiB", ""}}}},
	Plots: []result.Plot{{
		Title: "Memory", XLabel: "ENIs", YLabel: "MiB", Categories: []string{"1", "15"},
		Series: []result.Series{{Name: "RSS", Y: []float64{26.1, 30}}, {Name: "budget", Y: []float64{25, 25}, Line: true}},
	}},
}

// with has a result in the place of each that is missing.
func with(r *result.Result) map[string]*result.Result {
	all := map[string]*result.Result{}
	for _, name := range result.Names {
		all[name] = &result.Result{Name: name, Machine: r.Machine}
	}
	all[r.Name] = r
	return all
}

func TestParts(t *testing.T) {
	part := func(text string, err error) string {
		if err != nil {
			return err.Error()
		}
		return text
	}
	met := *sample
	met.Figures = sample.Figures[:2]
	for _, test := range []struct{ got, want string }{
		{part(row("sizes", sample, "binary", "image")), "| sizes | **18.9 MB**, **8 MB** | 22 MB | met |"},
		{part(row("all", sample, "memory", "binary")), "| all | **26.1 MiB**, **18.9 MB** | 25 MiB, 22 MB | **missed** |"},
		{part(row("threads", sample, "threads")), "| threads | **9** | | |"},
		{part(row("x", sample, "another")), `footprint.json has no "another"`},
		{goals(with(sample)), "The following of 3 goals were missed:\n\n* **memory**: 26.1 MiB, the goal is at most 25 MiB. A dependency has grown."},
		{goals(with(&met)), "All 2 goals are met."},
		{sample.Tables[0].String(), `| ENIs | RSS | remark |
|--:|--:|---|
| 1 | 22.1 MiB | a \| b |
| 15 | 1,023 MiB | |`},
	} {
		if test.got != test.want {
			t.Errorf("got:\n%s\nwant:\n%s", test.got, test.want)
		}
	}
}

func TestPlot(t *testing.T) {
	var got strings.Builder
	want := "```mermaid\nxychart-beta\n" + `    title "Memory"
    x-axis "ENIs" ["1", "15"]
    y-axis "MiB" 0 --> 33
    bar [26.10, 30.00]
    line [25.00, 25.00]` + "\n```\n\nBars: RSS. Line: budget."
	if err := pageTemplate.ExecuteTemplate(&got, "plot", sample.Plots[0]); err != nil || got.String() != want {
		t.Errorf("%v; got:\n%s\nwant:\n%s", err, &got, want)
	}
}

func TestRuns(t *testing.T) {
	for _, want := range []string{
		"Machine: A CPU, 2 cores, 8.0 GiB, Linux 6.18, go1.26 linux/amd64.\n\n| taken with | when | commit | load before |\n|---|---|---|--:|\n",
		"\n| `make bench-footprint` | 2026-11-24 18:00 UTC | `0123456789ab` | 0.02 |\n",
		"|\n\nAbout `make bench-footprint`: It was late.",
	} {
		if got := runs(with(sample)); !strings.Contains(got, want) {
			t.Errorf("got:\n%s\nwant it to have:\n%s", got, want)
		}
	}
}
