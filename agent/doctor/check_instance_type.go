package doctor

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/utils/ptr"

	"github.com/aws-multi-eni/aws-multi-eni/agent"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

const instanceTypeCheck = "instance type"

// checkInstanceType: what EC2 says about the network of the instance type.
func checkInstanceType(f Facts) []Result {
	if f.EC2 == nil || f.EC2.Forecast == nil {
		return nil
	}
	t := f.EC2.InstanceType
	switch {
	case f.EC2.InstanceTypeErr != nil:
		what, do := eni.Explain("DescribeInstanceTypes", f.EC2.InstanceTypeErr)
		return []Result{warning(instanceTypeCheck, do, "cannot look up the limits of %s: %s", f.instanceType(), what)}
	case t.MaxENIs == 0:
		return []Result{skipped(instanceTypeCheck, "EC2 does not report the limits of %s", f.instanceType())}
	}
	var results []Result
	for _, p := range f.EC2.Forecast.Problems {
		if p.Reason == agent.ReasonInstanceType {
			message, action := split(p.Message, "change the NodeENI, or select nodes of another instance type")
			results = append(results, failure(instanceTypeCheck, action, "NodeENI %s: %s", p.NodeENI, message))
		}
	}
	if len(results) > 0 {
		return results
	}
	return []Result{ok(instanceTypeCheck, "%s: %s", f.instanceType(), describeType(t))}
}

// describeType gives the limits in a row.
func describeType(t eni.InstanceType) string {
	var cards, queues []string
	for _, c := range t.Cards {
		cards = append(cards, fmt.Sprintf("%d on network card %d", c.MaxENIs, c.Index))
		if c.MaxENAQueuesPerENI > 0 {
			queues = append(queues, fmt.Sprintf("%d on network card %d", c.MaxENAQueuesPerENI, c.Index))
		}
	}
	words := []string{count(int(t.MaxENIs), "ENI")}
	if len(t.Cards) > 1 {
		words[0] += " (" + strings.Join(cards, ", ") + ")"
	}
	add := func(known bool, format string, args ...any) {
		if known {
			words = append(words, fmt.Sprintf(format, args...))
		}
	}
	add(t.IPv4Addresses > 0, "%d IPv4 addresses or prefixes per ENI", t.IPv4Addresses)
	add(ptr.Deref(t.IPv6, false) && t.IPv6Addresses > 0, "%d IPv6 addresses or prefixes per ENI", t.IPv6Addresses)
	add(t.IPv6 != nil && !*t.IPv6, "no IPv6")
	add(t.Xen, "Xen: no prefixes, no connection tracking timeouts")
	add(t.ENAExpress != nil, "%sENA Express", map[bool]string{false: "no "}[ptr.Deref(t.ENAExpress, false)])
	add(len(queues) > 0, "ENA queues per ENI: up to %s", strings.Join(queues, ", "))
	return strings.Join(words, "; ")
}

// checkLimit: whether each network card takes the ENIs that are attached and those that
// are wanted.
func checkLimit(f Facts) []Result {
	if f.EC2 == nil || f.EC2.Forecast == nil || f.EC2.misses() || f.EC2.InstanceType.MaxENIs == 0 { // what is attached or possible is not known
		return nil
	}
	cards := map[int32]*onCard{0: {}}
	on := func(card int32) *onCard {
		if cards[card] == nil {
			cards[card] = &onCard{}
		}
		return cards[card]
	}
	for _, e := range f.EC2.Forecast.Attached {
		c := on(e.Attachment.Card)
		c.attached = append(c.attached, e)
	}
	for _, e := range f.EC2.Forecast.ENIs {
		c := on(e.NetworkCard)
		c.wanted++
		if !e.Attached {
			c.more++
		}
		c.queues = c.queues || e.ENAQueues > 0
	}
	var results []Result
	for _, card := range slices.Sorted(maps.Keys(cards)) {
		if limit := limitOf(f.EC2.InstanceType, card, cards[card].queues); limit > 0 {
			results = append(results, checkCard(f, card, limit, *cards[card]))
		}
	}
	return results
}

// onCard is what is attached to a network card, and what is wanted there.
type onCard struct {
	attached     []eni.ENI
	wanted, more int
	queues       bool // an ENI chooses the number of its queues
}

// limitOf is how many ENIs a card takes; the type takes more where the numbers of queues
// are chosen.
func limitOf(t eni.InstanceType, card int32, queues bool) int {
	limit := t.MaxENIsOn(card)
	if c, _ := t.Card(card); queues && limit > 0 {
		limit += c.MoreENIs
	}
	return int(limit)
}

func checkCard(f Facts, card int32, limit int, c onCard) Result {
	const check = "ENI limit"
	takes := fmt.Sprintf("%s supports %s", f.instanceType(), count(limit, "ENI"))
	if len(f.EC2.InstanceType.Cards) > 1 {
		takes += fmt.Sprintf(" on network card %d", card)
	}
	room := limit - len(c.attached)
	cni := card == 0 && f.CNI != nil && f.CNI.Present && f.CNI.Env["MAX_ENI"] == ""
	switch {
	case c.more > room:
		action := "use an instance type that supports more ENIs, or request fewer ENIs for this node"
		if card == 0 {
			action += "; with the VPC CNI, set MAX_ENI of the DaemonSet aws-node to reserve ENIs"
		}
		return failure(check, action, "%s; %d attached (%s), %d more requested", takes, len(c.attached), cmp.Or(strings.Join(whose(c.attached), ", "), "none"), c.more)
	case c.more > 0 && c.more == room && cni:
		return warning(check, fmt.Sprintf("set MAX_ENI of the DaemonSet aws-node to %d or less on nodes of this type to reserve ENIs", limit-c.wanted),
			"%s; %d attached, %d more requested. None remains for the VPC CNI, which may attach one first", takes, len(c.attached), c.more)
	default:
		return ok(check, "%s; %d attached, %d more requested", takes, len(c.attached), c.more)
	}
}

// maxENAExpressMTU is what AWS' own check of ENA Express' settings asks for:
// https://github.com/amzn/amzn-ec2-ena-utilities/tree/main/ena-express
const maxENAExpressMTU = 8900

// checkENAExpress: whether packets of an ENI with ENA Express have room for its headers.
func checkENAExpress(f Facts) []Result {
	const check = "ENA Express"
	var results []Result
	for _, n := range f.Wanted.selecting() {
		if x := n.Spec.ENAExpress; x == nil || !x.Enabled {
			continue
		}
		has := fmt.Sprintf("mtu %d", n.Spec.MTU)
		switch mtu := cmp.Or(n.Spec.MTU, f.DefaultMTU); {
		case mtu == 0:
			has = "no mtu, and the ENA driver sets a larger MTU"
		case mtu <= maxENAExpressMTU:
			continue
		case n.Spec.MTU == 0:
			has = fmt.Sprintf("no mtu, and --default-mtu is %d", mtu)
		}
		results = append(results, warning(check, fmt.Sprintf("set mtu to %d or less at both ends", maxENAExpressMTU),
			"NodeENI %s has %s: packets larger than %d bytes do not use ENA Express", n.Name, has, maxENAExpressMTU))
	}
	return results
}

func (f Facts) instanceType() string {
	if f.IMDS != nil && f.IMDS.Identity.InstanceType != "" {
		return f.IMDS.Identity.InstanceType
	}
	return "the instance type"
}
