// Command scale measures how a large fleet comes up, changes and goes: real
// agents, a real API server and a real coordinator, against a simulated EC2 with
// its documented limits. Run it with `make bench-scale`; see package fleet for
// what is real.
package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/result"
)

func main() {
	if socket := os.Getenv(workerEnv); socket != "" {
		work(socket)
		return
	}
	sizes := os.Getenv("SIZES")
	result.Main("scale", sizes != "", func(b *result.Bench, r *result.Result) {
		plans, err := planned(sizes)
		b.Must(err)
		var found []*figures
		for _, p := range plans {
			err := result.Try(b.Context(), func(b *result.Bench) { found = append(found, measure(b, p)) })
			if err != nil {
				b.Check(fmt.Errorf("%v nodes: %w", p.size, err))
				break // what has been measured in an hour is not lost
			}
		}
		report(r, found)
	})
}

// size is how many nodes there are, and how many ENIs each has.
type size struct{ nodes, enis int }

func (s size) String() string {
	if s.enis == 1 {
		return strconv.Itoa(s.nodes)
	}
	return fmt.Sprintf("%d×%d", s.nodes, s.enis)
}

func (s size) total() int { return s.nodes * s.enis }

// bound is the least time in seconds that EC2's bucket lets so many calls of
// AttachNetworkInterface take, and as many of DetachNetworkInterface.
func (s size) bound() float64 { return max(0, float64(s.total()-50)/5) }

// phase is something that happens to a fleet. They run in this order.
type phase string

const (
	phaseLabel  phase = "label"  // all nodes are labelled at once
	phaseIdle   phase = "idle"   // nothing happens for an hour
	phaseRoll   phase = "roll"   // all nodes are replaced, a tenth at a time
	phaseDelete phase = "delete" // the NodeENIs are deleted
	phaseCold   phase = "cold"   // all agents start at once on labelled nodes
)

// plan is what is measured at one size. It begins with phaseLabel, and phaseCold needs
// phaseDelete.
type plan struct {
	size
	phases []phase
}

var allPhases = []phase{phaseLabel, phaseIdle, phaseRoll, phaseDelete, phaseCold}

// plans are for the page. They leave out what would take long and tell little.
var plans = []plan{
	{size{10, 1}, []phase{phaseLabel, phaseDelete, phaseCold}},
	{size{50, 1}, []phase{phaseLabel, phaseDelete, phaseCold}},
	{size{100, 1}, []phase{phaseLabel, phaseDelete, phaseCold}},
	{size{250, 1}, []phase{phaseLabel, phaseDelete, phaseCold}},
	{size{1000, 1}, allPhases},
	{size{1000, 2}, []phase{phaseLabel, phaseDelete}},
	{size{5000, 1}, []phase{phaseLabel, phaseRoll, phaseDelete}},
}

// maxNodes is what the subnets of package fleet hold, with an old and a new node for each.
const maxNodes = 8000

// planned reads SIZES, such as 50,1000x2, as plans with all phases.
func planned(sizes string) (chosen []plan, err error) {
	if sizes == "" {
		return plans, nil
	}
	for text := range strings.SplitSeq(sizes, ",") {
		p := plan{size{enis: 1}, allPhases}
		nodes, two := strings.CutSuffix(text, "x2")
		if two {
			p.enis = 2
		}
		if p.nodes, err = strconv.Atoi(nodes); err != nil || p.nodes < 1 || p.nodes > maxNodes {
			return nil, fmt.Errorf("SIZES: %q: want a number of nodes from 1 to %d, such as 1000, or 1000x2 for two ENIs each", text, maxNodes)
		}
		chosen = append(chosen, p)
	}
	return chosen, nil
}
