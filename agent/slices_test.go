package agent

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/agent/hostnet"
	"github.com/aws-multi-eni/aws-multi-eni/agent/inventory"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/driver"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// short has devices by NodeENI and number, those that are attached with a "+", and with
// the taints in brackets; and the room of each card.
func short(all []kube.ResourceSliceSpec, templates []want) string {
	var texts []string
	for _, s := range all {
		for _, c := range s.SharedCounters {
			texts = append(texts, c.Name+"="+c.Counters[driver.PlacesCounter].Value)
		}
		for _, d := range s.Devices {
			at, _ := placeOf(templates, d.Name)
			text := fmt.Sprintf("%s%d", at.UID, at.Place-1)
			if *d.Attributes["attached"].Bool {
				text += "+"
			}
			for _, taint := range d.Taints {
				text += "(" + strings.TrimPrefix(taint.Key, driver.TaintPrefix) + ")"
			}
			texts = append(texts, text)
		}
	}
	return strings.Join(texts, " ")
}

func TestSlices(t *testing.T) {
	now := time.Unix(10_000, 0)
	a, b, card1 := templateFor("a", subnetA), templateFor("b", subnetA2), templateFor("c", subnetA).on(1)
	always := wantFor("x", subnetA, 1)
	onDemand := func(t want, number int32) want { t.Slot = t.at(number); return t }
	claimedBy := func(name string, w want) want { w.claim = claimOf(name, "").reference(); return w }
	attached := eniFor("eni-0", "a", subnetA).onPlace(1).at(me, 2, "attached")
	free := eniFor("eni-1", "a", subnetA).onPlace(0)
	fail := func(key func(v *view) call, code string) func(*view) {
		return func(v *view) { v.failures.Failed(key(v).key(), ec2Error(code, ""), now) }
	}
	otherGroups := attached.with(func(e *inventory.ENI) { e.Groups = []string{"sg-other"} })
	setting := func(*view) call { return call{verb: setGroups, slot: attached.Slot(), eni: attached.ID} }
	creating := func(*view) call { return call{verb: create, slot: onDemand(a, 2).Slot} }
	attaching := func(*view) call {
		return call{verb: attach, slot: free.Slot(), eni: free.ID, place: inventory.Place{DeviceIndex: 1}}
	}
	for name, test := range map[string]struct {
		templates []want
		wants     []want
		enis      []fixture
		holders   int
		change    func(*view)
		link      linkState // of eni-0, unless it is present
		want      string
	}{
		"no NodeENI":                     {wants: []want{always}, want: ""},
		"nothing attached":               {templates: []want{a}, want: "card-0=3 a0 a1 a2"},
		"two NodeENIs":                   {templates: []want{a, b}, want: "card-0=3 a0 a1 a2 b0 b1 b2"},
		"two cards":                      {templates: []want{a, card1}, want: "card-0=3 card-1=2 a0 a1 a2 c0 c1"},
		"one is always attached":         {templates: []want{a}, wants: []want{always}, want: "card-0=2 a0 a1 a2"},
		"others have some":               {templates: []want{a}, holders: 2, want: "card-0=1 a0 a1 a2"},
		"others have all":                {templates: []want{a}, holders: 5, want: "card-0=0 a0 a1 a2"},
		"a warm ENI comes first":         {templates: []want{b, a}, wants: []want{onDemand(a, 1)}, enis: []fixture{attached}, want: "card-0=3 a1+ b0 b1 b2 a0 a2"},
		"a warm ENI without a link":      {templates: []want{a}, wants: []want{onDemand(a, 1)}, enis: []fixture{attached}, link: linkState{wait: wait{waiting: now, overdue: true}}, want: "card-0=3 a0 a2 a1(LinkOverdue)"},
		"its link is still to come":      {templates: []want{a}, wants: []want{onDemand(a, 1)}, enis: []fixture{attached}, link: linkState{wait: wait{waiting: now}}, want: "card-0=3 a0 a1 a2"},
		"its link has gone":              {templates: []want{a}, wants: []want{onDemand(a, 1)}, enis: []fixture{attached.with(func(e *inventory.ENI) { e.Link = inventory.LinkLost })}, link: linkState{wait: wait{waiting: now}}, want: "card-0=3 a0 a2 a1"},
		"its link cannot be configured":  {templates: []want{a}, wants: []want{onDemand(a, 1)}, enis: []fixture{attached}, link: linkState{err: errors.New("no")}, want: "card-0=3 a0 a2 a1(LinkFailed)"},
		"its link is still in a pod":     {templates: []want{a}, wants: []want{onDemand(a, 1)}, enis: []fixture{attached}, link: linkState{pod: "default/pod", claim: "x"}, want: "card-0=3 a0 a2 a1"},
		"its link is in the pod":         {templates: []want{a}, wants: []want{claimedBy("x", onDemand(a, 1))}, enis: []fixture{attached}, link: linkState{pod: "default/pod", claim: "uid-x"}, want: "card-0=3 a1+ a0 a2"},
		"it is in a pod of the last one": {templates: []want{a}, wants: []want{claimedBy("y", onDemand(a, 1))}, enis: []fixture{attached}, link: linkState{pod: "default/pod", claim: "uid-x"}, want: "card-0=3 a0 a2 a1"},
		"EC2 does not show it":           {templates: []want{a}, wants: []want{onDemand(a, 1)}, enis: []fixture{attached.with(func(e *inventory.ENI) { e.Evidence = inventory.Missed })}, want: "card-0=3 a0 a2 a1"},
		"it is being detached":           {templates: []want{a}, wants: []want{onDemand(a, 1)}, enis: []fixture{attached.at(me, 2, "detaching")}, want: "card-0=3 a0 a2 a1"},
		"its security groups are set":    {templates: []want{a}, wants: []want{onDemand(a, 1)}, enis: []fixture{otherGroups}, want: "card-0=3 a1+ a0 a2"},
		"EC2 fails to set them":          {templates: []want{a}, wants: []want{onDemand(a, 1)}, enis: []fixture{otherGroups}, change: fail(setting, "InternalError"), want: "card-0=3 a0 a2 a1"},
		"EC2 refuses to set them":        {templates: []want{a}, wants: []want{onDemand(a, 1)}, enis: []fixture{otherGroups}, change: fail(setting, "InvalidGroup.NotFound"), want: "card-0=3 a0 a2 a1(InvalidGroup.NotFound)"},
		"one that is attached elsewhere": {templates: []want{a}, wants: []want{onDemand(a, 0)}, enis: []fixture{free.at(other, 2, "attached")}, want: "card-0=3 a1 a2 a0(AttachedElsewhere)"},
		"a warm ENI is released":         {templates: []want{a}, enis: []fixture{attached}, want: "card-0=2 a0 a1(Releasing) a2"},
		"IAM does not allow to create": {templates: []want{a, b}, wants: []want{onDemand(a, 1)}, enis: []fixture{attached}, change: fail(creating, "UnauthorizedOperation"),
			want: "card-0=3 a1+ a0(UnauthorizedOperation) a2(UnauthorizedOperation) b0 b1 b2"},
		"the cool-down is over": {templates: []want{a}, change: func(v *view) {
			fail(creating, "UnauthorizedOperation")(v)
			v.now = v.now.Add(time.Minute)
		}, want: "card-0=3 a0 a1 a2"},
		"EC2 is in trouble": {templates: []want{a}, change: fail(creating, "InternalError"), want: "card-0=3 a0 a1 a2"},
		"a subnet is full": {templates: []want{a, card1, b}, change: func(v *view) {
			v.failures.Failed(subnetFullKey(subnetA), ec2Error("InsufficientFreeAddressesInSubnet", ""), now)
		}, want: "card-0=3 card-1=2 a0(InsufficientFreeAddressesInSubnet) a1(InsufficientFreeAddressesInSubnet) a2(InsufficientFreeAddressesInSubnet) c0(InsufficientFreeAddressesInSubnet) c1(InsufficientFreeAddressesInSubnet) b0 b1 b2"},
		"the instance takes no more": {templates: []want{a, card1}, wants: []want{onDemand(a, 0)}, enis: []fixture{free}, change: fail(attaching, "AttachmentLimitExceeded"),
			want: "card-0=3 card-1=2 a1(AttachmentLimitExceeded) a2(AttachmentLimitExceeded) c0 c1 a0(AttachmentLimitExceeded)"},
		"IAM does not allow to attach": {templates: []want{a, card1}, wants: []want{onDemand(a, 0)}, enis: []fixture{free}, change: fail(attaching, "UnauthorizedOperation"),
			want: "card-0=3 card-1=2 a1(UnauthorizedOperation) a2(UnauthorizedOperation) c0(UnauthorizedOperation) c1(UnauthorizedOperation) a0(UnauthorizedOperation)"},
		"this ENI cannot be attached": {templates: []want{a}, wants: []want{onDemand(a, 0)}, enis: []fixture{free}, change: fail(attaching, "UnsupportedOperation"),
			want: "card-0=3 a1 a2 a0(UnsupportedOperation)"},
		"its NodeENI has become invalid": {templates: []want{a}, wants: []want{onDemand(a, 1)}, enis: []fixture{attached}, change: func(v *view) {
			v.desired.unresolved["a"] = true
			v.desired.problems = []problem{{uid: "a", reason: "SecurityGroupNotFound"}}
		}, want: "card-0=3 a1+ a0(SecurityGroupNotFound) a2(SecurityGroupNotFound)"},
	} {
		t.Run(name, func(t *testing.T) {
			v := view{now: now, node: "node", instanceID: me, synced: true, enis: enis(test.enis...), indexes: inventory.Indexes{Holders: map[inventory.Place]string{}, Max: map[int32]int32{0: 4, 1: 2}}}
			v.desired = desire(nil, nil, "", nil, nil)
			v.desired.onDemand, v.desired.wants = test.templates, test.wants
			for n := range test.holders {
				v.indexes.Holders[inventory.Place{DeviceIndex: int32(20 + n)}] = "eni-foreign"
			}
			if test.change != nil {
				test.change(&v)
			}
			links := map[string]linkState{attached.ID: test.link}
			if reflect.ValueOf(test.link).IsZero() {
				links[attached.ID] = linkState{Status: hostnet.Status{Present: true, Name: "eth2"}}
			}
			p := next(v)
			entries := report(situation{view: v, plan: p, links: links}, v1alpha1.NodeENIStateStatus{}, v.now).ENIs
			all := slicesOf(offering{view: v, plan: p, entries: entries, zone: "us-east-1a"})
			if got := short(all, test.templates); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

// What a claim can select by, and what the API server asks of slices.
func TestDevices(t *testing.T) {
	a := templateFor("a", subnetA)
	a.nodeENI, a.cidr, a.mtu = strings.Repeat("a", 100), "10.0.1.0/24", 9001
	a.ipv6.Addresses = new(int32(1))
	v := view{node: "node", indexes: inventory.Indexes{Max: map[int32]int32{0: 30, 1: 31}}, desired: desired{onDemand: []want{a, templateFor("b", subnetA).on(1), templateFor("c", subnetA).on(1)}}}
	all := slicesOf(offering{view: v, zone: "us-east-1a"})
	total := 0
	for _, s := range all {
		if s.Driver != driver.Name || s.Pool.Name != "node" || s.NodeName != "node" || len(s.Devices) > devicesInSlice || (len(s.Devices) > 0) == (len(s.SharedCounters) > 0) {
			t.Errorf("%+v", s)
		}
		total += len(s.Devices)
		for _, d := range s.Devices {
			if len(d.Attributes) != len(all[1].Devices[0].Attributes) {
				t.Errorf("%s has %d attributes, not those of the others", d.Name, len(d.Attributes))
			}
		}
	}
	if len(all) != 3 || total != 29+31+31 {
		t.Errorf("%d slices, %d devices", len(all), total)
	}
	d := all[1].Devices[0]
	for key, value := range d.Attributes {
		if value.String != nil && len(*value.String) > 64 {
			t.Errorf("%s is %q", key, *value.String)
		}
	}
	at := d.Attributes
	if name, id := *at["k8s.cni.cncf.io/resourceName"].String, *at["k8s.cni.cncf.io/deviceID"].String; name != v1alpha1.DeviceResource(a.nodeENI) || id != d.Name {
		t.Errorf("Multus finds device %s by %s and calls it %s", d.Name, name, id)
	}
	if !*at["ipv4"].Bool || !*at["ipv6"].Bool || *at["mtu"].Int != 9001 || *at["networkCard"].Int != 0 || *at["zone"].String != "us-east-1a" || *at["subnetID"].String != subnetA || *at["attached"].Bool {
		t.Errorf("%+v", at)
	}
	if !*d.BindsToNode || !slices.Equal(d.BindingConditions, []string{driver.ConditionAttached}) || !slices.Equal(d.BindingFailureConditions, []string{driver.ConditionAttachFailed}) || d.ConsumesCounters[0].CounterSet != "card-0" {
		t.Errorf("%+v", d)
	}
}
