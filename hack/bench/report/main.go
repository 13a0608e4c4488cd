// Command report makes docs/benchmarks.md from docs/benchmarks/*.json, which the
// benchmarks write, and from page.md.tmpl. Run it with `make bench-report`.
package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/template"

	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/result"
)

//go:embed page.md.tmpl
var pageText string

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{"row": row, "goals": goals, "runs": runs}).Parse(pageText))

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
	all := map[string]*result.Result{}
	for _, name := range result.Names {
		r, err := result.Load(dir, name)
		if err != nil {
			return nil, err
		}
		all[name] = r
	}
	var b bytes.Buffer
	err := pageTemplate.Execute(&b, all)
	return b.Bytes(), err
}

// row is a line of the summary, for one or more figures of a result.
func row(label string, r *result.Result, names ...string) (string, error) {
	var measured, goals []string
	met := ""
	for _, name := range names {
		f, err := r.Figure(name)
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
		if most := f.Most(); !slices.Contains(goals, most) {
			goals = append(goals, most)
		}
	}
	return result.Row(label, strings.Join(measured, ", "), strings.Join(goals, ", "), met), nil
}

// goals says how many there are, and which are missed.
func goals(all map[string]*result.Result) string {
	n, missed := 0, ""
	for _, name := range result.Names {
		for _, f := range all[name].Figures {
			if f.Goal != nil {
				n++
			}
			if !f.Met() {
				missed += strings.TrimRight(fmt.Sprintf("\n* **%s**: %s, the goal is at most %s. %s", f.Name, f.Measured(), f.Most(), f.Note), " ")
			}
		}
	}
	if missed == "" {
		return fmt.Sprintf("All %d goals are met.", n)
	}
	return fmt.Sprintf("The following of %d goals were missed:\n%s", n, missed)
}

// runs says on what, when and from which commit the figures were taken.
func runs(all map[string]*result.Result) string {
	t := result.Table{Columns: []string{"taken with", "when", "commit", "load before"}}
	var machines []string
	remarks := ""
	for _, name := range result.Names {
		r, command := all[name], "`make bench-"+name+"`"
		t.Rows = append(t.Rows, []string{command, r.Taken.Format("2006-01-02 15:04 UTC"), "`" + r.Commit + "`", result.Number(r.Machine.Load)})
		if m := r.Machine.String(); !slices.Contains(machines, m) {
			machines = append(machines, m)
		}
		if r.Remark != "" {
			remarks += "\n\nAbout " + command + ": " + r.Remark
		}
	}
	return "Machine: " + strings.Join(machines, "; ") + ".\n\n" + t.String() + remarks
}
