package vpc

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// DropReason says why the VPC has dropped a packet of an ENI.
type DropReason string

// EC2 drops packets for the same reasons.
const (
	DropSource      DropReason = "source"      // sent with a source address that is not the ENI's (SourceDestCheck)
	DropDestination DropReason = "destination" // meant for an address that is not the ENI's (SourceDestCheck)
	DropMAC         DropReason = "mac"         // sent from a MAC that is not the ENI's
)

var reasons = []DropReason{DropSource, DropDestination, DropMAC}

// Drop counts the packets of one ENI that were dropped for one reason.
type Drop struct {
	ENI     string     `json:"eni"`
	Reason  DropReason `json:"reason"`
	Packets uint64     `json:"packets"`
	Bytes   uint64     `json:"bytes"`
}

type dropKey struct {
	eni    string
	reason DropReason
}

// Drops returns what was dropped since the network was made, sorted by ENI
// and reason, without the zeros. What the VPC does not carry is dropped and not
// counted: broadcasts, multicasts, packets from link-local addresses, and IPv6 in a
// subnet without it.
func (n *Network) Drops() ([]Drop, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	total := make(map[dropKey]Drop, len(n.past))
	for key, d := range n.past {
		total[key] = d
	}
	if !n.closed() {
		err := n.withFilter(func(f *filter) error {
			counters, err := f.conn.GetObjects(f.table)
			for _, c := range counters {
				addDrop(total, c)
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("read the packet filter's counters: %w", err)
		}
	}
	drops := make([]Drop, 0, len(total))
	for _, d := range total {
		drops = append(drops, d)
	}
	slices.SortFunc(drops, func(a, b Drop) int {
		return cmp.Or(cmp.Compare(a.ENI, b.ENI), cmp.Compare(a.Reason, b.Reason))
	})
	return drops, nil
}

// keepDrops saves the counters of an ENI that is about to be unplugged.
func (n *Network) keepDrops(eniID string) error {
	err := n.withFilter(func(f *filter) error {
		for _, reason := range reasons {
			c, err := f.conn.GetObject(f.counter(eniID, reason))
			if err != nil && !errors.Is(err, unix.ENOENT) {
				return err
			}
			addDrop(n.past, c)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("read the packet filter's counters: %w", err)
	}
	return nil
}

func addDrop(total map[dropKey]Drop, object nftables.Obj) {
	c, ok := object.(*nftables.CounterObj)
	if !ok || c.Packets == 0 {
		return
	}
	eni, reason, _ := strings.Cut(c.Name, "/")
	key := dropKey{eni, DropReason(reason)}
	d := total[key]
	total[key] = Drop{ENI: eni, Reason: key.reason, Packets: d.Packets + c.Packets, Bytes: d.Bytes + c.Bytes}
}
