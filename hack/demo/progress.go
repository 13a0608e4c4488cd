package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// notYet stands for the time of a step that has not been taken.
const notYet = "·"

// progress is a table of ENIs and of when each took which step.
type progress struct {
	steps []string
	began time.Time
	rows  []*row // sorted by node and NodeENI
}

// row is one ENI on its way.
type row struct {
	node, nodeENI, eni string
	state              string          // in a few words
	why                string          // what is awaited or wrong, when that is known
	at                 []time.Duration // since the beginning, of each step taken
}

func newProgress(began time.Time, steps ...string) *progress {
	return &progress{steps: steps, began: began}
}

// row finds or adds the row of an ENI.
func (p *progress) row(node, nodeENI string) *row {
	i, found := slices.BinarySearchFunc(p.rows, &row{node: node, nodeENI: nodeENI}, func(a, b *row) int {
		return cmp.Or(cmp.Compare(a.node, b.node), cmp.Compare(a.nodeENI, b.nodeENI))
	})
	if !found {
		p.rows = slices.Insert(p.rows, i, &row{node: node, nodeENI: nodeENI})
	}
	return p.rows[i]
}

// reach notes that the first n steps have been taken. A step is never taken
// back: it has been seen.
func (r *row) reach(n int, since time.Duration) {
	for len(r.at) < n {
		r.at = append(r.at, since)
	}
}

// unfinished are the rows that have not taken every step.
func (p *progress) unfinished() []string {
	var rest []string
	for _, r := range p.rows {
		if len(r.at) < len(p.steps) {
			rest = append(rest, fmt.Sprintf("%s of %s: %s", r.nodeENI, r.node, cmp.Or(r.why, r.state, "no report")))
		}
	}
	return rest
}

// lines draw the table: how long each step took, and all of them together, of
// each ENI that something is known of.
func (p *progress) lines() []string {
	header := fmt.Sprintf("%-7s %-8s", "NODE", "NODEENI")
	for _, step := range p.steps {
		header += fmt.Sprintf(" %7s", step)
	}
	lines := []string{header + fmt.Sprintf(" %7s  %-17s  %s", "TOTAL", "STATE", "ENI")}
	for _, r := range p.rows {
		if r.state == "" {
			continue // nothing is known of it yet
		}
		line := fmt.Sprintf("%-7s %-8s", r.node, r.nodeENI)
		var last time.Duration
		for i := range p.steps {
			took := notYet
			if i < len(r.at) {
				took = seconds(r.at[i] - last)
				last = r.at[i]
			}
			line += fmt.Sprintf(" %7s", took)
		}
		total := notYet
		if len(r.at) == len(p.steps) {
			total = seconds(last)
		}
		lines = append(lines, strings.TrimRight(line+fmt.Sprintf(" %7s  %-17s  %s", total, r.state, r.eni), " "))
	}
	return lines
}
