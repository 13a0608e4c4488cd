// Command report makes docs/benchmarks.md and its plots from docs/benchmarks/*.json,
// which the benchmarks write. Run it with `make bench-report`. The same results give
// the same files.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/plot"
	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/result"
)

func main() {
	if err := run("."); err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
}

// run makes the files of a tree anew.
func run(tree string) error {
	if _, err := os.Stat(filepath.Join(tree, "go.mod")); err != nil {
		return fmt.Errorf("%w; run it from the top of the tree, as make bench-report does", err)
	}
	dir := filepath.Join(tree, result.Dir)
	all, err := result.Load(dir)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return fmt.Errorf("there is no result in %s: run make bench, or make bench-NAME", result.Dir)
	}
	files, err := render(all)
	if err != nil {
		return err
	}
	old, err := filepath.Glob(filepath.Join(dir, "*.svg"))
	if err != nil {
		return err
	}
	for _, path := range old { // plots that are drawn no more
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	for path, content := range files {
		if err := os.WriteFile(filepath.Join(tree, filepath.FromSlash(path)), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// render makes the page and the plots, by path from the top of the tree.
func render(all []*result.Result) (map[string][]byte, error) {
	files := map[string][]byte{result.Dir + ".md": page(all)}
	for _, r := range all {
		for _, p := range r.Plots {
			path := result.Dir + "/" + p.File
			if files[path] != nil {
				return nil, fmt.Errorf("two plots are to be drawn into %s; %q is one of them", path, p.Title)
			}
			files[path] = plot.SVG(p)
		}
	}
	return files, nil
}
