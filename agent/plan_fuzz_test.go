package agent

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"reflect"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/agent/hostnet"
	"github.com/aws-multi-eni/aws-multi-eni/agent/retry"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/imds"
	"github.com/aws-multi-eni/aws-multi-eni/internal/draw"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
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
		}))
		if n := &all[len(all)-1]; c.Rarely(8) {
			n.DeletionTimestamp = &metav1.Time{Time: time.Unix(9, 0)}
		}
	}
	return all
}

// drawView is a situation, be it one that no order of events can bring about.
func drawView(c *draw.Choices) view {
	v := view{
		cluster: cluster, node: "node", instanceARN: self.InstanceARN(), instanceID: me, collects: c.Bool(), certain: !c.Rarely(8),
		records: map[slot]record{}, saved: map[slot]record{}, taken: map[int32]string{}, attaching: map[string]int32{}, blocked: map[retry.Key]bool{}, refused: map[retry.Key]bool{},
	}
	v.desired = desire(drawNodeENIs(c), matching, "us-east-1a", testCatalog(), nil)
	if c.Rarely(4) {
		v.desired.told = map[types.UID]bool{"uid-a": true}
	}
	used := map[int32]bool{}
	free := func() int32 { // EC2 gives an index once
		i := int32(1 + c.N(4))
		for used[i] {
			i++
		}
		used[i] = true
		return i
	}
	for range c.N(3) {
		v.taken[free()] = "eni-foreign"
	}
	for n := range c.N(6) {
		id := fmt.Sprintf("eni-%d", n)
		e := eniFor(id, draw.Of(c, "uid-a", "uid-b", "uid-c", "uid-gone"), draw.Of(c, subnetA, subnetA2))
		e.Owner.Cluster, e.Owner.Instance = draw.Of(c, cluster, cluster, "other"), draw.Of(c, v.instanceARN, v.instanceARN, "arn:other")
		e.Owner.CreatedAt = time.Unix(int64(c.N(3)), 0)
		e.Status = draw.Of(c, "available", "in-use", "pending")
		e.Groups = draw.Of(c, []string{groupX}, []string{groupX, groupY})
		switch c.N(5) {
		case 0:
			e = e.at(me, free(), draw.Of(c, "attached", "attaching", "detaching"))
		case 1:
			e = e.at(other, int32(c.N(3)), "attached")
		case 2:
			v.attaching[id] = free()
		case 3:
			e = e.at(me, 0, "attached")
		}
		e.released, e.left, e.returning, e.reported, e.collected = c.Rarely(3), c.Rarely(4), c.Rarely(8), c.Rarely(8), v.collects
		e.absent = c.N(2)
		if e.left && e.Attachment != nil {
			delete(used, e.Attachment.DeviceIndex)
		}
		if c.Rarely(3) {
			v.refused[call{verb: attach, slot: e.slot(), eni: id, index: int32(1 + c.N(4))}.key()] = true
		}
		v.enis = append(v.enis, e)
	}
	for _, w := range v.desired.wants {
		if c.Bool() {
			v.records[w.slot] = record{nodeENI: w.nodeENI, createdAt: time.Unix(int64(c.N(2)), 0), replaces: draw.Of(c, "", "eni-gone")}
			if !c.Rarely(4) {
				v.saved[w.slot] = v.records[w.slot]
			}
		}
		if c.Rarely(4) {
			v.blocked[call{verb: create, slot: w.slot}.key()] = true
		}
	}
	return v
}

// FuzzPlan: whatever the situation, a plan breaks no rule, and carried out, call by
// call, it comes to an end at which every want has its ENI and is left alone.
func FuzzPlan(f *testing.F) {
	for _, seed := range draw.Seeds(200) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c := draw.From(data)
		v := drawView(c)
		p := next(v)
		if problem := broken(v, p); problem != "" {
			t.Fatalf("%s\nplan: %s\nindexes: %v\nview: %+v", problem, p.text(), p.indexes, v)
		}
		checkReport(t, c, v)
		settle(&v)
		for step := 0; ; step++ {
			p := next(v)
			if problem := broken(v, p); problem != "" {
				t.Fatalf("step %d: %s\nplan: %s\nview: %+v", step, problem, p.text(), v)
			}
			switch saved := maps.EqualFunc(v.saved, v.records, record.is); {
			case !saved:
				v.saved = maps.Clone(v.records)
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
	byID := map[string]tracked{}
	for _, e := range v.enis {
		byID[e.ID] = e
	}
	made := map[slot]bool{}
	for _, c := range p.calls {
		e := byID[c.eni]
		switch c.verb {
		case create:
			if made[c.slot] || p.assigned[c.slot] != "" || !v.saved[c.slot].is(v.records[c.slot]) {
				return fmt.Sprintf("a second ENI, or one that nobody knows of, is created for %v", c.slot)
			}
			made[c.slot] = true
		case attach:
			if v.desired.held[c.slot.uid] || p.assigned[c.slot] != c.eni {
				return c.eni + " is attached for nobody"
			}
		case detach, remove:
			if e.Owner.Cluster != v.cluster || e.Owner.Instance != v.instanceARN || !v.collects || !e.released || !slices.Contains(p.release, c.eni) {
				return fmt.Sprintf("%s of %s", c.verb, c.eni)
			}
		}
	}
	for _, id := range p.release {
		if v.desired.leaves(byID[id].slot().uid) && !v.desired.slots()[byID[id].slot()] {
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
	seen := map[int32]bool{0: true}
	for _, e := range v.enis {
		if a := e.Attachment; a != nil && a.InstanceID == me && !e.left {
			if seen[a.DeviceIndex] {
				return true
			}
			seen[a.DeviceIndex] = true
		}
	}
	return false
}

// settle lets EC2 tell how things are, and finish what it was at.
func settle(v *view) {
	v.blocked, v.certain = nil, true
	v.enis = slices.Clone(v.enis)
	for i := range v.enis {
		e := &v.enis[i]
		e.reported, e.returning, e.absent = false, false, 0
		if e.Attachment.Detaching() {
			e.Attachment, e.Status = nil, "available"
		}
	}
}

// pretend carries out one thing of what is planned, as EC2 would.
func pretend(v *view, p plan, choices *draw.Choices) {
	if len(p.decide) > 0 {
		for _, s := range p.decide {
			r := v.records[s]
			r.createdAt = time.Unix(77, 0)
			v.records[s] = r
		}
		return
	}
	c := p.calls[choices.N(len(p.calls))]
	i := slices.IndexFunc(v.enis, func(e tracked) bool { return e.ID == c.eni })
	if c.verb == create {
		v.enis = append(v.enis, tracked{ENI: eni.ENI{
			ID: fmt.Sprintf("eni-new%d", len(v.enis)), SubnetID: c.params.SubnetID, Groups: c.params.Groups, Description: c.params.Description,
			SourceDestCheck: true, Status: "available", Owner: c.params.Owner,
		}})
		return
	}
	e := v.enis[i]
	switch c.verb {
	case attach:
		e = e.at(me, c.index, "attached")
		e.Attachment.DeleteOnTermination = false
		delete(v.attaching, e.ID)
	case setDeleteOnTermination:
		a := *e.Attachment
		a.DeleteOnTermination = c.value
		e.Attachment = &a
	case setSourceDestCheck:
		e.SourceDestCheck = c.value
	case setGroups:
		e.Groups = c.groups
	case setDescription:
		e.Description = c.text
	case detach:
		e.Attachment, e.Status = nil, "available"
	case remove:
		v.enis = slices.Delete(slices.Clone(v.enis), i, i+1)
		return
	}
	v.enis = slices.Clone(v.enis)
	v.enis[i] = e
}

// checkEnd looks at a situation in which nothing is left to do.
func checkEnd(t *testing.T, v view, p plan) {
	t.Helper()
	for _, w := range v.desired.wants {
		i := slices.IndexFunc(v.enis, func(e tracked) bool { return e.ID == p.assigned[w.slot] })
		switch {
		case v.desired.held[w.uid]:
		case i < 0:
			t.Fatalf("nothing is done for %v though it has no ENI\nview: %+v", w.slot, v)
		case v.enis[i].Attachment == nil && !v.enis[i].doubtful():
			t.Fatalf("%s is not attached\nview: %+v", v.enis[i].ID, v)
		}
	}
}

// checkReport reads a report back: what a restarted agent has to know is in it.
func checkReport(t *testing.T, c *draw.Choices, v view) {
	t.Helper()
	now := time.Unix(10_000, 0)
	links := map[string]linkState{}
	f := &retry.Failures{}
	for _, e := range v.enis {
		links[e.ID] = linkState{Status: hostnet.Status{Present: c.Bool(), Name: "eth7", MTU: 1500}, err: draw.Of(c, nil, errors.New("broken"))}
		if c.Rarely(4) {
			f.Failed(call{verb: setGroups, slot: e.slot(), eni: e.ID}.key(), ec2Error("UnauthorizedOperation", "no"), now)
		}
	}
	s := situation{view: v, plan: next(v), failures: *f, links: links, identity: imds.Identity{Zone: "us-east-1a"}}
	r := report(s, v1alpha1.NodeENIStateStatus{}, now)
	if again := report(s, r, now.Add(time.Hour)); !reflect.DeepEqual(r, again) {
		t.Fatalf("the report depends on chance or time:\n%+v\n%+v", r, again)
	}
	if !v.certain {
		return
	}
	known := savedRecords(r)
	for _, w := range v.desired.wants {
		rec, exists := v.records[w.slot], s.plan.assigned[w.slot] != ""
		if !exists && !v.desired.held[w.uid] && !rec.createdAt.IsZero() && !known[w.slot].is(rec) {
			t.Fatalf("the decision %+v for %v is not in %+v", rec, w.slot, r.ENIs)
		}
	}
	told := map[string]int{}
	for _, entry := range r.ENIs {
		if entry.ENIID != "" {
			told[entry.ENIID]++
		}
	}
	for _, e := range v.enis {
		if n := told[e.ID]; n > 1 || n == 0 && !v.desired.leaves(e.Owner.NodeENIUID) {
			t.Fatalf("%s is reported %d times in %+v", e.ID, n, r.ENIs)
		}
	}
	if n := len(recall(r, v.instanceARN)); n != len(told) {
		t.Fatalf("%d of %d ENIs are known again", n, len(told))
	}
}

// FuzzDesire: each place is wanted once, in this zone; a NodeENI that selects the
// node is never passed over in silence; and asked again, nothing else is wanted.
func FuzzDesire(f *testing.F) {
	for _, seed := range draw.Seeds(200) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		all := drawNodeENIs(draw.From(data))
		known := testCatalog()
		d := desire(all, matching, "us-east-1a", known, nil)
		wanted := map[slot]bool{}
		spoken := map[types.UID]bool{}
		for _, w := range d.wants {
			if wanted[w.slot] {
				t.Fatalf("%v is wanted twice", w.slot)
			}
			wanted[w.slot], spoken[w.uid] = true, true
			if zone := known.subnets()[w.subnet].Zone; zone != "us-east-1a" {
				t.Fatalf("%v is in %s", w.slot, zone)
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

// FuzzMerge: no ENI gets lost between two describes, none appears twice, and none
// is gone without proof.
func FuzzMerge(f *testing.F) {
	for _, seed := range draw.Seeds(200) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c := draw.From(data)
		now := time.Unix(10_000, 0)
		ago := func() time.Time { return now.Add(-time.Duration(c.N(8)) * time.Minute) }
		var before []tracked
		var list []eni.ENI
		here := map[string]bool{}
		for n := range c.N(5) {
			e := eniFor(fmt.Sprintf("eni-%d", n), "x", subnetA)
			e.Owner.CreatedAt, e.made = ago(), ago()
			e.listed, e.plugged, e.hidden, e.released, e.left = c.Bool(), c.Bool(), c.Bool(), c.Bool(), c.Bool()
			e.returning, e.collected, e.reported = c.Rarely(3), c.Bool(), c.Rarely(3)
			e.absent = c.N(2)
			e.changed, e.attached = ago(), ago()
			if c.Bool() {
				e = e.at(me, int32(1+n), draw.Of(c, "attached", "detaching"))
			}
			here[e.ID] = c.Bool()
			if c.Bool() {
				before = append(before, e)
			}
			if c.Bool() {
				list = append(list, e.ENI)
			}
		}
		after, gone := merge(before, list, func(e tracked) bool { return here[e.ID] }, now)
		where := map[string]int{}
		for _, e := range after {
			where[e.ID]++
			if shown := slices.ContainsFunc(list, func(o eni.ENI) bool { return o.ID == e.ID }); shown && (!e.listed || e.doubtful()) {
				t.Fatalf("%s was shown and is in doubt", e.ID)
			}
		}
		for _, id := range gone {
			where[id]++
		}
		for _, e := range before {
			if where[e.ID] != 1 {
				t.Fatalf("%s is there or gone %d times", e.ID, where[e.ID])
			}
			lost := slices.Contains(gone, e.ID)
			if lost && !e.leaving() && (here[e.ID] && !e.disproved(now) || e.absent == 0 || now.Before(e.shownFrom(now))) {
				t.Fatalf("%s is taken for gone: %+v", e.ID, e)
			}
		}
		for _, e := range list {
			if where[e.ID] != 1 || slices.Contains(gone, e.ID) {
				t.Fatalf("%s was shown and is there %d times", e.ID, where[e.ID])
			}
		}
	})
}

// FuzzIndexesTaken: IMDS is believed of no ENI of ours, of no other card, and of
// none that has neither a link nor EC2's word.
func FuzzIndexesTaken(f *testing.F) {
	for _, seed := range draw.Seeds(200) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c := draw.From(data)
		var shown []imds.Interface
		before := map[int32]string{}
		for n := range c.N(6) {
			i := imds.Interface{
				ENIID: fmt.Sprintf("eni-%d", n), MAC: net.HardwareAddr{2, 0, 0, 0, 0, byte(n)},
				Settled: !c.Rarely(3), DeviceIndex: c.N(5) - 1, Card: c.N(2),
			}
			shown = append(shown, i)
			if c.Bool() {
				before[int32(c.N(4))] = i.ENIID
			}
		}
		ours := map[string]bool{"eni-0": c.Bool(), "eni-1": c.Bool()}
		here := func(mac net.HardwareAddr) bool { return mac[5]%2 == 0 }
		for index, id := range indexesTaken(shown, ours, before, here) {
			proven := slices.ContainsFunc(shown, func(i imds.Interface) bool {
				return i.ENIID == id && i.Settled && i.Card == 0 && int32(i.DeviceIndex) == index && (here(i.MAC) || before[index] == id)
			})
			if index <= 0 || ours[id] || !proven {
				t.Fatalf("%s is taken to hold %d", id, index)
			}
		}
	})
}
