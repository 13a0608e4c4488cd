package agent

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/agent/hostnet"
	"github.com/aws-multi-eni/aws-multi-eni/agent/inventory"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/imds"
	"github.com/aws-multi-eni/aws-multi-eni/internal/draw"
)

// drawNodeENIs are NodeENIs of all sorts.
func drawNodeENIs(c *draw.Choices) []v1alpha1.NodeENI {
	var all []v1alpha1.NodeENI
	for _, name := range draw.Some(c, "a", "b", "c") {
		all = append(all, nodeENI(name, func(s *v1alpha1.NodeENISpec) {
			s.SubnetID = draw.Of(c, "", subnetA, subnetB, "subnet-0cccccccccccccccc", "subnet-0dddddddddddddddd", "malformed")
			s.SubnetIDs = draw.Some(c, subnetB, subnetA2, subnetA)
			s.SubnetName = draw.Of(c, "", "data", "storage", "far", "unknown")
			s.SubnetNames = draw.Some(c, "storage", "data", "nowhere")
			s.SecurityGroupNames = draw.Some(c, "web", "gone", "unknown")
			s.InterfaceName = draw.Of(c, "", "fast", "fifteenletters1", "seventeen-letters")
			s.DeviceIndex = int32(c.N(4))
			s.NodeSelector = draw.Of(c, matching, map[string]string{"ng": "other"}, nil)
			s.NetworkCard, s.ENAQueues = int32(c.N(3)), draw.Of[int32](c, 0, 0, 8, 64)
			s.IPv4 = draw.Of(c, nil, &v1alpha1.IPv4{SecondaryAddresses: 3}, &v1alpha1.IPv4{Prefixes: 2})
			s.IPv6 = draw.Of(c, nil, &v1alpha1.IPv6{Addresses: aws.Int32(2), PrimaryIPv6: true}, &v1alpha1.IPv6{Prefixes: 1})
			s.ENAExpress = draw.Of(c, nil, &v1alpha1.ENAExpress{Enabled: true})
			s.ConnectionTracking = draw.Of(c, nil, &v1alpha1.ConnectionTracking{UDPTimeout: 45})
		}))
		if n := &all[len(all)-1]; c.Rarely(8) {
			n.DeletionTimestamp = &metav1.Time{Time: time.Unix(9, 0)}
		}
	}
	return all
}

// drawPlaces returns what gives places on two network cards, each once as EC2 does, and
// those that are given.
func drawPlaces(c *draw.Choices, most int) (free func(card int32) inventory.Place, used map[inventory.Place]bool) {
	used = map[inventory.Place]bool{}
	return func(card int32) inventory.Place {
		at := inventory.Place{Card: card, DeviceIndex: int32(1 + c.N(most))}
		for used[at] {
			at.DeviceIndex++
		}
		used[at] = true
		return at
	}, used
}

// drawAddresses are an ENI's, of IPv4, IPv6 or both.
func drawAddresses(c *draw.Choices) (all []netip.Addr) {
	for n := range c.N(4) {
		all = append(all, netip.AddrFrom4([4]byte{10, 0, 1, byte(4 + n)}))
	}
	for n := range c.N(3) {
		all = append(all, netip.AddrFrom16([16]byte{0xfd, 15: byte(4 + n)}))
	}
	return all
}

// drawView is a situation, be it one that no order of events can bring about.
func drawView(c *draw.Choices) view {
	v := view{
		cluster: cluster, node: "node", instanceARN: self.InstanceARN(), instanceID: me, collects: c.Bool(), synced: !c.Rarely(8),
		intents: map[inventory.Slot]intent{}, saved: map[inventory.Slot]intent{}, indexes: inventory.Indexes{Holders: map[inventory.Place]string{}}, attaching: map[string]inventory.Place{},
	}
	v.desired = desire(drawNodeENIs(c), matching, "us-east-1a", testCatalogOf(twoCards), nil)
	if c.Rarely(4) {
		v.desired.listed = map[types.UID]bool{"uid-a": true}
	}
	free, used := drawPlaces(c, 4)
	for range c.N(3) {
		v.indexes.Holders[free(int32(c.N(2)))] = "eni-foreign"
	}
	for n := range c.N(6) {
		id := fmt.Sprintf("eni-%d", n)
		e := eniFor(id, draw.Of(c, "uid-a", "uid-b", "uid-c", "uid-gone"), draw.Of(c, subnetA, subnetA2))
		e.Owner.Cluster, e.Owner.Instance = draw.Of(c, cluster, cluster, "other"), draw.Of(c, v.instanceARN, v.instanceARN, "arn:other")
		e.Owner.CreatedAt = time.Unix(int64(c.N(3)), 0)
		e.Status = draw.Of(c, "available", "in-use", "pending")
		e.Groups = draw.Of(c, []string{groupX}, []string{groupX, groupY})
		e.Addresses = drawAddresses(c)
		e.CountsFrom = draw.Of(c, time.Time{}, time.Unix(300, 0))
		switch c.N(5) {
		case 0:
			e = e.atPlace(me, free(int32(c.N(2))), draw.Of(c, "attached", "attaching", "detaching"))
		case 1:
			e = e.at(other, int32(c.N(3)), "attached")
		case 2:
			v.attaching[id] = free(int32(c.N(2)))
		case 3:
			e = e.at(me, 0, "attached")
		}
		e.Use, e.Evidence, e.Link = inventory.Use(c.N(5)), draw.Of(c, inventory.Shown, inventory.Expected, inventory.Missed, inventory.Reported, inventory.Disputed), inventory.Link(c.N(3))
		if e.Use == inventory.Left && e.Attachment != nil {
			delete(used, inventory.PlaceOf(e.Attachment))
		}
		if c.Rarely(3) {
			v.failures.Failed(call{verb: attach, slot: e.Slot(), eni: id, place: inventory.Place{DeviceIndex: int32(1 + c.N(4))}}.key(), ec2Error("UnauthorizedOperation", ""), time.Unix(10, 0))
		}
		v.enis = append(v.enis, e.ENI)
	}
	for _, w := range v.desired.wants {
		if c.Bool() {
			v.intents[w.Slot] = intent{nodeENI: w.nodeENI, createdAt: time.Unix(int64(c.N(2)), 0), replaces: draw.Of(c, "", "eni-gone")}
			if !c.Rarely(4) {
				v.saved[w.Slot] = v.intents[w.Slot]
			}
		}
		if c.Rarely(4) {
			v.failures.Failed(call{verb: create, slot: w.Slot}.key(), ec2Error("InternalError", ""), time.Unix(10, 0))
		}
	}
	return v
}

// FuzzPlan: whatever the situation, a plan breaks no rule, and carried out, call by
// call, it comes to an end at which every want has its ENI and is left alone.
func FuzzPlan(f *testing.F) {
	draw.Fuzz(f, 200, func(t *testing.T, c *draw.Choices) {
		v := drawView(c)
		p := next(v)
		if problem := broken(v, p); problem != "" {
			t.Fatalf("%s\nplan: %s\nplaces: %v\nview: %+v", problem, p.text(), p.places, v)
		}
		checkReport(t, c, v)
		settle(&v)
		for step := 0; ; step++ {
			p := next(v)
			if problem := broken(v, p); problem != "" {
				t.Fatalf("step %d: %s\nplan: %s\nview: %+v", step, problem, p.text(), v)
			}
			switch saved := maps.EqualFunc(v.saved, v.intents, intent.is); {
			case !saved:
				v.saved = maps.Clone(v.intents)
				continue
			case len(p.calls)+len(p.decide) == 0:
				checkEnd(t, v, p)
				return
			}
			if step > 100 {
				t.Fatalf("there is no end: %s\nview: %+v", p.text(), v)
			}
			pretend(&v, p, c)
		}
	})
}

// broken says which rule a plan breaks: it adds what is about whose an ENI is to violated.
func broken(v view, p plan) string {
	byID := map[string]inventory.ENI{}
	for _, e := range v.enis {
		byID[e.ID] = e
	}
	made := map[inventory.Slot]bool{}
	for _, c := range p.calls {
		e := byID[c.eni]
		switch c.verb {
		case create:
			if made[c.slot] || p.assigned[c.slot] != "" || !v.saved[c.slot].is(v.intents[c.slot]) {
				return fmt.Sprintf("a second ENI, or one without a saved intent, is created for %v", c.slot)
			}
			made[c.slot] = true
		case attach:
			if v.desired.unresolved[c.slot.UID] || p.assigned[c.slot] != c.eni {
				return c.eni + " is attached without need"
			}
		case detach, remove:
			if e.Owner.Cluster != v.cluster || e.Owner.Instance != v.instanceARN || !v.collects || !e.TakenDown() || !slices.Contains(p.release, c.eni) {
				return fmt.Sprintf("%s of %s", c.verb, c.eni)
			}
		}
	}
	for _, id := range p.release {
		if v.desired.mayWant(byID[id].Slot().UID) && !v.desired.slots()[byID[id].Slot()] {
			return id + " is released though it may be wanted"
		}
	}
	if problem := violated(v, p); problem != "" && !strayIndex(v) {
		return problem
	}
	return ""
}

// strayIndex says whether EC2 itself shows what cannot be: an ENI of ours at device
// index 0, or two at one.
func strayIndex(v view) bool {
	seen := map[inventory.Place]bool{{}: true}
	for _, e := range v.enis {
		if a := e.Attachment; a != nil && a.InstanceID == me && e.Use != inventory.Left {
			if seen[inventory.PlaceOf(a)] {
				return true
			}
			seen[inventory.PlaceOf(a)] = true
		}
	}
	return false
}

// checkEnd looks at a situation in which nothing is left to do.
func checkEnd(t *testing.T, v view, p plan) {
	t.Helper()
	for _, w := range v.desired.wants {
		i := slices.IndexFunc(v.enis, func(e inventory.ENI) bool { return e.ID == p.assigned[w.Slot] })
		switch {
		case v.desired.unresolved[w.UID]:
		case i < 0:
			t.Fatalf("nothing is done for %v though it has no ENI\nview: %+v", w.Slot, v)
		case v.enis[i].Attachment == nil && !v.enis[i].Uncertain():
			t.Fatalf("%s is not attached\nview: %+v", v.enis[i].ID, v)
		case !v.enis[i].AttachedTo(me), v.enis[i].TakenDown():
		default:
			if ipv4, ipv6 := w.lacks(v.enis[i]); ipv4.some() || ipv6.some() {
				t.Fatalf("%s lacks %+v of IPv4 and %+v of IPv6\nview: %+v", v.enis[i].ID, ipv4, ipv6, v)
			}
		}
	}
}

// checkReport reads a report back: what a restarted agent has to know is in it.
func checkReport(t *testing.T, c *draw.Choices, v view) {
	t.Helper()
	now := time.Unix(10_000, 0)
	links := map[string]linkState{}
	for _, e := range v.enis {
		links[e.ID] = linkState{Status: hostnet.Status{Present: c.Bool(), Name: "eth7", MTU: 1500}, err: draw.Of(c, nil, errors.New("broken"))}
		if c.Rarely(4) {
			v.failures.Failed(call{verb: setGroups, slot: e.Slot(), eni: e.ID}.key(), ec2Error("UnauthorizedOperation", "no"), now)
		}
	}
	s := situation{view: v, plan: next(v), links: links, identity: imds.Identity{Zone: "us-east-1a"}}
	r := report(s, v1alpha1.NodeENIStateStatus{}, now)
	if again := report(s, r, now.Add(time.Hour)); !reflect.DeepEqual(r, again) {
		t.Fatalf("the report depends on chance or time:\n%+v\n%+v", r, again)
	}
	if !v.synced {
		return
	}
	known := intentsIn(r)
	for _, w := range v.desired.wants {
		rec, exists := v.intents[w.Slot], s.plan.assigned[w.Slot] != ""
		if !exists && !v.desired.unresolved[w.UID] && !rec.createdAt.IsZero() && !known[w.Slot].is(rec) {
			t.Fatalf("the decision %+v for %v is not in %+v", rec, w.Slot, r.ENIs)
		}
	}
	told := map[string]int{}
	for _, entry := range r.ENIs {
		if entry.ENIID != "" {
			told[entry.ENIID]++
		}
	}
	for _, e := range v.enis {
		if n := told[e.ID]; n > 1 || n == 0 && !v.desired.mayWant(e.Owner.NodeENIUID) {
			t.Fatalf("%s is reported %d times in %+v", e.ID, n, r.ENIs)
		}
	}
	if n := len(restoredFrom(r, v.instanceARN, now).enis); n != len(told) {
		t.Fatalf("%d of %d ENIs are known again", n, len(told))
	}
}

// FuzzDesire: each place is wanted once, in this zone; a NodeENI that selects the
// node is never passed over in silence; and asked again, nothing else is wanted.
func FuzzDesire(f *testing.F) {
	draw.Fuzz(f, 200, func(t *testing.T, c *draw.Choices) {
		all := drawNodeENIs(c)
		known := testCatalog()
		d := desire(all, matching, "us-east-1a", known, nil)
		wanted := map[inventory.Slot]bool{}
		spoken := map[types.UID]bool{}
		for _, w := range d.wants {
			if wanted[w.Slot] {
				t.Fatalf("%v is wanted twice", w.Slot)
			}
			wanted[w.Slot], spoken[w.UID] = true, true
			if zone := known.subnets()[w.SubnetID].Zone; zone != "us-east-1a" {
				t.Fatalf("%v is in %s", w.Slot, zone)
			}
			if w.deviceIndex < 1 || len(w.groups) == 0 || len(w.interfaceName) > 15 || w.description == "" {
				t.Fatalf("wanted is %+v", w)
			}
		}
		for _, p := range d.problems {
			spoken[p.uid] = true
			if p.message == "" || p.reason == "" {
				t.Fatalf("a problem without words: %+v", p)
			}
		}
		for _, n := range all {
			if matches := n.DeletionTimestamp == nil && n.Selects(matching); matches != spoken[n.UID] {
				t.Fatalf("%s matches: %v, and is spoken of: %v", n.Name, matches, spoken[n.UID])
			}
		}
		if again := desire(all, matching, "us-east-1a", known, d.wants); again.text() != d.text() {
			t.Fatalf("at first\n%s, then\n%s", d.text(), again.text())
		}
		slices.Reverse(all)
		if again := desire(all, matching, "us-east-1a", known, nil); again.text() != d.text() {
			t.Fatalf("in one order\n%s, in another\n%s", d.text(), again.text())
		}
	})
}
