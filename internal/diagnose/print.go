package diagnose

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// Printer writes for people. All that it writes is made printable: messages of agents,
// names and tags may contain control characters.
type Printer struct {
	Out io.Writer
	// Color colors marks and reasons.
	Color bool
}

var marks = map[Mark]string{OK: "✓", Bad: "✗", Unknown: "–"}

var colors = map[Mark]string{OK: "\x1b[32m", Bad: "\x1b[31m", Unknown: "\x1b[33m"}

func (p Printer) mark(m Mark) string {
	if !p.Color {
		return marks[m]
	}
	return colors[m] + marks[m] + "\x1b[0m"
}

func (p Printer) line(format string, args ...any) {
	for i, a := range args {
		if text, isText := a.(string); isText {
			args[i] = v1alpha1.Printable(text)
		}
	}
	fmt.Fprintf(p.Out, format+"\n", args...)
}

// Explanation writes chains, each with what to do next.
func (p Printer) Explanation(e Explanation) {
	p.line("%s", e.Title)
	for _, g := range e.Groups {
		p.group(e, g)
	}
	if len(e.Ready) > 0 {
		fmt.Fprintln(p.Out)
		p.step(Step{Mark: OK, Check: "ready", Text: count(len(e.Ready), e.Kind) + ": " + some(e.Ready)})
	}
}

func (p Printer) group(e Explanation, g Group) {
	fmt.Fprintln(p.Out)
	if e.Kind == "node" && g.Node != "" {
		p.line("on %s", g.Node)
	}
	if e.Kind == "NodeENI" && g.NodeENI != "" {
		p.line("NodeENI %s", g.NodeENI)
	}
	for _, s := range g.Steps {
		p.step(s)
	}
	if len(g.Also) > 0 {
		p.line("the same for %s: %s", count(len(g.Also), e.Kind), some(g.Also))
	}
	var said []string
	for _, s := range g.Causes() {
		if s.Next != "" && !slices.Contains(said, s.Next) {
			said = append(said, s.Next)
			p.line("next: %s", s.Next)
		}
	}
	if g.Chain.Ready() {
		p.line("next: nothing, everything is ready")
	}
}

func (p Printer) step(s Step) {
	text := v1alpha1.Printable(s.Text)
	if s.Mark != OK && s.Reason != "" {
		text += " [" + v1alpha1.Printable(s.Reason) + "]"
	}
	fmt.Fprintf(p.Out, "%s %-12s %s\n", p.mark(s.Mark), v1alpha1.Printable(s.Check), text)
}

func count(n int, kind string) string {
	if n == 1 {
		return "1 " + kind
	}
	return fmt.Sprintf("%d %ss", n, kind)
}

// some names the first of many.
func some(names []string) string {
	if len(names) <= 10 {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:10], ", "), len(names)-10)
}

// Fleet writes a line for each NodeENI, and all that is not ready.
func (p Printer) Fleet(fleet Fleet, wide bool) {
	p.notRead(fleet)
	if len(fleet.NodeENIs) == 0 {
		p.line("There is no NodeENI. For examples, see %s/examples", repository)
		return
	}
	now := fleet.index.Time
	rows := [][]string{{"NODEENI", "MATCHING", "READY", "NOT READY", "AGE", "MESSAGE"}}
	for _, s := range fleet.NodeENIs {
		rows = append(rows, []string{s.NodeENI, fmt.Sprint(s.Matching), fmt.Sprint(s.Ready), fmt.Sprint(s.Matching - s.Ready), age(now, s.Created), s.Message})
	}
	p.table(rows)
	if wide {
		p.enis(fleet)
	}
	if fleet.Coordinator.Mark == Bad {
		fmt.Fprintln(p.Out)
		p.step(fleet.Coordinator)
		p.line("next: %s", fleet.Coordinator.Next)
	}
	if len(fleet.NotReady) == 0 {
		return
	}
	fmt.Fprintln(p.Out)
	rows = [][]string{{"SINCE", "NODE", "NODEENI", "STEP", "REASON", "MESSAGE"}}
	for _, t := range fleet.NotReady {
		rows = append(rows, []string{age(now, t.Since), cmp.Or(t.Node, "-"), t.NodeENI, t.Check, cmp.Or(t.Reason, "-"), t.Message})
	}
	p.table(rows)
	t := fleet.NotReady[0]
	if t.Node == "" && fleet.index.nodes[t.NodeENI] != nil {
		t.NodeENI = "nodeeni/" + t.NodeENI
	}
	fmt.Fprintln(p.Out)
	p.line("What to do about the first one: kubectl eni why %s", strings.TrimSpace(t.Node+" "+t.NodeENI))
}

func (p Printer) enis(fleet Fleet) {
	fmt.Fprintln(p.Out)
	rows := [][]string{{"NODE", "NODEENI", "PHASE", "REASON", "ENI", "SUBNET", "CARD", "INDEX", "LINK", "MTU", "ADDRESSES"}}
	all := fleet.ENIs()
	onDemand := slices.ContainsFunc(all, func(e ENI) bool { return e.Place != nil })
	if onDemand {
		rows[0] = append(rows[0], "PLACE", "CLAIM")
	}
	for _, e := range all {
		row := []string{
			e.Node, e.NodeENI, cmp.Or(string(e.Phase), "-"), cmp.Or(e.Reason, "-"), cmp.Or(e.ENIID, "-"), cmp.Or(e.SubnetID, "-"),
			fmt.Sprint(e.NetworkCard), fmt.Sprint(e.DeviceIndex), cmp.Or(e.InterfaceName, "-"), fmt.Sprint(e.MTU), cmp.Or(strings.Join(e.Addresses, ","), "-"),
		}
		if onDemand {
			row = append(row, placeAndClaim(e)...)
		}
		rows = append(rows, row)
	}
	p.table(rows)
}

// placeAndClaim are "-" for an ENI that is not on demand. One without a claim waits for the
// next one.
func placeAndClaim(e ENI) []string {
	switch {
	case e.Place == nil:
		return []string{"-", "-"}
	case e.Claim == nil:
		return []string{fmt.Sprint(*e.Place), "none"}
	}
	return []string{fmt.Sprint(*e.Place), e.Claim.Namespace + "/" + e.Claim.Name}
}

// notRead says what is missing because it could not be read.
func (p Printer) notRead(fleet Fleet) {
	for _, r := range slices.Sorted(maps.Keys(fleet.Unread)) {
		p.line("%s could not be read: %s", string(r), fleet.Unread[r])
	}
	if len(fleet.Unread) > 0 {
		fmt.Fprintln(p.Out)
	}
}

func (p Printer) table(rows [][]string) {
	w := tabwriter.NewWriter(p.Out, 0, 0, 3, ' ', 0)
	for _, row := range rows {
		for i := range row {
			row[i] = v1alpha1.Printable(row[i])
		}
		fmt.Fprintln(w, strings.TrimRight(strings.Join(row, "\t"), "\t"))
	}
	_ = w.Flush()
}

func age(now, since time.Time) string {
	if since.IsZero() {
		return "-"
	}
	return duration.HumanDuration(max(0, now.Sub(since)))
}
