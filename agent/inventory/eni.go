package inventory

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// Slot is the place for one ENI on this node: a NodeENI and a subnet, and of an ENI on
// demand 1 plus the number of its place.
type Slot struct {
	UID      types.UID // of the NodeENI
	SubnetID string
	Place    int32
}

// OnDemand says whether it is for an ENI on demand.
func (s Slot) OnDemand() bool { return s.Place > 0 }

// SlotOf is the place that the ENI is tagged for.
func SlotOf(e eni.ENI) Slot { return Slot{e.Owner.NodeENIUID, e.SubnetID, e.Owner.Place} }

// How long EC2's describes may lag behind its own answers.
const (
	// ConsistencyWindow: AWS asks for retries over about five minutes before a
	// NotFound is believed.
	// https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html
	ConsistencyWindow = 5 * time.Minute
	// LinkSeenWindow is the same for an ENI whose link has been here and is not any
	// more: something has happened to it.
	LinkSeenWindow = 15 * time.Second
	// ExpectationTimeout is how long what this agent itself has changed in EC2 counts
	// for more than a describe.
	ExpectationTimeout = time.Minute
)

// ENI is one of this instance's ENIs, as EC2's answers and describes together show it.
type ENI struct {
	eni.ENI
	Use      Use
	Evidence Evidence
	Link     Link
	// Since is when it existed at the latest, zero once a describe has shown it. The tag's
	// time is that of the decision; with a full subnet, hours may lie between them.
	Since time.Time
	// Changed is when this agent last changed an attribute, AttachedAt when it attached
	// the ENI; both are zero once another client must have changed it since.
	Changed, AttachedAt time.Time
	// CountsFrom is when describes show all addresses and prefixes that EC2 may have been
	// asked for, zero once one of then has: such a request has no token, so after a lost
	// answer or a restart nothing else tells what has been given.
	CountsFrom time.Time

	given      eni.Assigned // by EC2 to this agent, and describes may still lack it
	givenAt    time.Time    // the last of it
	born       time.Time    // as Since, and kept once a describe has shown it
	restored   time.Time    // when it was taken from the report
	describeAt time.Time    // when EC2 is to be asked about its link, whatever is asked before
	// collects: this agent itself takes ENIs out of EC2. No other program would delete
	// what is taken for gone too soon.
	collects bool
}

// Slot is the place that the ENI is for.
func (e ENI) Slot() Slot { return SlotOf(e.ENI) }

// AttachedTo says whether it is attached to the instance, or was by the last describe.
func (e ENI) AttachedTo(instanceID string) bool {
	return e.Attachment != nil && e.Attachment.InstanceID == instanceID
}

// ReportedOnly: only the report names it.
func (e ENI) ReportedOnly() bool { return e.Evidence == Reported || e.Evidence == Disputed }

// Uncertain: EC2 has to tell more before anything is done with it.
func (e ENI) Uncertain() bool {
	return e.ReportedOnly() || e.Evidence == Missed || e.Use == Returning
}

// TakenDown: its link has been taken down.
func (e ENI) TakenDown() bool { return e.Use == Released || e.Use == Left }

// LinkLeft: its link has gone since it was released, so it is being detached, and EC2
// tells whether it still has its device index.
func (e ENI) LinkLeft() bool { return e.Use == Left || e.Use == Returning && e.Link == LinkLost }

// WasShown says whether a describe has shown it.
func (e ENI) WasShown() bool { return e.Since.IsZero() }

// leaving: others take it out of EC2, so its absence is what is expected. One that is
// wanted again may still be stopped as long as its link is here.
func (e ENI) leaving() bool { return !e.collects && (e.Use == Released || e.LinkLeft()) }

// MustShowFrom is the time from which describes must show the ENI.
func (e ENI) MustShowFrom() time.Time {
	removing := e.collects && (e.TakenDown() || e.Use == Returning)
	switch {
	case e.WasShown() && e.Link != LinkNeverSeen:
		return time.Time{}
	case e.WasShown(): // and a replica of EC2 that lags more may lack it yet
		return e.born.Add(ConsistencyWindow)
	case e.Link != LinkNeverSeen && !removing:
		return e.Since.Add(LinkSeenWindow)
	default:
		return e.Since.Add(ConsistencyWindow)
	}
}

// disproved: only a report names it, and describes must have shown it by now.
func (e ENI) disproved(now time.Time) bool {
	return e.ReportedOnly() && !now.Before(latest(e.restored, e.MustShowFrom()).Add(ConsistencyWindow))
}

// Has are the addresses and prefixes of the ENI, with those that EC2 has given it and that
// describes may still lack.
func (e ENI) Has() (all []netip.Addr, prefixes []string) {
	return addresses(e.Addresses, e.given.Addresses), union(e.Prefixes, e.given.Prefixes)
}

// Rank orders the candidates for one place: attached here, then what was when it was
// last reported and EC2 does not show yet, then free, which one that is deleted may
// still seem to be, then on the way out, then elsewhere.
func (e ENI) Rank(instanceID string) int {
	switch a := e.Attachment; {
	case a == nil && e.ReportedOnly() && e.Link != LinkNeverSeen:
		return 1
	case a == nil:
		return 2
	case a.InstanceID != instanceID:
		return 4
	case a.Detaching():
		return 3
	default:
		return 0
	}
}

// shownAs is the ENI after a describe has shown it.
func (e ENI) shownAs(shown eni.ENI, now time.Time) ENI {
	// What this agent has done is newer than what the describe shows.
	if now.Sub(e.Changed) < ExpectationTimeout {
		shown.Groups, shown.Description, shown.SourceDestCheck = e.Groups, e.Description, e.SourceDestCheck
		shown.ConnectionTracking, shown.PrimaryIPv6 = e.ConnectionTracking, e.PrimaryIPv6
	}
	shown.Addresses = e.inKnownOrder(shown)
	if now.Sub(e.givenAt) < ExpectationTimeout {
		shown.Addresses, shown.Prefixes = addresses(e.Addresses, shown.Addresses), union(e.Prefixes, shown.Prefixes)
	}
	if now.Sub(e.givenAt) >= ConsistencyWindow {
		e.given = eni.Assigned{}
	}
	if !now.Before(e.CountsFrom) {
		e.CountsFrom = time.Time{}
	}
	if shown.Owner.NodeENIUID == "" { // another client has removed the tag
		shown.Owner.NodeENIUID, shown.Owner.NodeENI = e.Owner.NodeENIUID, e.Owner.NodeENI
	}
	if shown.Owner.Place == 0 {
		shown.Owner.Place = e.Owner.Place
	}
	// An ENI keeps its MAC, and has an address at all times: a describe that shows
	// none has left it out.
	shown.MAC = cmp.Or(shown.MAC, e.MAC)
	if len(shown.Addresses) == 0 {
		shown.Addresses = e.Addresses
	}
	shown.Attachment = e.mergeAttachment(shown.Attachment, now)
	e.ENI, e.Evidence, e.Since = shown, Shown, time.Time{}
	if e.Use == Returning {
		e.returned()
	}
	return e
}

// inKnownOrder are the addresses that a describe shows, those of IPv6 in the order in which
// they have been known unless one is primary: the first is the ENI's own where pods have
// the others, and nothing says that EC2 keeps its order.
func (e ENI) inKnownOrder(shown eni.ENI) []netip.Addr {
	if shown.PrimaryIPv6 {
		return shown.Addresses
	}
	place := func(a netip.Addr) int {
		switch i := slices.Index(e.Addresses, a); {
		case a.Is4():
			return -1
		case i < 0:
			return len(e.Addresses)
		default:
			return i
		}
	}
	return slices.SortedStableFunc(slices.Values(shown.Addresses), func(a, b netip.Addr) int { return cmp.Compare(place(a), place(b)) })
}

// returned: it is wanted again, and still there.
func (e *ENI) returned() {
	if e.Use = Assigned; e.Link == LinkLost {
		e.Link = LinkSeen
	}
}

// mergeAttachment is the attachment that counts after a describe has shown another, or none. A
// change of an attribute does not prove that the ENI is still attached.
func (e ENI) mergeAttachment(shown *eni.Attachment, now time.Time) *eni.Attachment {
	own := e.Attachment
	same := own != nil && shown != nil && own.ID == shown.ID
	if same && (own.InstanceID != shown.InstanceID || own.DeviceIndex != shown.DeviceIndex || own.Card != shown.Card) {
		// An attachment is of one place: a describe that shows another has left it out.
		still := *shown
		still.InstanceID, still.DeviceIndex, still.Card = own.InstanceID, own.DeviceIndex, own.Card
		shown = &still
	}
	if same && shown.ENAQueues == 0 && own.ENAQueues != 0 { // EC2 need not say how many there are
		still := *shown
		still.ENAQueues = own.ENAQueues
		shown = &still
	}
	switch {
	case own == nil:
		return shown
	case shown == nil || shown.ID != own.ID:
		if now.Sub(e.AttachedAt) < ExpectationTimeout {
			return own
		}
	case !shown.Detaching() && now.Sub(e.Changed) < ExpectationTimeout:
		return own
	}
	return shown
}
