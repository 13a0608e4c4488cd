package agent

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/aws-multi-eni/aws-multi-eni/agent/inventory"
	"github.com/aws-multi-eni/aws-multi-eni/internal/draw"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// settle lets EC2 tell how things are, and finish what it was at.
func settle(v *view) {
	v.synced = true
	for _, w := range v.desired.wants {
		v.failures.Reset(call{verb: create, slot: w.Slot}.key())
	}
	v.enis = slices.Clone(v.enis)
	for i := range v.enis {
		e := &v.enis[i]
		e.Evidence = inventory.Shown
		if e.Use == inventory.Returning {
			e.Use = inventory.Assigned
		}
		if e.Attachment.Detaching() {
			e.Attachment, e.Status = nil, "available"
		}
		e.CountsFrom = time.Time{}
	}
}

// pretend carries out one thing of what is planned, as EC2 would.
func pretend(v *view, p plan, choices *draw.Choices) {
	if len(p.decide) > 0 {
		for _, s := range p.decide {
			r := v.intents[s]
			r.createdAt = time.Unix(77, 0)
			v.intents[s] = r
		}
		return
	}
	c := p.calls[choices.N(len(p.calls))]
	i := slices.IndexFunc(v.enis, func(e inventory.ENI) bool { return e.ID == c.eni })
	if c.verb == create {
		pretendCreate(v, c.params)
		return
	}
	e := v.enis[i]
	if e.Attachment != nil {
		a := *e.Attachment
		e.Attachment = &a
	}
	switch c.verb {
	case attach:
		e = fixture{e}.atPlace(me, c.place, "attached").ENI
		e.Attachment.DeleteOnTermination, e.Attachment.ENAExpress, e.Attachment.ENAQueues = false, c.express, c.queues
		delete(v.attaching, e.ID)
	case setDeleteOnTermination:
		e.Attachment.DeleteOnTermination = c.value
	case setSourceDestCheck:
		e.SourceDestCheck = c.value
	case setGroups:
		e.Groups = c.groups
	case setDescription:
		e.Description = c.text
	case setConnectionTracking:
		e.ConnectionTracking = c.timeouts
	case setENAExpress:
		e.Attachment.ENAExpress = c.express
	case setENAQueues:
		e.Attachment.ENAQueues = c.queues
	case setPrimaryIPv6:
		e.PrimaryIPv6 = true
	case assignIPv4, assignIPv6:
		giveMore(&e.ENI, c.verb == assignIPv6, c.counts)
	case detach:
		e.Attachment, e.Status = nil, "available"
	case remove:
		v.enis = slices.Delete(slices.Clone(v.enis), i, i+1)
		return
	}
	v.enis = slices.Clone(v.enis)
	v.enis[i] = e
}

func pretendCreate(v *view, p eni.CreateParams) {
	e := eni.ENI{
		ID: fmt.Sprintf("eni-new%d", len(v.enis)), SubnetID: p.SubnetID, Groups: p.Groups, Description: p.Description,
		SourceDestCheck: true, Status: "available", Owner: p.Owner, ConnectionTracking: p.ConnectionTracking, PrimaryIPv6: p.PrimaryIPv6,
		Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 1, 4})},
	}
	giveMore(&e, false, counts{p.SecondaryAddresses, p.IPv4Prefixes})
	giveMore(&e, true, counts{aws.ToInt32(p.IPv6Addresses), p.IPv6Prefixes})
	v.enis = append(v.enis, inventory.ENI{Evidence: inventory.Expected, ENI: e})
}

// giveMore gives an ENI addresses and prefixes in addition to what it has.
func giveMore(e *eni.ENI, ipv6 bool, more counts) {
	prefix := "10.0.1.%d/28"
	next := netip.AddrFrom4([4]byte{10, 0, 1, 100})
	if ipv6 {
		prefix, next = "fd00:0:0:%x::/80", netip.AddrFrom16([16]byte{0xfd, 15: 100})
	}
	e.Addresses, e.Prefixes = slices.Clone(e.Addresses), slices.Clone(e.Prefixes)
	for range more.addresses {
		for slices.Contains(e.Addresses, next) {
			next = next.Next()
		}
		e.Addresses = append(e.Addresses, next)
	}
	for range more.prefixes {
		e.Prefixes = append(e.Prefixes, fmt.Sprintf(prefix, 16*len(e.Prefixes)))
	}
}
