// Package inventory knows the ENIs of this instance: what EC2's answers and describes
// together show of them, what they are used for, and when EC2 is asked about them next.
// It makes no call itself.
package inventory

import (
	"bytes"
	"cmp"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/imds"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// Inventory holds the ENIs of one instance. It belongs to one goroutine.
type Inventory struct {
	Resync  Resync
	Indexes Indexes

	cluster  string
	identity imds.Identity
	collects bool
	log      *slog.Logger

	enis      []ENI
	known     map[string]bool      // every ENI that ever was this instance's
	deleted   map[string]time.Time // by this agent; describes may lag
	described time.Time            // when EC2 last showed them
	assigned  map[string]bool      // by the last plan
	released  map[string]bool
}

// New makes an Inventory that knows nothing. collects says that this agent itself takes
// ENIs out of EC2; every is how often EC2 is asked when nothing happens.
func New(cluster string, identity imds.Identity, collects bool, every time.Duration, log *slog.Logger) *Inventory {
	return &Inventory{
		Resync: Resync{every: every}, Indexes: Indexes{Holders: map[Place]string{}},
		cluster: cluster, identity: identity, collects: collects, log: log,
		known: map[string]bool{}, deleted: map[string]time.Time{},
	}
}

// All are the ENIs, sorted by id. Callers leave them as they are.
func (i *Inventory) All() []ENI { return i.enis }

// Synced says whether EC2 has shown this instance's ENIs since the agent started.
func (i *Inventory) Synced() bool { return !i.described.IsZero() }

// Described is when EC2 last showed this instance's ENIs.
func (i *Inventory) Described() time.Time { return i.described }

// Knows says whether the ENI is, or ever was, one of this instance's.
func (i *Inventory) Knows(id string) bool { return i.known[id] }

// Get finds an ENI.
func (i *Inventory) Get(id string) (ENI, bool) {
	if n := i.index(id); n >= 0 {
		return i.enis[n], true
	}
	return ENI{}, false
}

func (i *Inventory) index(id string) int {
	return slices.IndexFunc(i.enis, func(e ENI) bool { return e.ID == id })
}

func (i *Inventory) update(id string, f func(*ENI)) {
	if n := i.index(id); n >= 0 {
		f(&i.enis[n])
	}
}

// Restore takes in the ENIs that the last report names: enough to know them again when
// describes lag, and to notice that one is gone.
func (i *Inventory) Restore(reported []ENI, now time.Time) {
	for _, e := range reported {
		if i.isPrimary(e.ENI) || i.index(e.ID) >= 0 {
			continue // the report has been edited
		}
		// One that seems to come from the future is as old as the time since when it is
		// known, or its loss would not be noticed for years.
		if e.Since.After(now) {
			e.Since = now
		}
		e.born, e.restored, e.collects, e.CountsFrom = e.Since, now, i.collects, now.Add(ConsistencyWindow)
		i.enis = append(i.enis, e)
	}
	sortByID(i.enis)
}

func sortByID(enis []ENI) {
	slices.SortFunc(enis, func(a, b ENI) int { return strings.Compare(a.ID, b.ID) })
}

// Created takes in the ENI that EC2 answers a create call with.
func (i *Inventory) Created(e eni.ENI, now time.Time) {
	i.known[e.ID] = true
	i.enis = slices.DeleteFunc(slices.Clone(i.enis), func(o ENI) bool { return o.ID == e.ID })
	i.enis = append(i.enis, ENI{ENI: e, Evidence: Expected, Since: now, born: now, Changed: now, collects: i.collects})
	sortByID(i.enis)
	if e.MAC == "" {
		i.Resync.Now("the response to CreateNetworkInterface has no MAC, so the agent cannot find the link")
	}
}

// Attached takes in that EC2 has attached an ENI to this instance.
func (i *Inventory) Attached(attachmentID string, p eni.AttachParams, now time.Time) {
	i.update(p.ENIID, func(e *ENI) {
		e.Status, e.Changed, e.AttachedAt = "in-use", now, now
		e.Attachment = &eni.Attachment{
			ID: attachmentID, InstanceID: p.InstanceID, Card: p.Card, DeviceIndex: p.DeviceIndex, Status: "attached", ENAExpress: p.ENAExpress, ENAQueues: p.ENAQueues,
		}
	})
}

// Assigned takes in what EC2 has given an ENI in addition to what it had.
func (i *Inventory) Assigned(id string, more eni.Assigned, now time.Time) {
	i.update(id, func(e *ENI) {
		e.given = eni.Assigned{Addresses: union(e.given.Addresses, more.Addresses), Prefixes: union(e.given.Prefixes, more.Prefixes)}
		e.givenAt = now
		e.Addresses, e.Prefixes = e.Has()
	})
}

// AssignUnanswered takes in that EC2 may have given an ENI more than it had.
func (i *Inventory) AssignUnanswered(id string, now time.Time) {
	i.update(id, func(e *ENI) { e.CountsFrom = now.Add(ConsistencyWindow) })
}

// addresses are those of both, IPv4 first.
func addresses(a, b []netip.Addr) []netip.Addr {
	all := union(a, b)
	slices.SortStableFunc(all, func(x, y netip.Addr) int { return cmp.Compare(x.BitLen(), y.BitLen()) })
	return all
}

// union has the values of both, each once.
func union[T comparable](a, b []T) []T {
	all := slices.Clone(a)
	for _, v := range b {
		if !slices.Contains(all, v) {
			all = append(all, v)
		}
	}
	return all
}

// Modified takes in what a Modify call has changed.
func (i *Inventory) Modified(id string, now time.Time, change func(*eni.ENI)) {
	i.update(id, func(e *ENI) {
		e.Changed = now
		if e.Attachment != nil { // a plan may hold the one from before
			attachment := *e.Attachment
			e.Attachment = &attachment
		}
		change(&e.ENI)
	})
}

// Detaching takes in that EC2 has begun to detach an ENI.
func (i *Inventory) Detaching(id, attachmentID string, now time.Time) {
	i.Modified(id, now, func(e *eni.ENI) {
		if e.Attachment != nil && e.Attachment.ID == attachmentID {
			e.Attachment.Status = "detaching"
		}
	})
	i.update(id, func(e *ENI) { e.AttachedAt = time.Time{} }) // a describe may soon show it as free
	i.Resync.Soon("an ENI is being detached", now)
}

// Deleted takes in that EC2 has deleted an ENI. Describes may show it for a while yet.
func (i *Inventory) Deleted(id string, now time.Time) (ENI, bool) {
	n := i.index(id)
	if n < 0 {
		return ENI{}, false
	}
	e := i.enis[n]
	i.deleted[id] = now
	i.enis = slices.Delete(slices.Clone(i.enis), n, n+1)
	if i.Resync.next.After(now) {
		i.Resync.reschedule(now) // EC2 was to be asked about this one
	}
	return e, true
}

// NotFound takes in that EC2 does not find an ENI, which proves nothing while it is
// young.
func (i *Inventory) NotFound(id string, now time.Time) {
	if e, ok := i.Get(id); ok && !now.Before(e.MustShowFrom()) {
		i.Resync.Now("EC2 does not find an ENI")
	}
}

// DropExpectations forgets that this agent knows better than a describe.
func (i *Inventory) DropExpectations(id string) {
	i.update(id, func(e *ENI) { e.Changed, e.AttachedAt = time.Time{}, time.Time{} })
}

// Assign takes in what a plan uses the ENIs for. assigned are those that slots have, released
// those that nothing wants; what is in neither is left as it is.
func (i *Inventory) Assign(assigned map[Slot]string, released []string) {
	i.assigned, i.released = map[string]bool{}, map[string]bool{}
	for _, id := range assigned {
		i.assigned[id] = true
		i.update(id, func(e *ENI) { i.assign(e) })
	}
	for _, id := range released {
		i.released[id] = true
		i.update(id, func(e *ENI) {
			if e.Use == Assigned || e.Use == Returning {
				e.Use = Releasing
			}
		})
	}
}

func (i *Inventory) assign(e *ENI) {
	switch {
	case e.Use == Releasing:
		e.Use = Assigned
	case e.TakenDown() && i.Synced():
		e.Use = Returning
		e.Changed, e.AttachedAt = time.Time{}, time.Time{}
		i.Resync.Now("an ENI that was being released is needed again")
	}
}

// LinkChange is what a link shows of its ENI.
type LinkChange int

const (
	// LinkUnchanged: nothing that concerns the ENI.
	LinkUnchanged LinkChange = iota
	// LinkHere: EC2 has attached the ENI.
	LinkHere
	// LinkVanished: the link of an ENI in use has gone. The ENI was detached, or the link
	// moved into a pod's namespace.
	LinkVanished
	// LinkAbsent: there is no link of an ENI that a describe alone says to be attached,
	// and that may have been detached since.
	LinkAbsent
	// LinkTakenDown: nothing wants the ENI.
	LinkTakenDown
	// LinkLeft: the link of an ENI that was released has gone.
	LinkLeft
)

// NoteLink takes in a change of an ENI's link.
func (i *Inventory) NoteLink(id string, change LinkChange, now time.Time) {
	switch change {
	case LinkHere:
		i.update(id, func(e *ENI) { e.Link, e.describeAt = LinkSeen, time.Time{} })
	case LinkVanished:
		i.DropExpectations(id)
		i.update(id, func(e *ENI) { e.Link = LinkLost })
		i.Resync.Now("the link of an ENI has disappeared")
	case LinkAbsent:
		// By then no describe lags any more, and a link that was on its way is here.
		at := now.Add(LinkSeenWindow)
		i.DropExpectations(id)
		i.update(id, func(e *ENI) { e.describeAt = at })
		i.Resync.At("an attached ENI has no link", at)
	case LinkTakenDown:
		i.update(id, func(e *ENI) {
			if e.Use == Releasing { // and not wanted again since
				e.Use = Released
			}
		})
	case LinkLeft:
		i.update(id, func(e *ENI) {
			if e.Use == Released {
				e.Use, e.Link = Left, LinkLost
				// The ENI should be gone soon, or it would be reported until the hourly describe.
				i.Resync.left(now)
			}
		})
	}
}

// NeedsProof says whether a describe that shows no ENI attached here could miss one: one
// is known that is attached, or was when it was reported. An agent that knows none
// creates one only in a subnet that this EC2 has shown: ids are unique in all Regions,
// and names count in the node's VPC.
func (i *Inventory) NeedsProof() bool {
	return slices.ContainsFunc(i.enis, func(e ENI) bool { return e.ReportedOnly() || e.AttachedTo(i.identity.InstanceID) })
}

// isPrimary: by its MAC, which IMDS tells, or by its place.
func (i *Inventory) isPrimary(e eni.ENI) bool {
	mac, _ := net.ParseMAC(e.MAC)
	at := e.Attachment
	return mac != nil && bytes.Equal(mac, i.identity.MAC) ||
		at != nil && at.InstanceID == i.identity.InstanceID && at.DeviceIndex == 0 && at.Card == 0
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
