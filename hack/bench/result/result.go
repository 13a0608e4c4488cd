// Package result holds what the benchmark programs find: figures with their goals,
// tables and plots. Each program saves one file; hack/bench/report makes the page
// from them.
package result

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/text/language"
	"golang.org/x/text/message"
	"golang.org/x/text/number"
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

// Height is where the plot's axis ends: a little above the highest value.
func (p Plot) Height() float64 {
	var all []float64
	for _, s := range p.Series {
		all = append(all, s.Y...)
	}
	return 1.1 * slices.Max(all)
}

// Figure finds a figure.
func (r *Result) Figure(name string) (Figure, error) { return find(r, r.Figures, name) }

// Table finds a table.
func (r *Result) Table(title string) (Table, error) { return find(r, r.Tables, title) }

// Plot finds a plot.
func (r *Result) Plot(title string) (Plot, error) { return find(r, r.Plots, title) }

func (f Figure) title() string { return f.Name }
func (t Table) title() string  { return t.Title }
func (p Plot) title() string   { return p.Title }

func find[T interface{ title() string }](r *Result, all []T, title string) (found T, err error) {
	i := slices.IndexFunc(all, func(one T) bool { return one.title() == title })
	if i < 0 {
		return found, fmt.Errorf("%s.json has no %q", r.Name, title)
	}
	return all[i], nil
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

// Met says whether the figure is what it should be. One without a goal is.
func (f Figure) Met() bool { return f.Goal == nil || f.Value <= *f.Goal }

// Measured is the value with its unit.
func (f Figure) Measured() string { return withUnit(f.Value, f.Unit) }

// Most is the goal with its unit.
func (f Figure) Most() string { return withUnit(*f.Goal, f.Unit) }

// String is the figure in a line: "agent's binary: 18.9 MB (goal: at most 22 MB)".
func (f Figure) String() string {
	s := f.Name + ": " + f.Measured()
	if f.Goal != nil {
		s += " (goal: at most " + f.Most() + ")"
	}
	if !f.Met() {
		s += " MISSED"
	}
	return s
}

// Err is an error when the goal of a size or a count is missed. A missed time is
// none: a busy machine may be at fault.
func (r *Result) Err() error {
	var missed []string
	for _, f := range r.Figures {
		if !f.Met() && !slices.Contains([]string{"µs", "ms", "s"}, f.Unit) {
			missed = append(missed, f.String())
		}
	}
	if len(missed) == 0 {
		return nil
	}
	return fmt.Errorf("%s misses its goals:\n  %s", r.Name, strings.Join(missed, "\n  "))
}

func withUnit(v float64, unit string) string { return strings.TrimSpace(Number(v) + " " + unit) }

var english = message.NewPrinter(language.English)

// Number is a number for people: about three significant digits, whole numbers
// whole, thousands apart.
func Number(v float64) string {
	digits := 0
	switch a := math.Abs(v); {
	case a > 0 && a < 0.01:
		return strconv.FormatFloat(v, 'g', 2, 64)
	case a < 1:
		digits = 3
	case a < 10:
		digits = 2
	case a < 100:
		digits = 1
	}
	return english.Sprint(number.Decimal(v, number.MaxFractionDigits(digits)))
}

// Quantile is the least of the values that at least this part of them does not exceed.
func Quantile[T cmp.Ordered](values []T, part float64) (quantile T) {
	if len(values) == 0 {
		return quantile
	}
	i := int(math.Ceil(part*float64(len(values)))) - 1
	return slices.Sorted(slices.Values(values))[max(0, i)]
}

var numeric = regexp.MustCompile(`^[0-9][0-9,.]*[^0-9]*$`)

// String is the table in Markdown, with columns of numbers to the right.
func (t Table) String() string {
	rule := "|"
	for i := range t.Columns {
		if slices.ContainsFunc(t.Rows, func(row []string) bool { return !numeric.MatchString(row[i]) }) {
			rule += "---|"
		} else {
			rule += "--:|"
		}
	}
	lines := []string{Row(t.Columns...), rule}
	for _, row := range t.Rows {
		lines = append(lines, Row(row...))
	}
	return strings.Join(lines, "\n")
}

// Row is a line of a table in Markdown.
func Row(cells ...string) string {
	line := "|"
	for _, cell := range cells {
		line += strings.TrimRight(" "+strings.ReplaceAll(cell, "|", `\|`), " ") + " |"
	}
	return line
}
