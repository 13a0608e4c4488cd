package agent

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/aws-multi-eni/aws-multi-eni/agent/inventory"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// templateFor is what the wants of claims are made of.
func templateFor(uid, subnet string) want {
	w := wantFor(uid, subnet, 1)
	w.onDemand = true
	return w
}

// at is the template's place with that number.
func (w want) at(number int32) inventory.Slot {
	return inventory.Slot{UID: w.UID, SubnetID: w.SubnetID, Place: 1 + number}
}

func claimOf(name, device string) Claim {
	return Claim{Namespace: "default", Name: name, UID: types.UID("uid-" + name), Device: device}
}

// onPlace is an ENI on demand.
func (f fixture) onPlace(number int32) fixture {
	return f.with(func(e *inventory.ENI) { e.Owner.Place = 1 + number })
}

// Devices have names that the API server takes, stay what they are, and are those of one
// place only.
func TestDeviceNames(t *testing.T) {
	long := templateFor("uid-1", subnetA)
	long.nodeENI = strings.Repeat("a.", 120) + "z"
	edge := templateFor("uid-1", subnetA)
	edge.nodeENI = strings.Repeat("a", 39) + ".b"
	templates := []want{templateFor("uid-a", subnetA), templateFor("uid-a", subnetA2), templateFor("uid-b", subnetA), long, edge}
	seen := map[string]bool{}
	for _, w := range templates {
		for _, number := range []int32{0, 1, 11, maxPlaces - 1} {
			name := w.device(number)
			if errs := validation.IsDNS1123Label(name); len(errs) > 0 || seen[name] {
				t.Errorf("%q: %v, seen before: %v", name, errs, seen[name])
			}
			seen[name] = true
			if at, ok := placeOf([]want{w}, name); !ok || at != w.at(number) {
				t.Errorf("%q is %+v %v, want %+v", name, at, ok, w.at(number))
			}
		}
	}
	a := templates[0]
	if got, want := a.device(0), "uid-a-d8a4bee2-0"; got != want {
		t.Errorf("device 0 is %s, and was %s", got, want)
	}
	stem := strings.TrimSuffix(a.device(0), "-0")
	for _, no := range []string{"", "0", "-0", stem, stem + "-", stem + "-x", stem + "-00", stem + "-128", stem + "--1", "other-0", "x" + a.device(0)} {
		if at, ok := placeOf(templates, no); ok {
			t.Errorf("%q is %+v", no, at)
		}
	}
}

// text has the places in short.
func (p places) text(now time.Time) string {
	var texts []string
	for slot, use := range p {
		text := fmt.Sprintf("%d idle for ever", slot.Place-1)
		switch {
		case use.claim != nil:
			text = fmt.Sprintf("%d claimed by %s", slot.Place-1, use.claim.Name)
		case !use.idle.IsZero():
			text = fmt.Sprintf("%d idle for %v", slot.Place-1, now.Sub(use.idle))
		}
		texts = append(texts, text)
	}
	slices.Sort(texts)
	return strings.Join(texts, ", ")
}

func TestPlacesNext(t *testing.T) {
	now := time.Unix(10_000, 0)
	a := templateFor("uid-a", subnetA)
	eni := eniFor("eni-0", "uid-a", subnetA).onPlace(0).at(me, 1, "attached")
	claimed := func(name string) placeUse { return placeUse{claim: claimOf(name, "").reference()} }
	idle := func(seconds time.Duration) placeUse { return placeUse{idle: now.Add(-seconds * time.Second)} }
	for name, test := range map[string]struct {
		before  places
		claims  []Claim
		unknown bool
		enis    []fixture
		asked   bool
		want    string
	}{
		"nothing":                                   {},
		"a claim":                                   {claims: []Claim{claimOf("x", a.device(3))}, want: "3 claimed by x"},
		"a claim of another node's device":          {claims: []Claim{claimOf("x", "other-0")}},
		"two devices of a claim":                    {before: places{a.at(0): claimed("x")}, claims: []Claim{claimOf("x", a.device(1)), claimOf("x", a.device(0))}, want: "0 claimed by x, 1 claimed by x"},
		"a claim gets a warm ENI":                   {before: places{a.at(0): idle(9)}, claims: []Claim{claimOf("x", a.device(0))}, enis: []fixture{eni}, want: "0 claimed by x"},
		"a claim goes":                              {before: places{a.at(0): claimed("x")}, enis: []fixture{eni}, want: "0 idle for 0s"},
		"a claim goes before EC2 was asked":         {before: places{a.at(0): claimed("x")}},
		"a claim goes while EC2 is asked":           {before: places{a.at(0): claimed("x")}, asked: true, want: "0 idle for 0s"},
		"a claim may have gone":                     {before: places{a.at(0): claimed("x")}, unknown: true, want: "0 claimed by x"},
		"a claim gets another device":               {before: places{a.at(0): claimed("x")}, claims: []Claim{claimOf("x", a.device(1))}, enis: []fixture{eni}, want: "0 idle for 0s, 1 claimed by x"},
		"a claim gets another device, in the dark":  {before: places{a.at(0): claimed("x")}, claims: []Claim{claimOf("x", a.device(1))}, enis: []fixture{eni}, unknown: true, want: "0 idle for 0s, 1 claimed by x"},
		"the device is not known at the moment":     {before: places{a.at(0): claimed("x")}, claims: []Claim{claimOf("x", "unresolved-0")}, want: "0 claimed by x"},
		"another claim, and the first still has it": {before: places{a.at(0): claimed("y")}, claims: []Claim{claimOf("x", a.device(0)), claimOf("y", a.device(0))}, want: "0 claimed by y"},
		"another claim after the first":             {before: places{a.at(0): claimed("y")}, claims: []Claim{claimOf("x", a.device(0))}, want: "0 claimed by x"},
		"idle":                                      {before: places{a.at(0): idle(9)}, enis: []fixture{eni}, want: "0 idle for 9s"},
		"idle, and the ENI is gone":                 {before: places{a.at(0): idle(9)}},
		"after a restart":                           {enis: []fixture{eni}, want: "0 idle for 0s"},
		"after a restart, released":                 {enis: []fixture{eni.with(func(e *inventory.ENI) { e.Use = inventory.Released })}, want: "0 idle for ever"},
		"released for too long idle":                {before: places{a.at(0): {}}, enis: []fixture{eni}, want: "0 idle for ever"},
		"an ENI that is always attached":            {enis: []fixture{eniFor("eni-1", "uid-a", subnetA)}},
	} {
		got := test.before.next(observed{
			templates: []want{a}, claims: test.claims, known: !test.unknown, enis: enis(test.enis...), asked: func(inventory.Slot) bool { return test.asked }, now: now,
		})
		if text := got.text(now); text != test.want {
			t.Errorf("%s: %q, want %q", name, text, test.want)
		}
	}
}

func TestPlacesWants(t *testing.T) {
	now := time.Unix(10_000, 0)
	a, b := templateFor("uid-a", subnetA), templateFor("uid-b", subnetA).on(1)
	claimed := placeUse{claim: claimOf("x", "").reference()}
	idle := func(seconds time.Duration) placeUse { return placeUse{idle: now.Add(-seconds * time.Second)} }
	all := places{a.at(5): claimed, a.at(0): claimed, a.at(1): idle(30), a.at(2): idle(10), a.at(3): idle(60), a.at(4): {}, b.at(0): idle(40), {UID: "gone", Place: 1}: claimed}
	for name, test := range map[string]struct {
		room       map[int32]int32
		unknown    bool
		unresolved bool
		want       string
	}{
		"room for all":                         {room: map[int32]int32{0: 9, 1: 9}, want: "a0 a5 a2 a1 b0"},
		"how many is not known":                {want: "a0 a5 a2 a1 b0"},
		"room for one of two that are warm":    {room: map[int32]int32{0: 3, 1: 1}, want: "a0 a5 a2 b0"},
		"room for claims only":                 {room: map[int32]int32{0: 1, 1: 0}, want: "a0 a5"},
		"a claim may not be known":             {room: map[int32]int32{0: 1, 1: 1}, unknown: true, want: "a0 a5 a2 a1 b0 a3 a4"},
		"a NodeENI is not resolved: as it was": {unresolved: true, want: "b0"},
	} {
		d := desired{onDemand: []want{a, b}, unresolved: map[types.UID]bool{"uid-a": test.unresolved}}
		var texts []string
		for _, w := range all.wants(&d, demand{idle: time.Minute, room: test.room, known: !test.unknown, now: now}) {
			texts = append(texts, fmt.Sprintf("%s%d", strings.TrimPrefix(w.nodeENI, "uid-"), w.Place-1))
			if (w.claim != nil) != (all[w.Slot].claim != nil) || !w.onDemand || w.isTemplate() {
				t.Errorf("%s: %+v", name, w)
			}
		}
		if text := strings.Join(texts, " "); text != test.want {
			t.Errorf("%s: %q, want %q", name, text, test.want)
		}
	}
	times := all.times(time.Minute)
	if !slices.Contains(times, now.Add(50*time.Second)) || len(times) != 5 {
		t.Errorf("due at %v", times)
	}
}

// What is reported is read back.
func TestPlacesRestored(t *testing.T) {
	now := time.Unix(10_000, 0)
	a := templateFor("uid-a", subnetA)
	entry := func(number int32, phase v1alpha1.Phase, claim *v1alpha1.ClaimReference) v1alpha1.ENIState {
		return v1alpha1.ENIState{NodeENIUID: a.UID, SubnetID: a.SubnetID, Place: &number, Phase: phase, Claim: claim}
	}
	x := claimOf("x", "").reference()
	got := placesIn(v1alpha1.NodeENIStateStatus{ENIs: []v1alpha1.ENIState{
		{NodeENIUID: "always", SubnetID: a.SubnetID, Phase: v1alpha1.PhaseReady},
		entry(0, v1alpha1.PhaseReady, x), entry(1, v1alpha1.PhaseReady, nil), entry(2, v1alpha1.PhaseReleasing, nil), entry(3, v1alpha1.PhasePending, x),
		entry(0, v1alpha1.PhaseReleased, nil), entry(4, v1alpha1.PhaseReleased, nil), entry(4, v1alpha1.PhasePending, x),
	}}, now)
	const want = "0 claimed by x, 1 idle for 0s, 2 idle for ever, 3 claimed by x, 4 claimed by x"
	if text := got.text(now); text != want {
		t.Errorf("%q, want %q", text, want)
	}
}

// A NodeENI with attach: OnDemand wants nothing by itself. It keeps what it has while
// its names do not resolve, and where claims are not given ENIs.
func TestDesireOnDemand(t *testing.T) {
	n := nodeENI("a", func(s *v1alpha1.NodeENISpec) {
		s.SubnetID, s.SubnetIDs, s.Attach = subnetA, []string{subnetA2}, v1alpha1.AttachOnDemand
	})
	d := desire([]v1alpha1.NodeENI{n}, matching, "us-east-1a", testCatalogOf(twoCards), nil)
	if len(d.wants) > 0 || len(d.onDemand) != 2 || !d.onDemand[0].isTemplate() || len(d.problems) > 0 || len(d.onDemand[0].otherSubnets) == 0 {
		t.Fatalf("%+v", d)
	}
	w := d.onDemand[0]
	w.Place = 3
	kept := desire([]v1alpha1.NodeENI{n}, matching, "us-east-1a", catalog{}, append([]want{w}, d.onDemand...))
	if len(kept.wants) != 1 || kept.wants[0].Place != 3 || len(kept.onDemand) != 2 || !kept.unresolved[n.UID] {
		t.Errorf("unresolved: %+v", kept)
	}
	d.refuseOnDemand()
	if !d.mayWant(n.UID) || len(d.problems) != 1 || d.problems[0].reason != reasonOnDemandDisabled {
		t.Errorf("without --on-demand: %+v", d)
	}
	if names := slices.Collect(maps.Values(d.selecting())); !slices.Contains(names, "a") {
		t.Errorf("selecting are %v", names)
	}
}
