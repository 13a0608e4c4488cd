package main

import (
	"bytes"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/result"
)

var update = flag.Bool("update", false, "write the page in testdata anew; read it")

// sample is a tree with results and no pages.
func sample(t *testing.T) string {
	t.Helper()
	tree := t.TempDir()
	if err := os.WriteFile(filepath.Join(tree, "go.mod"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(tree, result.Dir)
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(dir, os.DirFS("testdata/results")); err != nil {
		t.Fatal(err)
	}
	return tree
}

func TestPage(t *testing.T) {
	tree := sample(t)
	stale := filepath.Join(tree, result.Dir, "gone.svg")
	if err := os.WriteFile(stale, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(tree); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(tree, result.Dir+".md"))
	if err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/page.golden" // not .md: it is no page of the documentation
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the page is another; read it, and run this test with -update if it is right:\n%s", got)
	}
	if _, err := os.Stat(stale); err == nil {
		t.Error("a plot that no result has is still there")
	}
	for _, plot := range []string{"footprint-memory.svg", "latency-phases.svg"} {
		if svg, err := os.ReadFile(filepath.Join(tree, result.Dir, plot)); err != nil || !bytes.HasPrefix(svg, []byte("<svg ")) {
			t.Errorf("%s: %v", plot, err)
		}
		if !strings.Contains(string(got), "](benchmarks/"+plot+")") {
			t.Errorf("the page does not show %s", plot)
		}
	}
}

func TestErrors(t *testing.T) {
	empty := t.TempDir()
	if err := run(empty); err == nil || !strings.Contains(err.Error(), "run it from the top of the tree") {
		t.Errorf("elsewhere: %v", err)
	}
	if err := os.WriteFile(filepath.Join(empty, "go.mod"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(empty); err == nil || !strings.Contains(err.Error(), "run make bench") {
		t.Errorf("without results: %v", err)
	}
	tree := sample(t)
	all, err := result.Load(filepath.Join(tree, result.Dir))
	if err != nil {
		t.Fatal(err)
	}
	all[1].Plots[0].File = all[0].Plots[0].File
	if _, err := render(all); err == nil || !strings.Contains(err.Error(), "two plots") {
		t.Errorf("two plots in one file: %v", err)
	}
}

// The pages in the tree are those that its results make.
func TestTree(t *testing.T) {
	const tree = "../../.."
	all, err := result.Load(filepath.Join(tree, result.Dir))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]byte{}
	if len(all) > 0 {
		if want, err = render(all); err != nil {
			t.Fatal(err)
		}
	}
	present := []string{}
	for _, pattern := range []string{result.Dir + ".md", result.Dir + "/*.svg"} {
		found, err := filepath.Glob(filepath.Join(tree, pattern))
		if err != nil {
			t.Fatal(err)
		}
		present = append(present, found...)
	}
	for i, path := range present {
		rel, err := filepath.Rel(tree, path)
		if err != nil {
			t.Fatal(err)
		}
		present[i] = filepath.ToSlash(rel)
		if content, err := os.ReadFile(path); err != nil || !bytes.Equal(content, want[present[i]]) {
			t.Errorf("%s is not what the results make (%v): run make bench-report", present[i], err)
		}
	}
	slices.Sort(present)
	if wanted := slices.Sorted(maps.Keys(want)); !slices.Equal(present, wanted) {
		t.Errorf("in the tree: %v\nthe results make %v: run make bench-report", present, wanted)
	}
}

func TestNumeric(t *testing.T) {
	for _, test := range []struct {
		cells []string
		want  bool
	}{
		{[]string{"1", "**2.5 MB**", "≤ 3", "-4"}, true},
		{[]string{"1", ""}, true},
		{[]string{"", ""}, false},
		{[]string{"1", "one"}, false},
		{[]string{"2026-11-24"}, false},
	} {
		var rows [][]string
		for _, cell := range test.cells {
			rows = append(rows, []string{cell})
		}
		if got := numeric(rows, 0); got != test.want {
			t.Errorf("%q: %v", test.cells, got)
		}
	}
}
