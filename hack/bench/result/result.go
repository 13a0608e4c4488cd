// Package result holds what the benchmark programs find: figures with their goals,
// tables and plots. Each program saves one file; hack/bench/report makes the pages
// from them.
package result

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os/exec"
	"regexp"
	"strings"
	"time"
)

// Dir is where results are kept, from the top of the tree.
const Dir = "docs/benchmarks"

// Result is what one benchmark program has found.
type Result struct {
	Name    string    `json:"name"` // of the file, and of the target: bench-NAME
	Title   string    `json:"title"`
	Command string    `json:"command"` // what takes it again
	Taken   time.Time `json:"taken"`
	Commit  string    `json:"commit"`
	Machine Machine   `json:"machine"`
	How     []string  `json:"how"`               // paragraphs: how figures were taken, what is simulated, limits
	Figures []Figure  `json:"figures,omitempty"` // each a line of the summary
	Tables  []Table   `json:"tables,omitempty"`
	Plots   []Plot    `json:"plots,omitempty"`
}

// Figure is a number that matters.
type Figure struct {
	Name    string   `json:"name"`
	Value   float64  `json:"value"`
	Unit    string   `json:"unit,omitempty"`
	Goal    *float64 `json:"goal,omitempty"`
	AtLeast bool     `json:"atLeast,omitempty"` // the goal is the least, not the most
	Note    string   `json:"note,omitempty"`
}

// Table has as many cells in each row as it has columns.
type Table struct {
	Title   string     `json:"title"`
	Columns []string   `json:"columns"`
	Rows    [][]string `json:"rows"`
	Note    string     `json:"note,omitempty"`
}

// Kinds of plots.
const (
	Line  = "line"  // series over numbers
	Bar   = "bar"   // series side by side over categories
	Stack = "stack" // series on top of each other over categories
)

// Plot is drawn into a file of Dir.
type Plot struct {
	File       string   `json:"file"` // NAME.svg
	Title      string   `json:"title"`
	XLabel     string   `json:"xLabel,omitempty"`
	YLabel     string   `json:"yLabel,omitempty"`
	LogX       bool     `json:"logX,omitempty"`
	LogY       bool     `json:"logY,omitempty"`
	Kind       string   `json:"kind"`
	Categories []string `json:"categories,omitempty"` // of bars and stacks
	Series     []Series `json:"series"`
	Note       string   `json:"note,omitempty"`
}

// Series has a Y for each X, or for each category of the plot.
type Series struct {
	Name   string    `json:"name"`
	X      []float64 `json:"x,omitempty"`
	Y      []float64 `json:"y"`
	Dashed bool      `json:"dashed,omitempty"` // a bound or a goal, not a measurement
}

// New is the result of a benchmark that starts now, on this machine, with this
// tree. Its command is make bench-NAME.
func New(ctx context.Context, name, title string) (*Result, error) {
	commit, err := commit(ctx)
	if err != nil {
		return nil, err
	}
	return &Result{
		Name: name, Title: title, Command: "make bench-" + name,
		Taken: time.Now().UTC().Truncate(time.Second), Commit: commit, Machine: ThisMachine(),
	}, nil
}

// commit names the tree's commit, and says when there is more in it than that; what
// benchmarks have written does not count.
func commit(ctx context.Context) (string, error) {
	head, err := git(ctx, "rev-parse", "--short=12", "HEAD")
	if err != nil {
		return "", err
	}
	changed, err := git(ctx, "status", "--porcelain", "--", ":(top)", ":(top,exclude)"+Dir, ":(top,exclude)"+Dir+".md")
	if changed != "" {
		head += " with changes"
	}
	return head, err
}

func git(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "git", args...).Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w; figures say of which commit they are, so take them in a clone", args[0], err)
	}
	return strings.TrimSpace(string(out)), nil
}

// Goal is for Figure.Goal.
func Goal(v float64) *float64 { return &v }

// Met says whether the figure is what it should be. One without a goal is.
func (f Figure) Met() bool {
	switch {
	case f.Goal == nil:
		return true
	case f.AtLeast:
		return f.Value >= *f.Goal
	}
	return f.Value <= *f.Goal
}

// Time says whether the figure is a time, which a busy machine changes. All others
// are sizes, counts and ratios.
func (f Figure) Time() bool {
	switch f.Unit {
	case "ns", "µs", "ms", "s", "min", "h":
		return true
	}
	return false
}

// Missed are the figures that are not what they should be.
func (r *Result) Missed() []Figure {
	var missed []Figure
	for _, f := range r.Figures {
		if !f.Met() {
			missed = append(missed, f)
		}
	}
	return missed
}

// Err is an error when the goal of a size or a count is missed. A missed time is
// none: it may be the machine's fault.
func (r *Result) Err() error {
	var missed []string
	for _, f := range r.Missed() {
		if !f.Time() {
			missed = append(missed, f.String())
		}
	}
	if len(missed) == 0 {
		return nil
	}
	return fmt.Errorf("%s misses its goals:\n  %s", r.Name, strings.Join(missed, "\n  "))
}

var (
	nameForm = regexp.MustCompile(`^[a-z][a-z-]*$`)
	plotForm = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*\.svg$`)
)

// check says what no page could be made of.
func (r *Result) check() error {
	if !nameForm.MatchString(r.Name) {
		return fmt.Errorf("a result's name is of the letters a-z and hyphens: %q", r.Name)
	}
	for _, f := range r.Figures {
		if !finite(f.Value) || f.Goal != nil && !finite(*f.Goal) {
			return fmt.Errorf("figure %q: %v is no number", f.Name, f.Value)
		}
	}
	for _, t := range r.Tables {
		for i, row := range t.Rows {
			if len(row) != len(t.Columns) {
				return fmt.Errorf("table %q: row %d has %d cells for %d columns", t.Title, i+1, len(row), len(t.Columns))
			}
		}
	}
	for _, p := range r.Plots {
		if err := p.check(); err != nil {
			return fmt.Errorf("plot %q: %w", p.Title, err)
		}
	}
	return nil
}

func (p Plot) check() error {
	if !plotForm.MatchString(p.File) {
		return fmt.Errorf("its file is named with a-z, 0-9 and hyphens, and .svg at the end: %q", p.File)
	}
	if len(p.Series) == 0 {
		return errors.New("it has no series")
	}
	if p.Kind != Line && p.Kind != Bar && p.Kind != Stack {
		return fmt.Errorf("its kind is %q: want %q, %q or %q", p.Kind, Line, Bar, Stack)
	}
	if p.Kind == Stack && p.LogY {
		return errors.New("a stack on a log axis shows nothing: its parts would not add up")
	}
	for _, s := range p.Series {
		over := len(s.X)
		if p.Kind != Line {
			over = len(p.Categories)
		}
		if len(s.Y) != over || over == 0 {
			return fmt.Errorf("series %q has %d values for %d places", s.Name, len(s.Y), over)
		}
		for _, v := range s.X {
			if !finite(v) || p.LogX && v <= 0 {
				return fmt.Errorf("series %q: %v is not on its x axis", s.Name, v)
			}
		}
		for _, v := range s.Y {
			if !finite(v) || p.LogY && v <= 0 {
				return fmt.Errorf("series %q: %v is not on its y axis", s.Name, v)
			}
		}
	}
	return nil
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
