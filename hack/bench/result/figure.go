package result

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Met says whether the figure is what it should be. One without a goal is.
func (f Figure) Met() bool { return f.Goal == nil || f.Value <= *f.Goal }

// Time says whether the figure is a time, which a busy machine changes. All others
// are sizes, counts and ratios.
func (f Figure) Time() bool {
	return slices.Contains([]string{"ns", "µs", "ms", "s", "min", "h"}, f.Unit)
}

// Measured is the value with its unit.
func (f Figure) Measured() string { return withUnit(f.Value, f.Unit) }

// Wanted is the goal in words, or nothing.
func (f Figure) Wanted() string {
	if f.Goal == nil {
		return ""
	}
	return "at most " + withUnit(*f.Goal, f.Unit)
}

// String is the figure in a line: "agent's binary: 18.9 MB (goal: at most 22 MB)".
func (f Figure) String() string {
	s := f.Name + ": " + f.Measured()
	if f.Goal != nil {
		s += " (goal: " + f.Wanted() + ")"
	}
	if !f.Met() {
		s += " MISSED"
	}
	return s
}

// Missed are the figures that are not what they should be.
func (r *Result) Missed() []Figure {
	return slices.DeleteFunc(slices.Clone(r.Figures), Figure.Met)
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

func withUnit(v float64, unit string) string { return strings.TrimSpace(Number(v) + " " + unit) }

// Number is a number for people: about three significant digits, whole numbers
// whole, thousands apart.
func Number(v float64) string {
	digits := 0
	switch a := max(v, -v); {
	case a == float64(int64(a)):
	case a < 0.01:
		return strconv.FormatFloat(v, 'g', 2, 64)
	case a < 1:
		digits = 3
	case a < 10:
		digits = 2
	case a < 100:
		digits = 1
	}
	whole, fraction, _ := strings.Cut(strconv.FormatFloat(v, 'f', digits, 64), ".")
	whole, negative := strings.CutPrefix(whole, "-")
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if fraction = strings.TrimRight(fraction, "0"); fraction != "" {
		whole += "." + fraction
	}
	if negative {
		whole = "-" + whole
	}
	return whole
}
