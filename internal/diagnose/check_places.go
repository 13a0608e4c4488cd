package diagnose

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/driver"
)

// offer is what a node offers to claims.
type offer struct {
	node string
	// room is how many more ENIs fit on each network card.
	room map[string]int64
	// free are the NodeENIs that have a place for another claim, and taints the reasons of
	// the places that have none for a while, by NodeENI.
	free   map[string]bool
	taints map[string]string
}

// offers are those of all nodes, by name.
func (p *podCase) offers() []*offer {
	byNode := map[string]*offer{}
	of := func(node string) *offer {
		if byNode[node] == nil {
			byNode[node] = &offer{node, map[string]int64{}, map[string]bool{}, map[string]string{}}
		}
		return byNode[node]
	}
	for i := range p.Slices {
		spec := p.Slices[i].Spec
		for _, set := range spec.SharedCounters {
			value := set.Counters[driver.PlacesCounter].Value
			of(spec.Pool.Name).room[set.Name] += value.Value()
		}
	}
	for node, o := range byNode {
		if state := p.states[node]; state != nil {
			for _, e := range state.Status.ENIs {
				if e.Claim != nil && !released(e) {
					o.room[driver.CounterSet(e.NetworkCard)]--
				}
			}
		}
	}
	for i := range p.Slices {
		spec := p.Slices[i].Spec
		for _, d := range spec.Devices {
			o, name := of(spec.Pool.Name), attribute(d, "nodeENI")
			room := len(d.ConsumesCounters) > 0 && o.room[d.ConsumesCounters[0].CounterSet] > 0
			switch {
			case p.hasClaim(spec.Pool.Name, d.Name):
			case len(d.Taints) > 0:
				o.taints[name] = strings.TrimPrefix(d.Taints[0].Key, driver.TaintPrefix)
			case room:
				o.free[name] = true
			}
		}
	}
	return slices.SortedFunc(maps.Values(byNode), func(a, b *offer) int { return strings.Compare(a.node, b.node) })
}

// hasClaim says whether a claim has the place of a device, by the report of its node.
func (p *podCase) hasClaim(node, device string) bool {
	state := p.states[node]
	if state == nil {
		return false
	}
	return slices.ContainsFunc(state.Status.ENIs, func(e v1alpha1.ENIState) bool {
		return e.Claim != nil && e.Place != nil && device == driver.DeviceName(e.NodeENI, string(e.NodeENIUID), e.SubnetID, *e.Place)
	})
}

func (o *offer) String() string {
	var parts []string
	if len(o.free) > 0 {
		parts = append(parts, "room for NodeENI "+strings.Join(slices.Sorted(maps.Keys(o.free)), ", "))
	}
	for _, name := range slices.Sorted(maps.Keys(o.taints)) {
		if !o.free[name] {
			parts = append(parts, fmt.Sprintf("NodeENI %s has the taint %s", name, o.taints[name]))
		}
	}
	if len(parts) == 0 {
		parts = []string{"no room for another ENI"}
	}
	return o.node + ": " + strings.Join(parts, "; ")
}

// checkPlaces says which nodes have room for an ENI of a claim that has none.
func (p *podCase) checkPlaces() []Step {
	const check = "places"
	if why := p.Unread[ResourceSlices]; why != "" {
		return []Step{unknown(check, "the ResourceSlices cannot be read: %s", why)}
	}
	offers := p.offers()
	if len(offers) == 0 {
		return []Step{p.noOffers()}
	}
	var free, full, tainted []string
	next := "add nodes, use larger instances, or wait until pods with claims end"
	for _, o := range offers {
		switch {
		case len(o.free) > 0:
			free = append(free, o.String())
		case len(o.taints) > 0:
			if len(tainted) == 0 {
				next = fmt.Sprintf("kubectl eni why %s %s", o.node, slices.Sorted(maps.Keys(o.taints))[0])
			}
			tainted = append(tainted, o.String())
		default:
			full = append(full, o.String())
		}
	}
	if len(free) == 0 {
		return []Step{bad(check, "NoPlaces", next, "no node has room for an ENI of a claim (%s)", some(slices.Concat(tainted, full)))}
	}
	step := ok(check, "%d of %s have room (%s)", len(free), count(len(offers), "node"), some(slices.Concat(free, tainted, full)))
	if e := p.lastEvent("FailedScheduling"); e != nil && p.Time.Sub(happened(e)) < 2*patience {
		return []Step{step, bad("scheduler", e.Reason, "compare the selectors of the claim and of the pod with the devices: kubectl get resourceslices -o yaml", "%s", e.Message).since(happened(e))}
	}
	return []Step{step}
}

// noOffers says why no node offers places, in the words of the first agent that reports it.
func (p *podCase) noOffers() Step {
	for _, node := range slices.Sorted(maps.Keys(p.states)) {
		for _, e := range p.states[node].Status.ENIs {
			if n := p.nodeENIs[e.NodeENI]; n != nil && n.Spec.Attach == v1alpha1.AttachOnDemand && e.Phase == v1alpha1.PhaseFailed {
				text, next := split(cmp.Or(e.Message, e.Reason))
				return bad("places", e.Reason, cmp.Or(next, "kubectl eni why "+node), "no agent offers places; the one on %s reports: %s", node, text).since(e.LastTransitionTime.Time)
			}
		}
	}
	return bad("places", "NoResourceSlices", "kubectl eni why nodeeni/"+p.onDemand()[0], "no agent offers places: there is no ResourceSlice of the driver %s", driver.Name)
}
