package inventory

import (
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

var (
	uses      = []string{Assigned: "Assigned", Releasing: "Releasing", Released: "Released", Left: "Left", Returning: "Returning"}
	links     = []string{LinkNeverSeen: "NeverSeen", LinkSeen: "Seen", LinkLost: "Lost"}
	evidences = []string{Reported: "Reported", Disputed: "Disputed", Expected: "Expected", Shown: "Shown", Missed: "Missed"}
)

// The diagrams in docs/architecture.md have each transition that an ENI's use, its evidence
// and its link can make, and no other.
func TestStateDiagrams(t *testing.T) {
	seen := map[string]map[string]bool{"use": {}, "evidence": {}, "link": {}}
	for seed := range uint64(5000) {
		walk(rand.New(rand.NewPCG(seed, 0)), seen)
	}
	for name, transitions := range seen {
		drawn := diagram(t, name)
		for transition := range transitions {
			if !drawn[transition] {
				t.Errorf("the diagram of the %s lacks %s", name, transition)
			}
		}
		for transition := range drawn {
			if !transitions[transition] {
				t.Errorf("the diagram of the %s has %s, which nothing does", name, transition)
			}
		}
	}
}

// walk takes an ENI through events in an order that could happen, and notes the
// transitions.
func walk(r *rand.Rand, seen map[string]map[string]bool) {
	now := time.Unix(100_000, 0)
	x := fixture("eni-x", "x").at(me, 2, "attached")
	slot := map[Slot]string{x.Slot(): x.ID}
	i := told(r.IntN(2) == 0, now)
	if r.IntN(4) == 0 {
		i = New("c", self, r.IntN(2) == 0, time.Hour, slog.New(slog.DiscardHandler))
	}
	state := func() map[string]string {
		if e, ok := i.Get(x.ID); ok {
			return map[string]string{"use": uses[e.Use], "evidence": evidences[e.Evidence], "link": links[e.Link]}
		}
		return map[string]string{"use": "[*]", "evidence": "[*]", "link": "[*]"}
	}
	step := func(do func()) {
		before := state()
		do()
		for name, now := range state() {
			if now != before[name] && (now != "[*]" || name == "evidence") { // which alone says when one is gone
				seen[name][before[name]+" --> "+now] = true
			}
		}
	}
	here := r.IntN(2) == 0
	switch r.IntN(3) {
	case 0:
		step(func() { i.Created(x.ENI, now) })
	case 1:
		reported := x.with(func(e *ENI) {
			e.Evidence, e.Use, e.Link = Reported, []Use{Assigned, Released}[r.IntN(2)], []Link{LinkNeverSeen, LinkSeen}[r.IntN(2)]
		})
		step(func() { i.Restore([]ENI{reported}, now) })
	case 2:
		step(func() { i.Describe([]eni.ENI{x.ENI}, nowhere, now) })
	}
	for range 12 {
		now = now.Add([]time.Duration{time.Second, time.Minute, 10 * time.Minute}[r.IntN(3)])
		e, ok := i.Get(x.ID)
		if !ok {
			return
		}
		event := r.IntN(6)
		if !i.Synced() && (event == 1 || event == 5) {
			continue // before EC2 has told, nothing is given up and no link is changed
		}
		switch event {
		case 0:
			step(func() { i.Assign(slot, nil) })
		case 1:
			step(func() { i.Assign(nil, []string{x.ID}) })
		case 2:
			step(func() { i.Describe([]eni.ENI{x.ENI}, nowhere, now) })
		case 3:
			step(func() { i.Describe(nil, func(string) bool { return here }, now) })
		case 4:
			here = !here
		case 5:
			if e.Use == Left && e.collects && r.IntN(2) == 0 {
				step(func() { i.Deleted(x.ID, now) })
				return
			}
			changes := []LinkChange{LinkTakenDown, LinkLeft}
			if !e.TakenDown() { // the links of others are looked at
				changes = append(changes, LinkHere, LinkVanished, LinkAbsent)
			}
			step(func() { i.NoteLink(x.ID, changes[r.IntN(len(changes))], now) })
		}
	}
}

// diagram is the state diagram with that title in docs/architecture.md.
func diagram(t *testing.T, title string) map[string]bool {
	t.Helper()
	text, err := os.ReadFile("../../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, ok := strings.Cut(string(text), fmt.Sprintf("title: %s of an ENI\n---\nstateDiagram-v2\n", title))
	if !ok {
		t.Fatalf("docs/architecture.md has no diagram of the %s", title)
	}
	block, _, _ := strings.Cut(after, "```")
	drawn := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\s*(\S+) --> ([^\s:]+)`).FindAllStringSubmatch(block, -1) {
		drawn[m[1]+" --> "+m[2]] = true
	}
	if len(drawn) == 0 {
		t.Fatalf("the diagram of the %s has no transitions; all titles: %v", title, slices.Collect(maps.Keys(drawn)))
	}
	return drawn
}
