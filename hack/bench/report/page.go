package main

import (
	"bytes"
	"fmt"
	"path"
	"regexp"
	"strings"

	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/result"
)

const intro = `<!-- Made by make bench-report from docs/benchmarks/*.json. Do not edit. -->
# Benchmarks

What aws-multi-eni costs, and how fast it is, measured on one ordinary machine.
%s

**EC2 is simulated.** The [simulator](simulator.md) answers the real AWS SDK over HTTP,
with the limits that EC2 documents and latencies like EC2's; no AWS account is touched.
API server, etcd, agents and coordinators are the real programs, unless a chapter says
otherwise. So these figures tell what is ours: our own time, our calls, our
memory. How long EC2 itself takes in your account, only your account can tell.
`

// page is docs/benchmarks.md.
func page(all []*result.Result) []byte {
	w := &writer{}
	w.printf(intro, again(all))
	w.summary(all)
	w.machines(all)
	for _, r := range all {
		w.chapter(r, len(machines(all)) > 1)
	}
	return append(bytes.TrimSpace(bytes.ReplaceAll(w.Bytes(), []byte("\n\n\n"), []byte("\n\n"))), '\n')
}

// again says how the figures can be taken again.
func again(all []*result.Result) string {
	var commands []string
	for _, r := range all {
		commands = append(commands, code(r.Command))
	}
	return "`make bench` takes all of it again; " + join(commands) + " one part each."
}

func join(words []string) string {
	last := len(words) - 1
	if last < 1 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:last], ", ") + " and " + words[last]
}

type writer struct{ bytes.Buffer }

func (w *writer) printf(format string, args ...any) { fmt.Fprintf(w, format, args...) }

// summary has a line for each figure, and the missed ones once more.
func (w *writer) summary(all []*result.Result) {
	var rows [][]string
	var missed []string
	for _, r := range all {
		for i, f := range r.Figures {
			chapter := ""
			if i == 0 {
				chapter = fmt.Sprintf("[%s](#%s)", r.Title, anchor(r.Title))
			}
			met := ""
			switch {
			case !f.Met():
				met = "**missed**"
				missed = append(missed, fmt.Sprintf("**%s**: %s, the goal is %s. %s", f.Name, f.Measured(), f.Wanted(), f.Note))
			case f.Goal != nil:
				met = "met"
			}
			rows = append(rows, []string{chapter, f.Name, "**" + f.Measured() + "**", f.Wanted(), met})
		}
	}
	if len(rows) == 0 {
		return
	}
	w.printf("\n## In short\n\n")
	w.table([]string{"", "figure", "measured", "goal", ""}, rows)
	if len(missed) > 0 {
		w.printf("\nWhat is missed:\n\n%s", bullets(missed))
	}
}

// machines says on what, when and of what the figures are.
func (w *writer) machines(all []*result.Result) {
	w.printf("\n## Machine\n\n")
	for _, m := range machines(all) {
		w.printf("%s.\n", m)
	}
	w.printf("\n")
	var rows [][]string
	for _, r := range all {
		rows = append(rows, []string{r.Title, code(r.Command), r.Taken.Format("2006-01-02 15:04 UTC"), code(r.Commit), result.Number(r.Machine.Load)})
	}
	w.table([]string{"", "taken by", "when", "commit", "load before"}, rows)
}

// machines are those of all results, each once.
func machines(all []*result.Result) []string {
	var list []string
	seen := map[string]bool{}
	for _, r := range all {
		if m := r.Machine.String(); !seen[m] {
			seen[m] = true
			list = append(list, m)
		}
	}
	return list
}

// chapter is all about one benchmark: how it is done, plots, tables.
func (w *writer) chapter(r *result.Result, machine bool) {
	w.printf("\n## %s\n\n", r.Title)
	if machine {
		w.printf("On %s.\n\n", r.Machine)
	}
	for _, paragraph := range r.How {
		w.printf("%s\n\n", strings.TrimSpace(paragraph))
	}
	var notes []string
	for _, f := range r.Figures {
		if f.Note != "" && f.Met() { // the others stand in the summary
			notes = append(notes, fmt.Sprintf("**%s** (%s): %s", f.Name, f.Measured(), f.Note))
		}
	}
	w.printf("%s\n", bullets(notes))
	for _, p := range r.Plots {
		w.printf("![%s](%s/%s)\n\n", inline(p.Title), path.Base(result.Dir), p.File)
		w.note(p.Note)
	}
	for _, t := range r.Tables {
		w.printf("### %s\n\n", t.Title)
		w.table(t.Columns, t.Rows)
		w.printf("\n")
		w.note(t.Note)
	}
}

func (w *writer) note(text string) {
	if text != "" {
		w.printf("%s\n\n", text)
	}
}

// table writes a table, with columns of numbers to the right.
func (w *writer) table(columns []string, rows [][]string) {
	rule := make([]string, len(columns))
	for i := range columns {
		rule[i] = "---"
		if numeric(rows, i) {
			rule[i] = "--:"
		}
	}
	w.row(columns)
	w.printf("|%s|\n", strings.Join(rule, "|"))
	for _, row := range rows {
		w.row(row)
	}
}

func (w *writer) row(cells []string) {
	w.printf("|")
	for _, cell := range cells {
		if cell = inline(cell); cell == "" {
			w.printf(" |")
		} else {
			w.printf(" %s |", cell)
		}
	}
	w.printf("\n")
}

var number = regexp.MustCompile(`^[*+≤≥<>~ -]*[0-9][0-9,.]*\D*$`)

// numeric says whether all that a column has are numbers, with or without a unit.
func numeric(rows [][]string, column int) bool {
	some := false
	for _, row := range rows {
		if cell := strings.TrimSpace(row[column]); cell != "" {
			if !number.MatchString(cell) {
				return false
			}
			some = true
		}
	}
	return some
}

func bullets(items []string) string {
	var b strings.Builder
	for _, item := range items {
		b.WriteString("* " + strings.TrimSpace(item) + "\n")
	}
	return b.String()
}

// inline is text that neither ends its cell nor its line.
func inline(text string) string {
	return strings.TrimSpace(strings.NewReplacer("|", `\|`, "\n", " ").Replace(text))
}

func code(text string) string { return "`" + text + "`" }
