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

func (p plan) has(one phase) bool { return slices.Contains(p.phases, one) }

const (
	defaultSizes = "10,50,100,250,1000,1000x2,5000"
	// fullSize is the size at which everything is measured.
	fullSize = 1000
	// largeSize is the size from which a cold start takes too long to be added.
	largeSize = 2500
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
		p := phase(text)
		if !slices.Contains(phases, p) {
			return nil, false, fmt.Errorf("PHASES: %q is none of %v", text, phases)
		}
		only = append(only, p)
	}
	if len(split(sizes)) == 0 {
		sizes = defaultSizes
	}
	for _, text := range split(sizes) {
		s, err := parseSize(text)
		if err != nil {
			return nil, false, err
		}
		p := plan{s, only}
		if len(only) == 0 {
			p.phases = defaultPhases(s)
		}
		plans = append(plans, p)
	}
	return plans, len(only) > 0, nil
}

func split(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}

// maxNodes is what the subnets of package fleet hold, with an old and a new node
// for each.
const maxNodes = 8000

func parseSize(text string) (size, error) {
	nodes, enis, two := strings.Cut(text, "x")
	s := size{enis: 1}
	var err error
	if s.nodes, err = strconv.Atoi(nodes); err != nil || s.nodes < 1 || s.nodes > maxNodes {
		return s, fmt.Errorf("SIZES: %q: want a number of nodes from 1 to %d, such as 1000, or 1000x2 for two ENIs each", text, maxNodes)
	}
	if two && enis != "1" && enis != "2" {
		return s, fmt.Errorf("SIZES: %q: a node gets 1 or 2 ENIs", text)
	}
	if enis == "2" {
		s.enis = 2
	}
	return s, nil
}
