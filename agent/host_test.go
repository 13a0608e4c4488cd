package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aws-multi-eni/aws-multi-eni/agent/agenttest"
	"github.com/aws-multi-eni/aws-multi-eni/agent/hostnet"
	"github.com/aws-multi-eni/aws-multi-eni/agent/inventory"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/imds"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

func TestMissingLink(t *testing.T) {
	now := time.Unix(10_000, 0)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	here := hostnet.Status{Present: true}
	for _, test := range []struct {
		name          string
		before        linkState
		describedOnly bool
		inPod         bool
		want          wait
		change        inventory.LinkChange
	}{
		{"just attached by ourselves", linkState{}, false, false, wait{waiting: now}, inventory.LinkUnchanged},
		{"a describe says attached", linkState{}, true, false, wait{waiting: now}, inventory.LinkAbsent},
		{"still, and EC2 was asked", linkState{wait: wait{waiting: ago(time.Second)}}, true, false, wait{waiting: ago(time.Second)}, inventory.LinkUnchanged},
		{"vanished", linkState{Status: here}, false, false, wait{waiting: now}, inventory.LinkVanished},
		{"vanished again", linkState{Status: here, wait: wait{waiting: ago(time.Hour)}}, false, false, wait{waiting: now}, inventory.LinkVanished},
		{"awaited", linkState{wait: wait{waiting: ago(linkPatience - 1)}}, false, false, wait{waiting: ago(linkPatience - 1)}, inventory.LinkUnchanged},
		{"awaited for too long: a pod may have it", linkState{wait: wait{waiting: ago(linkPatience)}}, true, false, wait{waiting: ago(linkPatience), overdue: true}, inventory.LinkUnchanged},
		{"for even longer", linkState{wait: wait{waiting: ago(time.Hour), overdue: true}}, true, false, wait{waiting: ago(time.Hour), overdue: true}, inventory.LinkUnchanged},
		{"moved into a pod", linkState{Status: here}, false, true, wait{}, inventory.LinkUnchanged},
		{"in a pod when the agent started", linkState{wait: wait{waiting: ago(time.Hour), overdue: true}}, true, true, wait{}, inventory.LinkUnchanged},
		{"the pod has gone, and the link with it", linkState{pod: "default/a"}, false, false, wait{waiting: now}, inventory.LinkVanished},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got, change := test.before.missing(test.inPod, test.describedOnly, now); got != test.want || change != test.change {
				t.Errorf("%+v, change %v; want %+v, change %v", got, change, test.want, test.change)
			}
		})
	}
}

// An error is not the absence of a link: nothing is told of it, no wait begins, and
// what was known of the link stays, so that its end is still noticed.
func TestErrorIsNoMissingLink(t *testing.T) {
	now := time.Unix(10_000, 0)
	e := eniFor("eni-x", "x", subnetA).at(me, 2, "attached").ENI
	for name, before := range map[string]linkState{
		"just started": {},
		"was here":     {Status: hostnet.Status{Present: true, Name: "eth1"}},
		"awaited":      {wait: wait{waiting: now.Add(-time.Second)}},
		"overdue":      {wait: wait{waiting: now.Add(-time.Hour), overdue: true}},
	} {
		t.Run(name, func(t *testing.T) {
			h := &New(Config{Links: &agenttest.Links{Err: errors.New("netlink is out of order")}, Log: slog.New(slog.DiscardHandler)}).host
			h.links["eni-x"] = before
			events := h.configure(link{eni: e}, now)
			after := h.links["eni-x"]
			if after.Status != before.Status || after.wait != before.wait || after.err == nil || len(events) > 0 {
				t.Errorf("%+v became %+v, events %v", before, after, events)
			}
			h.Links = agenttest.NewLinks()
			vanished := linkEvent{"eni-x", inventory.LinkVanished}
			if events := h.configure(link{eni: e}, now); slices.Contains(events, vanished) != before.Present {
				t.Errorf("then there is no link, and the events are %v", events)
			}
		})
	}
}

// Host can be had in subnets with IPv6 only, with both families, and with IPv4 only: a
// link has the subnets' ranges of all families, and the ENI's addresses.
func TestHostInSubnetsOfAnyFamily(t *testing.T) {
	const range6, range4 = "fd00:1::/64", "10.0.2.0/24"
	known := catalog{
		named(subnetsByID, subnetA):  {subnets: []eni.Subnet{{ID: subnetA, Zone: "us-east-1a", IPv6CIDRs: []string{range6}, IPv6Only: true}}},
		named(subnetsByID, subnetA2): {subnets: []eni.Subnet{{ID: subnetA2, Zone: "us-east-1a", CIDR: range4, IPv6CIDRs: []string{range6}}}},
		named(subnetsByID, subnetB):  {subnets: []eni.Subnet{{ID: subnetB, Zone: "us-east-1a", CIDR: range4}}},
	}
	n := nodeENI("x", func(s *v1alpha1.NodeENISpec) {
		s.SubnetID, s.SubnetIDs, s.Addressing = "", []string{subnetA, subnetA2, subnetB}, v1alpha1.AddressingHost
	})
	d := desire([]v1alpha1.NodeENI{n}, matching, "us-east-1a", known, nil)
	if len(d.wants) != 3 || len(d.problems) > 0 {
		t.Fatalf("wanted are %+v, and wrong is %+v", d.wants, d.problems)
	}
	if p := next(view{instanceID: me, synced: true, desired: d}); len(p.decide) != 3 {
		t.Errorf("it decides to create %v", p.decide)
	}
	of := map[string]netip.Addr{range4: netip.MustParseAddr("10.0.2.9"), range6: netip.MustParseAddr("fd00:1::9")}
	for i, ranges := range [][]string{{range6}, {range4, range6}, {range4}} {
		var addresses []netip.Addr
		for _, r := range ranges {
			addresses = append(addresses, of[r])
		}
		e := eniFor("eni-x", string(n.UID), d.wants[i].SubnetID).with(func(e *inventory.ENI) { e.MAC, e.Addresses = "02:00:00:00:00:01", addresses })
		got := wantedLink(d.wants[i], e.ENI, inventory.Place{DeviceIndex: 2})
		if !got.Host || !got.Complete() || !slices.Equal(got.Subnets, prefixes(ranges...)) || !slices.Equal(got.Addresses, addresses) {
			t.Errorf("the link in %s is %+v", d.wants[i].SubnetID, got)
		}
	}
}

// A start asks EC2 about a link that is not here, but not again and again about
// one that has been missing for long: a pod may have it for as long as it likes.
func TestStartWithoutALink(t *testing.T) {
	now := time.Unix(10_000, 0)
	for reason, want := range map[string]struct {
		asks    bool
		overdue bool
	}{
		"Ready":           {asks: true},
		"LinkMissing":     {asks: true},
		reasonLinkOverdue: {overdue: true},
	} {
		t.Run(reason, func(t *testing.T) {
			source := &source{Report: v1alpha1.NodeENIStateStatus{InstanceID: me, ENIs: []v1alpha1.ENIState{
				{NodeENI: "x", NodeENIUID: "x", SubnetID: subnetA, ENIID: "eni-x", Reason: reason, LastTransitionTime: metav1.NewTime(now.Add(-time.Second))},
			}}}
			a := New(Config{Source: source, Log: slog.New(slog.DiscardHandler), Identity: imds.Identity{InstanceID: me}})
			if err := a.restore(t.Context(), time.Now()); err != nil {
				t.Fatal(err)
			}
			after, change := a.host.links["eni-x"].missing(false, true, now)
			if (change == inventory.LinkAbsent) != want.asks || after.overdue != want.overdue {
				t.Errorf("change %v, %+v; want %+v", change, after, want)
			}
		})
	}
}

// Each network card has device indexes, and so a routing table, of its own.
func TestWantedLinkIsOfItsCard(t *testing.T) {
	e := eniFor("eni-x", "x", subnetA).at(me, 2, "attached").with(func(e *inventory.ENI) { e.Attachment.Card = 1 })
	if got := wantedLink(wantFor("x", subnetA, 2), e.ENI, inventory.PlaceOf(e.Attachment)).Table(); got != 20102 {
		t.Errorf("its table is %d", got)
	}
}

// A link of ours gives up a name that another of ours must have, unless it may
// have any name, or must have this one.
func TestWhoYieldsItsName(t *testing.T) {
	const mac = "02:00:00:00:00:01"
	taken := &hostnet.NameTakenError{Name: "data", HolderMAC: hardwareAddr(mac)}
	holder := func(name string) []link {
		return []link{{wanted: hostnet.Wanted{MAC: hardwareAddr("02:00:00:00:00:02"), InterfaceName: "data"}}, {wanted: hostnet.Wanted{MAC: hardwareAddr(mac), InterfaceName: name}}}
	}
	released := enis(fixture{}, eniFor("eni-x", "x", subnetA).with(func(e *inventory.ENI) { e.MAC = mac }))
	for name, test := range map[string]struct {
		links    []link
		released []inventory.ENI
		want     bool
	}{
		"it must have another": {holder("other"), nil, true},
		"it may have any":      {holder(""), nil, false},
		"it must have this":    {holder("data"), nil, false},
		"nothing wants it":     {holder("")[:1], released, true},
		"a stranger":           {holder("")[:1], nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := yields(taken, test.links, test.released); got != test.want {
				t.Errorf("%v, want %v", got, test.want)
			}
		})
	}
	if yields(&hostnet.NameTakenError{Name: "data"}, nil, released) {
		t.Error("a link without a MAC is taken for one of ours")
	}
}

// A fight over a link, ten rounds a second, is not told ten times a second.
func TestRepairsAreToldNowAndThen(t *testing.T) {
	var told strings.Builder
	h := &New(Config{Links: &agenttest.Links{All: true, Repaired: 3}, Log: slog.New(slog.NewTextHandler(&told, nil))}).host
	now := time.Unix(10_000, 0)
	for range 200 {
		h.configure(link{eni: eniFor("eni-x", "x", subnetA).ENI}, now)
		now = now.Add(100 * time.Millisecond)
	}
	if n := strings.Count(told.String(), "configured a link"); n != 2 {
		t.Errorf("told %d times in 20 s, want 2", n)
	}
}

// Of an ENI that only the last report tells of, no addresses are known: its rules
// cannot be told from leftovers while describes lag, or its tags are gone.
func TestNoSweepBeforeAllIsKnown(t *testing.T) {
	for name, reported := range map[string]bool{"shown": false, "reported only": true} {
		t.Run(name, func(t *testing.T) {
			a := New(Config{})
			a.synced(time.Unix(10_000, 0), eniFor("eni-x", "x", subnetA).with(func(e *inventory.ENI) {
				if reported {
					e.Evidence = inventory.Reported
				}
			}))
			if a.maySweep() == reported {
				t.Errorf("leftovers are swept: %v", !reported)
			}
		})
	}
}

// A link that could not be configured or released to the end may have addresses yet
// that are told by their rules.
func TestNoSweepBeforeAllIsDone(t *testing.T) {
	for name, test := range map[string]struct {
		err   error
		swept bool
	}{
		"done":         {nil, true},
		"failed":       {errors.New("out of memory"), false},
		"but its MTU":  {&hostnet.MTUError{MTU: 9500, Max: 9216}, true},
		"but its name": {&hostnet.NameTakenError{Name: "data"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			a := New(Config{})
			a.host.links["eni-x"] = linkState{err: test.err}
			if a.maySweep() != test.swept {
				t.Errorf("leftovers are swept: %v", !test.swept)
			}
		})
	}
}

// What a describe leaves out of a living ENI must not be taken for unwanted: neither is
// its link configured by what is left, nor are its rules swept.
func TestNoSweepOnHalfADescribe(t *testing.T) {
	whole := func() eni.ENI {
		e := eniFor("eni-x", "x", subnetA).at(me, 2, "attached").ENI.ENI
		e.MAC, e.Addresses = "02:00:00:00:00:01", []netip.Addr{netip.MustParseAddr("10.0.1.10")}
		e.Attachment.Card = 1
		return e
	}
	for name, without := range map[string]func(*eni.ENI){
		"nothing":       func(*eni.ENI) {},
		"MAC":           func(e *eni.ENI) { e.MAC = "" },
		"addresses":     func(e *eni.ENI) { e.Addresses = nil },
		"attachment":    func(e *eni.ENI) { e.Attachment = nil },
		"instance":      func(e *eni.ENI) { e.Attachment.InstanceID = "" },
		"device index":  func(e *eni.ENI) { e.Attachment.DeviceIndex = eni.UnknownIndex },
		"network card":  func(e *eni.ENI) { e.Attachment.Card = 0 },
		"subnet's CIDR": nil,
	} {
		for _, known := range []bool{true, false} { // from a describe before this one
			t.Run(fmt.Sprintf("without %s, known: %v", name, known), func(t *testing.T) {
				links := &agenttest.Links{All: true}
				a := New(Config{Links: links, Log: slog.New(slog.DiscardHandler), Identity: imds.Identity{InstanceID: me}})
				w := wantFor("x", subnetA, 2)
				w.host, w.cidr = true, "10.0.1.0/24"
				now := time.Now()
				a.desired.wants = []want{w}
				a.synced(now)
				if known {
					a.synced(now, fixture{inventory.ENI{ENI: whole(), Evidence: inventory.Shown}})
				}
				shown := whole()
				if without != nil {
					without(&shown)
				} else {
					a.desired.wants[0].cidr = ""
				}
				a.described([]eni.ENI{shown}, nil, now)
				a.applyLinks(next(a.view(now)), now)
				for _, keep := range links.Swept() {
					if len(keep) != 1 || keep[0].Table() != 20102 || len(keep[0].Addresses) != 1 || keep[0].MAC == nil {
						// The card alone cannot be told from one that is 0.
						if name != "network card" || known {
							t.Errorf("swept all but %+v", keep)
						}
					}
				}
				if name == "nothing" && len(links.Swept()) == 0 {
					t.Error("not swept at all")
				}
			})
		}
	}
}
