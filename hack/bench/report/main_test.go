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

var sample = results{{
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
}}

func TestParts(t *testing.T) {
	part := func(text string, err error) string {
		if err != nil {
			return err.Error()
		}
		return text
	}
	for _, test := range []struct{ got, want string }{
		{part(sample.row("sizes", "footprint", "binary", "image")), "| sizes | **18.9 MB**, **8 MB** | 22 MB | met |"},
		{part(sample.row("all", "footprint", "memory", "binary")), "| all | **26.1 MiB**, **18.9 MB** | 25 MiB, 22 MB | **missed** |"},
		{part(sample.row("threads", "footprint", "threads")), "| threads | **9** | | |"},
		{part(sample.row("x", "footprint", "another")), `footprint.json has no "another"`},
		{sample.goals(), "Missed, of 3 goals:\n\n* **memory**: 26.1 MiB, the goal is at most 25 MiB. A dependency has grown."},
		{results{{Figures: sample[0].Figures[:2]}}.goals(), "All 2 goals are met."},
		{part(sample.table("footprint", "Growth")), `| ENIs | RSS | remark |
|--:|--:|---|
| 1 | 22.1 MiB | a \| b |
| 15 | 1,023 MiB | |`},
		{part(sample.table("footprint", "Growths")), `footprint.json has no "Growths"`},
		{part(sample.plot("footprint", "Memory")), "```mermaid\nxychart-beta\n" + `    title "Memory"
    x-axis "ENIs" ["1", "15"]
    y-axis "MiB" 0 --> 33
    bar [26.10, 30.00]
    line [25.00, 25.00]` + "\n```\n\nBars: RSS. Line: budget."},
		{sample.runs(), "Machine: A CPU, 2 cores, 8.0 GiB, Linux 6.18, go1.26 linux/amd64.\n\n" +
			"| taken with | when | commit | load before |\n|---|---|---|--:|\n" +
			"| `make bench-footprint` | 2026-11-24 18:00 UTC | `0123456789ab` | 0.02 |\n\nAbout `make bench-footprint`: It was late."},
	} {
		if test.got != test.want {
			t.Errorf("got:\n%s\nwant:\n%s", test.got, test.want)
		}
	}
}
