package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

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

var phases = []phase{phaseLabel, phaseIdle, phaseRoll, phaseDelete, phaseCold}

// plan is what is measured at one size.
type plan struct {
	size
	phases []phase
}

const (
	defaultSizes = "10,50,100,250,1000,1000x2,5000"
	// fullSize is the size at which everything is measured.
	fullSize = 1000
	// largeSize is the size from which a cold start takes too long to be added.
	largeSize = 2500
	// maxNodes is what the subnets of package fleet hold, with an old and a new
	// node for each.
	maxNodes = 8000
)

// defaultPhases leaves out what would take long and tell little.
func defaultPhases(s size) []phase {
	switch {
	case s == size{fullSize, 1}:
		return phases
	case s.total() >= largeSize:
		return []phase{phaseLabel, phaseRoll, phaseDelete}
	case s.total() > fullSize:
		return []phase{phaseLabel, phaseDelete}
	}
	return []phase{phaseLabel, phaseDelete, phaseCold}
}

// parsePlans reads SIZES, such as 50,1000x2, and PHASES. partial says that phases
// were chosen: such a run is for a look, not for the report.
func parsePlans(sizes, chosen string) (plans []plan, partial bool, err error) {
	var only []phase
	for _, text := range split(chosen) {
		if only = append(only, phase(text)); !slices.Contains(phases, phase(text)) {
			return nil, false, fmt.Errorf("PHASES: %q is none of %v", text, phases)
		}
	}
	if len(split(sizes)) == 0 {
		sizes = defaultSizes
	}
	for _, text := range split(sizes) {
		nodes, enis, two := strings.Cut(text, "x")
		if two && enis != "1" && enis != "2" {
			return nil, false, fmt.Errorf("SIZES: %q: a node gets 1 or 2 ENIs", text)
		}
		p := plan{size{enis: 1}, only}
		if enis == "2" {
			p.enis = 2
		}
		if p.nodes, err = strconv.Atoi(nodes); err != nil || p.nodes < 1 || p.nodes > maxNodes {
			return nil, false, fmt.Errorf("SIZES: %q: want a number of nodes from 1 to %d, such as 1000, or 1000x2 for two ENIs each", text, maxNodes)
		}
		if len(only) == 0 {
			p.phases = defaultPhases(p.size)
		}
		plans = append(plans, p)
	}
	return plans, len(only) > 0, nil
}

func split(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}
