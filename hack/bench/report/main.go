// Command report makes docs/benchmarks.md from docs/benchmarks/*.json, which the
// benchmarks write, and from page.md.tmpl. Run it with `make bench-report`.
package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template"

	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/result"
)

//go:embed page.md.tmpl
var pageTemplate string

func main() {
	text, err := page(result.Dir)
	if err == nil {
		err = os.WriteFile(result.Dir+".md", text, 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
}

// page is docs/benchmarks.md: the same results give the same page.
func page(dir string) ([]byte, error) {
	var all results
	for _, name := range result.Names {
		r, err := result.Load(dir, name)
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	t, err := template.New("page.md.tmpl").Funcs(template.FuncMap{
		"row": all.row, "goals": all.goals, "runs": all.runs, "table": all.table, "plot": all.plot,
	}).Parse(pageTemplate)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = t.Execute(&b, nil)
	return b.Bytes(), err
}

type results []*result.Result

// find finds what is named in a list of a result.
func find[T any](all results, name, title string, list func(*result.Result) []T, titleOf func(T) string) (found T, err error) {
	for _, r := range all {
		if r.Name != name {
			continue
		}
		for _, one := range list(r) {
			if titleOf(one) == title {
				return one, nil
			}
		}
	}
	return found, fmt.Errorf("%s.json has no %q", name, title)
}

// row is a line of the summary, for one or more figures of a result.
func (all results) row(label, name string, titles ...string) (string, error) {
	var measured, goals []string
	met := ""
	for _, title := range titles {
		f, err := find(all, name, title, func(r *result.Result) []result.Figure { return r.Figures }, func(f result.Figure) string { return f.Name })
		if err != nil {
			return "", err
		}
		measured = append(measured, "**"+f.Measured()+"**")
		switch {
		case f.Goal == nil:
			continue
		case !f.Met():
			met = "**missed**"
		case met == "":
			met = "met"
		}
		if goal := strings.TrimPrefix(f.Wanted(), "at most "); !slices.Contains(goals, goal) {
			goals = append(goals, goal)
		}
	}
	return line([]string{label, strings.Join(measured, ", "), strings.Join(goals, ", "), met}), nil
}

// goals says how many there are, and which are missed.
func (all results) goals() string {
	n, missed := 0, ""
	for _, r := range all {
		for _, f := range r.Figures {
			if f.Goal != nil {
				n++
			}
			if !f.Met() {
				missed += strings.TrimRight(fmt.Sprintf("\n* **%s**: %s, the goal is %s. %s", f.Name, f.Measured(), f.Wanted(), f.Note), " ")
			}
		}
	}
	if missed == "" {
		return fmt.Sprintf("All %d goals are met.", n)
	}
	return fmt.Sprintf("Missed, of %d goals:\n%s", n, missed)
}

// runs says on what, when and from which commit the figures were taken.
func (all results) runs() string {
	t := result.Table{Columns: []string{"taken with", "when", "commit", "load before"}}
	var machines []string
	remarks := ""
	for _, r := range all {
		command := "`make bench-" + r.Name + "`"
		t.Rows = append(t.Rows, []string{command, r.Taken.Format("2006-01-02 15:04 UTC"), "`" + r.Commit + "`", result.Number(r.Machine.Load)})
		if m := r.Machine.String(); !slices.Contains(machines, m) {
			machines = append(machines, m)
		}
		if r.Remark != "" {
			remarks += "\n\nAbout " + command + ": " + r.Remark
		}
	}
	return "Machine: " + strings.Join(machines, "; ") + ".\n\n" + markdown(t) + remarks
}

// table is a table of a result.
func (all results) table(name, title string) (string, error) {
	t, err := find(all, name, title, func(r *result.Result) []result.Table { return r.Tables }, func(t result.Table) string { return t.Title })
	return markdown(t), err
}

var number = regexp.MustCompile(`^[0-9][0-9,.]*[^0-9]*$`)

// markdown writes a table, with columns of numbers to the right.
func markdown(t result.Table) string {
	lines := []string{line(t.Columns), "|"}
	for i := range t.Columns {
		rule := "--:|"
		if slices.ContainsFunc(t.Rows, func(row []string) bool { return !number.MatchString(row[i]) }) {
			rule = "---|"
		}
		lines[1] += rule
	}
	for _, row := range t.Rows {
		lines = append(lines, line(row))
	}
	return strings.Join(lines, "\n")
}

func line(cells []string) string {
	text := "|"
	for _, cell := range cells {
		text += strings.TrimRight(" "+strings.ReplaceAll(cell, "|", `\|`), " ") + " |"
	}
	return text
}

// plot is a plot of a result, for Mermaid.
func (all results) plot(name, title string) (string, error) {
	p, err := find(all, name, title, func(r *result.Result) []result.Plot { return r.Plots }, func(p result.Plot) string { return p.Title })
	if err != nil {
		return "", err
	}
	most, bodies := 0.0, ""
	var legend []string
	for _, s := range p.Series {
		shape, shapes := "bar", "Bars"
		if s.Line {
			shape, shapes = "line", "Line"
		}
		legend = append(legend, shapes+": "+s.Name+".")
		values := make([]string, len(s.Y))
		for i, y := range s.Y {
			most = max(most, y)
			values[i] = strconv.FormatFloat(y, 'f', 2, 64)
		}
		bodies += fmt.Sprintf("    %s [%s]\n", shape, strings.Join(values, ", "))
	}
	categories := make([]string, len(p.Categories))
	for i, c := range p.Categories {
		categories[i] = strconv.Quote(c)
	}
	return fmt.Sprintf("```mermaid\nxychart-beta\n    title %q\n    x-axis %q [%s]\n    y-axis %q 0 --> %.4g\n%s```\n\n%s",
		p.Title, p.XLabel, strings.Join(categories, ", "), p.YLabel, 1.1*most, bodies, strings.Join(legend, " ")), nil
}
