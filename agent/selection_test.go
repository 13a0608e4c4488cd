package agent

import (
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/agent/agenttest"
	"github.com/aws-multi-eni/aws-multi-eni/agent/inventory"
	"github.com/aws-multi-eni/aws-multi-eni/agent/retry"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/imds"
)

var (
	createX, groupsX = call{verb: create, slot: inventory.Slot{UID: "uid-x", SubnetID: subnetA}}, call{verb: setGroups, slot: inventory.Slot{UID: "uid-x", SubnetID: subnetA}, eni: "eni-x"}
	createY, groupsY = call{verb: create, slot: inventory.Slot{UID: "uid-y", SubnetID: subnetA}}, call{verb: setGroups, slot: inventory.Slot{UID: "uid-y", SubnetID: subnetA}, eni: "eni-y"}
	attachY          = call{verb: attach, slot: inventory.Slot{UID: "uid-y", SubnetID: subnetA}, eni: "eni-y", place: inventory.Place{DeviceIndex: 3}}
	fullX            = call{verb: create, slot: inventory.Slot{UID: "uid-x", SubnetID: subnetA2}}
	brisk            = call{verb: setDescription, slot: inventory.Slot{UID: "uid-x", SubnetID: subnetA}, eni: "eni-x"}
)

// failing is what waits there.
var failing = []retry.Key{
	createX.key(), groupsX.key(), createY.key(), groupsY.key(), attachY.key(), fullX.key(), subnetFullKey(subnetA2), brisk.key(),
	named(groupsByName, "of-x"), describeKey,
}

// waiting is an agent of a node that the NodeENIs x and y select, and z does not. Much
// has failed there.
func waiting(now time.Time) (*Agent, Snapshot) {
	a := New(Config{Log: slog.New(slog.DiscardHandler)})
	z := nodeENI("z", nil)
	z.Spec.NodeSelector = map[string]string{"ng": "other"}
	s := Snapshot{NodeExists: true, Labels: matching, NodeENIs: []v1alpha1.NodeENI{nodeENI("x", nil), nodeENI("y", nil), z}}
	a.take(s, now)
	for _, c := range []call{createX, createY} {
		a.callFailed(c, ec2Error("UnauthorizedOperation", "…"), now)
	}
	for _, c := range []call{groupsX, groupsY} {
		a.callFailed(c, answerWith(400, "SomethingNew"), now)
	}
	a.callFailed(attachY, ec2Error("AttachmentLimitExceeded", "…"), now)
	a.callFailed(fullX, ec2Error("InsufficientFreeAddressesInSubnet", "…"), now)
	a.callFailed(brisk, ec2Error("Unavailable", "…"), now)
	a.failures.Failed(named(groupsByName, "of-x"), errAbsent, now)
	a.failures.Failed(describeKey, ec2Error("UnauthorizedOperation", ""), now)
	return a, s
}

// Each failure waits for what it lacks, and for nothing else.
func TestWhatIsTriedAgain(t *testing.T) {
	now := time.Now()
	edit := func(uid string, f func(*v1alpha1.NodeENI)) func(*Agent, Snapshot) {
		return func(a *Agent, s Snapshot) {
			s.NodeENIs = slices.Clone(s.NodeENIs)
			for i := range s.NodeENIs {
				if string(s.NodeENIs[i].UID) == uid {
					s.NodeENIs[i].Generation++
					f(&s.NodeENIs[i])
				}
			}
			a.take(s, now)
		}
	}
	gone := func(subnet string) func(*Agent, Snapshot) {
		return func(a *Agent, _ Snapshot) { a.gone(eniFor("eni-z", "z", subnet).ENI, now) }
	}
	nothing := func(*v1alpha1.NodeENI) {}
	ofX, ofY := []retry.Key{createX.key(), groupsX.key()}, []retry.Key{createY.key(), groupsY.key()}
	for name, test := range map[string]struct {
		happens func(*Agent, Snapshot)
		again   []retry.Key
	}{
		"nothing": {func(a *Agent, s Snapshot) { a.take(s, now) }, nil},
		"a label of no concern": {func(a *Agent, s Snapshot) {
			s.Labels = map[string]string{"ng": "multi-eni", "load": "high"}
			a.take(s, now)
		}, nil},
		"x":                       {edit("uid-x", nothing), ofX},
		"y":                       {edit("uid-y", nothing), ofY},
		"x names a group":         {edit("uid-x", func(n *v1alpha1.NodeENI) { n.Spec.SecurityGroupNames = []string{"of-x"} }), append(ofX, named(groupsByName, "of-x"))},
		"y selects other nodes":   {edit("uid-y", func(n *v1alpha1.NodeENI) { n.Spec.NodeSelector = map[string]string{"ng": "other"} }), ofY},
		"z, of other nodes":       {edit("uid-z", nothing), nil},
		"z selects this node now": {edit("uid-z", func(n *v1alpha1.NodeENI) { n.Spec.NodeSelector = matching }), nil},
		"y is deleted": {func(a *Agent, s Snapshot) {
			s.NodeENIs = []v1alpha1.NodeENI{s.NodeENIs[0], s.NodeENIs[2]}
			a.take(s, now)
		}, ofY},
		"x's names stand for other groups": {func(a *Agent, _ Snapshot) {
			other := wantFor("uid-x", subnetA, 2)
			other.groups = []string{"sg-9"}
			a.failures.RetryChanged(regrouped([]want{wantFor("uid-x", subnetA, 2), wantFor("uid-y", subnetA, 3)}, []want{other, wantFor("uid-y", subnetA, 3)}))
		}, ofX},
		"an ENI is gone":                    {gone(subnetA), []retry.Key{attachY.key()}},
		"an ENI in the full subnet is gone": {gone(subnetA2), []retry.Key{attachY.key(), fullX.key(), subnetFullKey(subnetA2)}},
	} {
		t.Run(name, func(t *testing.T) {
			a, s := waiting(now)
			test.happens(a, s)
			for _, key := range failing {
				if again := !a.failures.Blocks(key, now); again != slices.Contains(test.again, key) {
					t.Errorf("%+v is tried again at once: %v", key, again)
				}
			}
		})
	}
}

// An ENI has no place on a full instance until another one leaves, whoever made it:
// its link goes, or IMDS no longer lists it.
func TestRoomIsNoticed(t *testing.T) {
	now := time.Now()
	const ours, foreign = "02:00:00:00:00:01", "02:00:00:00:00:02"
	list := func(macs ...string) (all []imds.Interface) {
		for _, mac := range macs {
			all = append(all, imds.Interface{MAC: hardwareAddr(mac)})
		}
		return all
	}
	for name, test := range map[string]struct {
		leaves func(a *Agent, links *agenttest.Links)
		room   bool
	}{
		"nothing":                 {func(*Agent, *agenttest.Links) {}, false},
		"our link":                {func(_ *Agent, l *agenttest.Links) { l.Unplug(ours) }, true},
		"a foreign link":          {func(_ *Agent, l *agenttest.Links) { l.Unplug(foreign) }, true},
		"a link that is no ENI's": {func(_ *Agent, l *agenttest.Links) { l.Unplug("02:00:00:00:00:09") }, false},
		"an interface, by IMDS":   {func(a *Agent, _ *agenttest.Links) { a.capacity.learn(&a.failures, list(ours)) }, true},
		"nothing, by IMDS":        {func(a *Agent, _ *agenttest.Links) { a.capacity.learn(&a.failures, list(foreign, ours)) }, false},
		"nothing, one has come beside": {func(a *Agent, _ *agenttest.Links) {
			a.capacity.learn(&a.failures, list(ours, foreign, "02:00:00:00:00:03"))
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			links := agenttest.NewLinks()
			for _, mac := range []string{ours, foreign, "02:00:00:00:00:09"} {
				links.Plug(mac, mac)
			}
			a := New(Config{Log: slog.New(slog.DiscardHandler), Links: links})
			a.synced(now, eniFor("eni-x", "x", subnetA).at(me, 2, "attached").with(func(e *inventory.ENI) { e.MAC = ours }))
			look := func() { a.capacity.look(&a.failures, a.inventory.All(), a.linkMayBeHere) }
			a.capacity.learn(&a.failures, list(ours, foreign))
			for range 20 {
				a.callFailed(attachY, ec2Error("AttachmentLimitExceeded", "…"), now)
			}
			look()
			look()
			if !a.failures.Blocks(attachY.key(), now.Add(20*time.Minute)) {
				t.Fatal("it does not wait")
			}
			test.leaves(a, links)
			if look(); a.failures.Blocks(attachY.key(), now) == test.room {
				t.Errorf("tried at once: %v, want %v", !test.room, test.room)
			}
		})
	}
}

// What has failed about a subnet, a name, a place or an ENI that is no more is
// forgotten when its wait is over, and not before: it may come back.
func TestForgetFailures(t *testing.T) {
	now := time.Unix(10_000, 0)
	x := wantFor("x", subnetA, 2)
	gone := inventory.Slot{UID: "gone", SubnetID: subnetB}
	a := New(Config{Log: slog.New(slog.DiscardHandler)})
	a.desired = desired{wants: []want{x}, named: []retry.Key{named(subnetsByID, subnetA), named(groupsByName, "two words")}}
	a.synced(now, eniFor("eni-x", "x", subnetA))
	kept := []retry.Key{
		describeKey, saveKey, nodePart.key, statusPart.key, subnetsByID, named(groupsByName, "two words"), named(subnetsByID, subnetA), subnetFullKey(subnetA),
		call{verb: create, slot: x.Slot}.key(), call{verb: attach, eni: "eni-x", place: inventory.Place{DeviceIndex: 2}}.key(), call{verb: setGroups, eni: "eni-x"}.key(),
	}
	dropped := []retry.Key{
		named(subnetsByID, subnetB), named(groupsByName, "words"), subnetFullKey(subnetB), call{verb: create, slot: gone}.key(),
		call{verb: attach, eni: "eni-gone", place: inventory.Place{DeviceIndex: 2}}.key(), call{verb: remove, eni: "eni-gone"}.key(),
	}
	for _, key := range slices.Concat(kept, dropped) {
		a.failures.Failed(key, errAbsent, now)
	}
	a.forgetFailures(now)
	if n := len(a.failures.Times()); n != len(kept)+len(dropped) {
		t.Errorf("%d are left before their wait is over", n)
	}
	a.forgetFailures(now.Add(time.Hour))
	for _, key := range slices.Concat(kept, dropped) {
		if _, left := a.failures.Get(key); left != slices.Contains(kept, key) {
			t.Errorf("%+v is left: %v", key, left)
		}
	}
}
