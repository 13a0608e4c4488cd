// Package result holds what the benchmark programs find: figures with their goals,
// tables and plots. Each program saves one file; hack/bench/report makes the page
// from them.
package result

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Dir is where results are kept, from the top of the tree.
const Dir = "docs/benchmarks"

// Names are those of all results, in the order of their chapters.
var Names = []string{"latency", "scale", "footprint", "go"}

// Result is what one benchmark program has found.
type Result struct {
	Name    string    `json:"name"` // of the file, and of the target: bench-NAME
	Taken   time.Time `json:"taken"`
	Commit  string    `json:"commit"`
	Machine Machine   `json:"machine"`
	Remark  string    `json:"remark,omitempty"` // written by hand: what was special about this run
	Figures []Figure  `json:"figures"`
	Tables  []Table   `json:"tables"`
	Plots   []Plot    `json:"plots,omitempty"`
}

// Figure is a number that matters. Its goal is the most that it may be.
type Figure struct {
	Name  string   `json:"name"`
	Value float64  `json:"value"`
	Unit  string   `json:"unit,omitempty"`
	Goal  *float64 `json:"goal,omitempty"`
	Note  string   `json:"note,omitempty"`
}

// Table has as many cells in each row as it has columns.
type Table struct {
	Title   string     `json:"title"`
	Columns []string   `json:"columns"`
	Rows    [][]string `json:"rows"`
}

// Plot is a chart over categories.
type Plot struct {
	Title      string   `json:"title"`
	XLabel     string   `json:"xLabel"`
	YLabel     string   `json:"yLabel"`
	Categories []string `json:"categories"`
	Series     []Series `json:"series"`
}

// Series has a Y for each category. It is drawn as bars, or as a line: Mermaid has no
// legend, so a plot has at most one of each.
type Series struct {
	Name string    `json:"name"`
	Y    []float64 `json:"y"`
	Line bool      `json:"line,omitempty"`
}

// Save writes the result into dir, as NAME.json.
func (r *Result) Save(dir string) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err == nil {
		err = r.check()
	}
	if err != nil {
		return fmt.Errorf("result %s: %w", r.Name, err)
	}
	return os.WriteFile(filepath.Join(dir, r.Name+".json"), append(data, '\n'), 0o644)
}

// Load reads a result of dir.
func Load(dir, name string) (*Result, error) {
	path := filepath.Join(dir, name+".json")
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%w; run make bench-%s", err, name)
	}
	r := &Result{}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err = d.Decode(r); err == nil {
		err = r.check()
	}
	if err == nil && r.Name != name {
		err = fmt.Errorf("it holds the result %q", r.Name)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// check says what no page could be made of.
func (r *Result) check() error {
	for _, t := range r.Tables {
		for i, row := range t.Rows {
			if len(row) != len(t.Columns) {
				return fmt.Errorf("table %q: row %d has %d cells for %d columns", t.Title, i+1, len(row), len(t.Columns))
			}
		}
	}
	for _, p := range r.Plots {
		for _, s := range p.Series {
			if len(s.Y) != len(p.Categories) || len(s.Y) == 0 {
				return fmt.Errorf("plot %q: series %q has %d values for %d categories", p.Title, s.Name, len(s.Y), len(p.Categories))
			}
		}
	}
	return nil
}
