package result

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
)

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

// Measured is the value with its unit.
func (f Figure) Measured() string { return withUnit(f.Value, f.Unit) }

// Wanted is the goal in words, or nothing.
func (f Figure) Wanted() string {
	switch {
	case f.Goal == nil:
		return ""
	case f.AtLeast:
		return "at least " + withUnit(*f.Goal, f.Unit)
	}
	return "at most " + withUnit(*f.Goal, f.Unit)
}

func withUnit(v float64, unit string) string {
	switch unit {
	case "":
		return Number(v)
	case "×", "%":
		return Number(v) + unit
	}
	return Number(v) + " " + unit
}

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
	fraction = strings.TrimRight(fraction, "0")
	sign := ""
	if strings.HasPrefix(whole, "-") {
		sign, whole = "-", whole[1:]
	}
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if fraction != "" {
		whole += "." + fraction
	}
	return sign + whole
}

// Print writes the result as text: figures, tables, what is missed.
func (r *Result) Print(w io.Writer) {
	fmt.Fprintf(w, "%s\n%s, %s\n%s\n", r.Title, r.Taken.Format("2006-01-02 15:04 MST"), r.Commit, r.Machine)
	if len(r.Figures) > 0 {
		fmt.Fprintln(w)
		rows := [][]string{}
		for _, f := range r.Figures {
			met := ""
			if !f.Met() {
				met = "MISSED"
			}
			rows = append(rows, []string{f.Name, f.Measured(), f.Wanted(), met, f.Note})
		}
		columns(w, rows)
	}
	for _, t := range r.Tables {
		fmt.Fprintf(w, "\n%s\n", t.Title)
		columns(w, append([][]string{t.Columns}, t.Rows...))
		if t.Note != "" {
			fmt.Fprintln(w, t.Note)
		}
	}
	if missed := len(r.Missed()); missed > 0 {
		fmt.Fprintf(w, "\n%d of %d figures miss their goal.\n", missed, len(r.Figures))
	}
}

// columns lines the cells up; no line ends in blanks.
func columns(w io.Writer, rows [][]string) {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(t, "  "+strings.Join(row, "\t"))
	}
	t.Flush()
	for line := range strings.Lines(b.String()) {
		fmt.Fprintln(w, strings.TrimRight(line, " \n"))
	}
}
