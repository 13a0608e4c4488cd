package agent

import (
	"errors"
	"net/http"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/agent/hostnet"
	"github.com/aws-multi-eni/aws-multi-eni/agent/inventory"
	"github.com/aws-multi-eni/aws-multi-eni/agent/retry"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/imds"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

func ec2Error(code, message string) error {
	return &smithy.OperationError{ServiceID: "EC2", Err: &smithy.GenericAPIError{Code: code, Message: message}}
}

var testIdentity = imds.Identity{InstanceType: "m5.large", Zone: "us-east-1a", Region: "us-east-1", AccountID: "111122223333"}

func situationOf(v view, links map[string]linkState, f *retry.Failures) situation {
	v.instanceID, v.indexes.Max = me, map[int32]int32{0: 3}
	if f != nil {
		v.failures = *f
	}
	return situation{view: v, plan: next(v), links: links, identity: testIdentity}
}

// answerWith is EC2's answer as the SDK gives it.
func answerWith(status int, code string) error {
	return &smithyhttp.ResponseError{
		Response: &smithyhttp.Response{Response: &http.Response{StatusCode: status}}, Err: ec2Error(code, ""),
	}
}

func failedWith(key retry.Key, err error) *retry.Failures {
	f := &retry.Failures{}
	f.Failed(key, err, time.Unix(10, 0))
	return f
}

func TestReportPhases(t *testing.T) {
	x := wantFor("x", subnetA, 2)
	e := eniFor("eni-x", "x", subnetA)
	up := map[string]linkState{"eni-x": {Status: hostnet.Status{Present: true, Name: "eth1", MTU: 9001}}}
	growing := x
	growing.ipv4.SecondaryAddresses = 2
	wants := desired{wants: []want{x}}
	decided := map[inventory.Slot]intent{x.Slot: {createdAt: time.Unix(7, 0)}}
	attached := view{synced: true, desired: wants, enis: enis(e.at(me, 2, "attached"))}
	createKey := call{verb: create, slot: x.Slot}.key()
	attachKey := call{verb: attach, slot: x.Slot, eni: "eni-x", place: inventory.Place{DeviceIndex: 2}}.key()
	deniedAndFull := func(at time.Time) *retry.Failures {
		f := failedWith(createKey, ec2Error("UnauthorizedOperation", "no"))
		f.Failed(subnetFullKey(subnetA), ec2Error("InsufficientFreeAddressesInSubnet", "no"), at)
		return f
	}
	for _, test := range []struct {
		name  string
		view  view
		links map[string]linkState
		fails *retry.Failures
		want  string // phase, reason, words of the message
	}{
		{"decided", view{synced: true, desired: wants, intents: decided}, nil, nil, "Pending Creating"},
		{"throttled", view{synced: true, desired: wants, intents: decided}, nil, failedWith(createKey, ec2Error("RequestLimitExceeded", "")), "Pending RequestLimitExceeded retried"},
		{"denied", view{synced: true, desired: wants, intents: decided}, nil, failedWith(createKey, ec2Error("UnauthorizedOperation", "no")), "Failed UnauthorizedOperation IAM policy"},
		{"subnet full", view{synced: true, desired: wants, intents: decided}, nil, failedWith(subnetFullKey(subnetA), ec2Error("InsufficientFreeAddressesInSubnet", "no")), "Pending InsufficientFreeAddressesInSubnet free addresses"},
		{"denied, as the subnet is full", view{synced: true, desired: wants, intents: decided}, nil, deniedAndFull(time.Unix(50, 0)), "Pending InsufficientFreeAddressesInSubnet free addresses"},
		{"denied, after the subnet was full", view{synced: true, desired: wants, intents: decided}, nil, deniedAndFull(time.Unix(0, 0)), "Failed UnauthorizedOperation IAM policy"},
		{"created", view{synced: true, desired: wants, enis: enis(e)}, nil, nil, "Attaching Attaching index 2"},
		{"no more ENIs on this type", view{synced: true, desired: wants, enis: enis(e)}, nil, failedWith(attachKey, ec2Error("AttachmentLimitExceeded", "")), "Failed AttachmentLimitExceeded m5.large supports 3 ENIs"},
		{"no answer", view{synced: true, desired: wants, enis: enis(e)}, nil, failedWith(attachKey, errors.New("reset")), "Attaching NoAnswer reset"},
		{"attached, no link", attached, nil, nil, "Configuring LinkMissing"},
		{"attached, the link has gone", view{synced: true, desired: wants, enis: enis(e.at(me, 2, "attached").with(func(e *inventory.ENI) { e.Link = inventory.LinkLost }))}, nil, nil, "Configuring LinkGone still attached"},
		{"attached, no link for long", attached, map[string]linkState{"eni-x": {wait: wait{overdue: true}}}, nil, "Configuring LinkOverdue driver"},
		{"attached, link refuses", attached, map[string]linkState{"eni-x": {Status: up["eni-x"].Status, err: &hostnet.MTUError{Link: "eth1", MTU: 9500, Max: 9216}}}, nil, "Failed MTURefused 9216"},
		{"ready", attached, up, nil, "Ready Ready"},
		{"ready at another index", view{synced: true, desired: wants, enis: enis(e.at(me, 3, "attached")), indexes: inventory.Indexes{Holders: map[inventory.Place]string{{DeviceIndex: 2}: "eni-cni"}}}, up, nil, "Ready Ready eni-cni"},
		{"ready at another index, displaced by one of ours", view{synced: true, desired: desired{wants: []want{x}, unresolved: map[types.UID]bool{"y": true}},
			enis: enis(e.at(me, 3, "attached"), eniFor("eni-y", "y", subnetA).at(me, 2, "attached"))}, up, nil, "Ready Ready eni-y of NodeENI y"},
		{"attributes to be set", view{synced: true, desired: wants, enis: enis(e.at(me, 2, "attached").with(func(e *inventory.ENI) { e.Attachment.DeleteOnTermination = false }))}, up, nil, "Configuring SettingAttributes"},
		{"attributes denied", view{synced: true, desired: wants, enis: enis(e.at(me, 2, "attached").with(func(e *inventory.ENI) { e.Attachment.DeleteOnTermination = false }))}, up,
			failedWith(call{verb: setDeleteOnTermination, slot: x.Slot, eni: "eni-x"}.key(), ec2Error("UnauthorizedOperation", "no")), "Failed UnauthorizedOperation attached and in use"},
		{"addresses to be assigned", view{synced: true, desired: desired{wants: []want{growing}}, enis: enis(e.at(me, 2, "attached"))}, up, nil, "Configuring SettingAttributes"},
		{"addresses that may have been assigned", view{synced: true, desired: desired{wants: []want{growing}}, enis: enis(e.at(me, 2, "attached").with(func(e *inventory.ENI) { e.Link, e.CountsFrom = inventory.LinkSeen, time.Unix(300, 0) }))},
			up, nil, "Configuring Verifying until 1970-01-01T00:05:00Z"},
		{"the same, and its link has never been here", view{synced: true, desired: desired{wants: []want{growing}}, enis: enis(e.at(me, 2, "attached").with(func(e *inventory.ENI) { e.CountsFrom = time.Unix(300, 0) }))},
			nil, nil, "Configuring LinkMissing"},
		{"not shown", view{synced: true, desired: wants, enis: enis(e.at(me, 2, "attached").with(func(e *inventory.ENI) { e.Evidence, e.Link = inventory.Missed, inventory.LinkSeen }))}, up, nil, "Configuring Verifying"},
		{"not shown, and its link has never been here", view{synced: true, desired: wants, enis: enis(e.at(me, 2, "attached").with(func(e *inventory.ENI) { e.Evidence = inventory.Missed }))}, nil, nil, "Attaching Verifying"},
		{"on another instance", view{synced: true, desired: wants, enis: enis(e.at(other, 2, "attached"))}, nil, nil, "Failed AttachedElsewhere " + other},
		{"being released", view{synced: true, enis: enis(e.at(me, 2, "attached"))}, nil, nil, "Releasing NotWanted"},
		{"wanted again", view{synced: true, desired: wants, enis: enis(e.at(me, 2, "attached").with(func(e *inventory.ENI) { e.Use = inventory.Returning }))}, nil, nil, "Configuring Verifying being released and is needed again"},
		{"released", view{synced: true, enis: enis(e.at(me, 2, "attached").with(func(e *inventory.ENI) { e.Use = inventory.Released }))}, nil, nil, "Released NotWanted"},
		{"gone, and its place remembered", view{synced: true, intents: map[inventory.Slot]intent{x.Slot: {nodeENI: "x", replaces: "eni-old"}}}, nil, nil, "Released Gone"},
		{"no subnet in the zone", view{synced: true, desired: desired{problems: []problem{{"x", "x", 1, "NoSubnetInZone", "none in us-east-1a"}}}}, nil, nil, "Failed NoSubnetInZone us-east-1a"},
		{"EC2 cannot be asked", view{desired: wants}, nil, failedWith(describeKey, ec2Error("UnauthorizedOperation", "no")), "Failed UnauthorizedOperation"},
	} {
		t.Run(test.name, func(t *testing.T) {
			wantEntry(t, situationOf(test.view, test.links, test.fails), test.want)
		})
	}
}

// wantEntry checks the only entry of the report against a phase, a reason and words of
// the message.
func wantEntry(t *testing.T, s situation, want string) {
	t.Helper()
	r := report(s, v1alpha1.NodeENIStateStatus{}, time.Unix(50, 0))
	if len(r.ENIs) != 1 {
		t.Fatalf("%d entries: %+v", len(r.ENIs), r.ENIs)
	}
	got := r.ENIs[0]
	phase, rest, _ := strings.Cut(want, " ")
	reason, words, _ := strings.Cut(rest, " ")
	if string(got.Phase) != phase || got.Reason != reason || !strings.Contains(got.Message, words) {
		t.Errorf("got %s %s %q, want %s", got.Phase, got.Reason, got.Message, want)
	}
}

// An ENI that has to wait for another one says so when that one does not come.
func TestReportNamesWhatIsAwaited(t *testing.T) {
	wants := desired{wants: []want{wantFor("x", subnetA, 2), wantFor("y", subnetA, 3)}}
	v := view{synced: true, desired: wants, enis: enis(eniFor("eni-x", "x", subnetA))}
	key := call{verb: attach, slot: inventory.Slot{UID: "x", SubnetID: subnetA}, eni: "eni-x", place: inventory.Place{DeviceIndex: 2}}.key()
	for _, test := range []struct {
		code, want string
	}{
		{"AttachmentLimitExceeded", "after it has attached eni-x"},
		{"InternalError", "waiting for EC2"},
		{"UnauthorizedOperation", "waiting for EC2"}, // it holds up no other ENI
	} {
		f := failedWith(key, ec2Error(test.code, ""))
		r := report(situationOf(v, nil, f), v1alpha1.NodeENIStateStatus{}, time.Unix(50, 0))
		if len(r.ENIs) != 2 || r.ENIs[1].Reason != "Creating" || !strings.Contains(r.ENIs[1].Message, test.want) {
			t.Errorf("%s: got %+v, want %q", test.code, r.ENIs, test.want)
		}
	}
}

// The coordinator holds EC2's answers against it: an ENI exists in the Region and
// the account of its instance only.
func TestReportNamesThePlace(t *testing.T) {
	for _, certain := range []bool{false, true} {
		r := report(situationOf(view{synced: certain}, nil, nil), v1alpha1.NodeENIStateStatus{}, time.Now())
		if r.Region != testIdentity.Region || r.Account != testIdentity.AccountID || r.Zone != testIdentity.Zone {
			t.Errorf("certain %v: %+v", certain, r)
		}
	}
}

// A lookup that is simply under way is no news.
func TestReportSaysNothingOfALookup(t *testing.T) {
	v := view{synced: true, desired: desired{problems: []problem{{"x", "x", 1, reasonResolving, "…"}}}}
	if r := report(situationOf(v, nil, nil), v1alpha1.NodeENIStateStatus{}, time.Now()); len(r.ENIs) > 0 {
		t.Errorf("reported: %+v", r.ENIs)
	}
	failed := report(situationOf(v, nil, failedWith(subnetsByID, ec2Error("UnauthorizedOperation", ""))), v1alpha1.NodeENIStateStatus{}, time.Now())
	if len(failed.ENIs) != 1 || failed.ENIs[0].Phase != v1alpha1.PhaseFailed {
		t.Errorf("a refused lookup is not reported: %+v", failed.ENIs)
	}
}

// Before EC2 has told, a restarted agent forgets nothing of its last report.
func TestReportForgetsNothingAtStart(t *testing.T) {
	last := v1alpha1.NodeENIStateStatus{InstanceID: me, Zone: "us-east-1a", ENIs: []v1alpha1.ENIState{
		{NodeENI: "x", NodeENIUID: "x", SubnetID: subnetA, ENIID: "eni-x", Phase: v1alpha1.PhaseReady, Reason: "Ready", LastTransitionTime: metav1.Unix(1, 0)},
		{NodeENI: "y", NodeENIUID: "y", SubnetID: subnetA, ENIID: "eni-y", Phase: v1alpha1.PhaseReleased, Reason: "NotWanted", LastTransitionTime: metav1.Unix(1, 0)},
	}}
	v := view{desired: desired{wants: []want{wantFor("x", subnetA, 2)}}, enis: restoredFrom(last, "arn", time.Unix(50, 0)).enis}
	r := report(situationOf(v, nil, nil), last, time.Unix(50, 0))
	if len(r.ENIs) != 2 || r.ENIs[0].ENIID != "eni-x" || r.ENIs[1].ENIID != "eni-y" || !r.ENIs[1].LastTransitionTime.Equal(&last.ENIs[1].LastTransitionTime) {
		t.Errorf("got %+v", r.ENIs)
	}
}

// Nor does it while a NodeENI's subnets cannot be told: an ENI and a decision are
// kept until they can, but not an ENI that EC2 no longer has.
func TestReportForgetsNothingOfWhatIsHeld(t *testing.T) {
	created := metav1.Unix(7, 0)
	last := v1alpha1.NodeENIStateStatus{InstanceID: me, Zone: "us-east-1a", ENIs: []v1alpha1.ENIState{
		{NodeENI: "x", NodeENIUID: "x", SubnetID: subnetA, ENIID: "eni-x", Phase: v1alpha1.PhaseReady},
		{NodeENI: "x", NodeENIUID: "x", SubnetID: subnetA2, CreatedAt: &created, Replaces: "eni-old", Phase: v1alpha1.PhasePending},
		{NodeENI: "y", NodeENIUID: "y", SubnetID: subnetA, ENIID: "eni-y", Phase: v1alpha1.PhaseReady},
		{NodeENI: "z", NodeENIUID: "z", SubnetID: subnetA, ENIID: "eni-z", Phase: v1alpha1.PhaseReady},
		{NodeENI: "x", NodeENIUID: "x", Phase: v1alpha1.PhaseFailed, Reason: "NoAnswer"},
	}}
	records := intentsIn(last)
	records[inventory.Slot{UID: "y", SubnetID: subnetA}] = intent{nodeENI: "y", replaces: "eni-y"}
	v := view{synced: true, desired: desired{unresolved: map[types.UID]bool{"x": true, "y": true}}, intents: records}
	r := report(situationOf(v, nil, nil), last, time.Unix(50, 0))
	var got []string
	for _, e := range r.ENIs {
		got = append(got, string(e.NodeENIUID)+" "+e.ENIID+" "+e.Replaces+" "+string(e.Phase))
	}
	want := "x eni-x  Ready; x  eni-old Pending; y  eni-y Released"
	if text := strings.Join(got, "; "); text != want {
		t.Errorf("got %s, want %s", text, want)
	}
	if rec := intentsIn(r)[inventory.Slot{UID: "x", SubnetID: subnetA2}]; !rec.is(records[inventory.Slot{UID: "x", SubnetID: subnetA2}]) {
		t.Errorf("the decision has become %+v", rec)
	}
}

// What a report says is what a restarted agent goes on with.
func TestReportIsRestored(t *testing.T) {
	x, y, z := wantFor("x", subnetA, 2), wantFor("y", subnetA, 3), inventory.Slot{UID: "z", SubnetID: subnetA}
	v := view{synced: true, desired: desired{wants: []want{x, y}},
		enis: enis(eniFor("eni-x", "x", subnetA).at(me, 2, "attached")),
		intents: map[inventory.Slot]intent{
			y.Slot: {nodeENI: "y", createdAt: time.Unix(7, 0).UTC(), replaces: "eni-old"},
			z:      {nodeENI: "z", replaces: "eni-z"},
		}}
	r := report(situationOf(v, nil, nil), v1alpha1.NodeENIStateStatus{}, time.Unix(50, 0))
	records := intentsIn(r)
	for s, want := range v.intents {
		if !records[s].is(want) {
			t.Errorf("%v: got %+v, want %+v", s, records[s], want)
		}
	}
	back := restoredFrom(r, "arn", time.Unix(60, 0)).enis
	if len(back) != 1 || back[0].ID != "eni-x" || !back[0].ReportedOnly() || back[0].Since.Unix() != 100 { // the tag's time
		t.Errorf("restored %+v", back)
	}
}

// An ENI whose link has been here is missed soon when neither EC2 nor the host
// shows it. The link of one that was only attached may still be on its way, for
// longer than describes are believed to lag behind a link.
func TestRestoreTellsWhoseLinkWasHere(t *testing.T) {
	for _, test := range []struct {
		entry v1alpha1.ENIState
		seen  bool
	}{
		{v1alpha1.ENIState{Phase: v1alpha1.PhasePending}, false},
		{v1alpha1.ENIState{Phase: v1alpha1.PhaseAttaching}, false},
		{v1alpha1.ENIState{Phase: v1alpha1.PhaseConfiguring, Reason: "LinkMissing"}, false},
		{v1alpha1.ENIState{Phase: v1alpha1.PhaseConfiguring, Reason: reasonLinkGone}, true},
		{v1alpha1.ENIState{Phase: v1alpha1.PhaseConfiguring, Reason: reasonVerifying}, true},
		{v1alpha1.ENIState{Phase: v1alpha1.PhaseAttaching, Reason: reasonVerifying}, false},
		{v1alpha1.ENIState{Phase: v1alpha1.PhaseConfiguring, Reason: "SettingAttributes", InterfaceName: "eth1"}, true},
		{v1alpha1.ENIState{Phase: v1alpha1.PhaseReady, InterfaceName: "eth1"}, true},
		{v1alpha1.ENIState{Phase: v1alpha1.PhaseReleasing}, true},
		{v1alpha1.ENIState{Phase: v1alpha1.PhaseReleased}, true},
	} {
		test.entry.ENIID = "eni-x"
		back := restoredFrom(v1alpha1.NodeENIStateStatus{ENIs: []v1alpha1.ENIState{test.entry}}, "arn", time.Unix(60, 0)).enis
		if len(back) != 1 || (back[0].Link == inventory.LinkSeen) != test.seen {
			t.Errorf("%s %s: restored %+v, want its link seen: %v", test.entry.Phase, test.entry.Reason, back, test.seen)
		}
	}
}

func TestReportKeepsTransitionTimes(t *testing.T) {
	v := view{synced: true, desired: desired{wants: []want{wantFor("x", subnetA, 2)}}, enis: enis(eniFor("eni-x", "x", subnetA))}
	first := report(situationOf(v, nil, nil), v1alpha1.NodeENIStateStatus{}, time.Unix(50, 0))
	second := report(situationOf(v, nil, nil), first, time.Unix(60, 0))
	if !second.ENIs[0].LastTransitionTime.Equal(&first.ENIs[0].LastTransitionTime) {
		t.Error("the transition time changed without a transition")
	}
	v.enis[0] = fixture{v.enis[0]}.at(me, 2, "attached").ENI
	third := report(situationOf(v, nil, nil), second, time.Unix(70, 0))
	if third.ENIs[0].LastTransitionTime.Unix() != 70 {
		t.Error("the transition time did not change with the phase")
	}
}

// What an entry says is said of one generation of the NodeENI: who waits for a
// change must not take the state before it for the one after.
func TestReportTellsTheGeneration(t *testing.T) {
	n := nodeENI("x", nil)
	n.Generation = 7
	known := testCatalog()
	now := desire([]v1alpha1.NodeENI{n}, matching, "us-east-1a", known, nil)
	n.Generation, n.Spec.SubnetID, n.Spec.SubnetName = 8, "", "new"
	resolving := desire([]v1alpha1.NodeENI{n}, matching, "us-east-1a", known, now.wants)
	n.Spec.MTU = -1
	invalid := desire([]v1alpha1.NodeENI{n}, matching, "us-east-1a", known, nil)
	for _, test := range []struct {
		name    string
		desired desired
		want    int64
	}{
		{"known", now, 7},
		{"changed, and not known again yet", resolving, 7},
		{"refused", invalid, 8},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := report(situationOf(view{synced: true, desired: test.desired}, nil, nil), v1alpha1.NodeENIStateStatus{}, time.Now())
			if len(r.ENIs) != 1 || r.ENIs[0].ObservedGeneration != test.want {
				t.Errorf("got %+v, want one entry of generation %d", r.ENIs, test.want)
			}
		})
	}
}

// While describes may not show an ENI yet, the message says until when.
func TestDoubtsSayUntilWhen(t *testing.T) {
	now := time.Date(2026, 11, 28, 20, 0, 0, 0, time.UTC)
	young := inventory.ENI{Evidence: inventory.Expected, Since: now.Add(-time.Second), Use: inventory.Returning}
	shown := young
	shown.Evidence, shown.Since = inventory.Shown, time.Time{}
	s := situation{view: view{now: now}}
	if got, want := s.until(young), " until 2026-11-28T20:04:59Z, when EC2 must show it"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := s.until(shown); got != "" {
		t.Errorf("of one that EC2 has shown: %q", got)
	}
}

// What an ENI that keeps its place has to do with another one is no cause.
func TestDisplacedWords(t *testing.T) {
	e := inventory.ENI{ENI: eni.ENI{ID: "eni-1", Attachment: &eni.Attachment{DeviceIndex: 1}}}
	wanted := want{deviceIndex: 2}
	for want, v := range map[string]view{
		"attached at device index 1 instead of device index 2, which is held by eni-9": {indexes: inventory.Indexes{Holders: map[inventory.Place]string{{DeviceIndex: 2}: "eni-9"}}},
		"attached at device index 1 instead of device index 2; an attached ENI keeps its device index": {
			instanceID: me, // each network card has indexes of its own
			enis:       enis(eniFor("eni-x", "x", subnetA).at(me, 2, "attached").with(func(e *inventory.ENI) { e.Attachment.Card = 1 })),
		},
		"attached at device index 1 instead of device index 2, which is held by eni-x of NodeENI x": {
			instanceID: me, enis: enis(eniFor("eni-x", "x", subnetA).at(me, 2, "attached")),
		},
	} {
		if got := v.displaced(wanted, e); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// An entry has all of an ENI that EC2 knows and users may ask for.
func TestReportHasTheWholeENI(t *testing.T) {
	w := wantFor("x", subnetA, 2).on(1)
	w.cidr, w.ipv6CIDRs = "10.0.1.0/24", []string{"fd00:1::/64"}
	e := eniFor("eni-x", "x", subnetA).atPlace(me, w.place(), "attached").with(func(e *inventory.ENI) {
		e.MAC, e.PrimaryIPv6, e.Prefixes = "02:00:00:00:00:01", true, []string{"10.0.1.16/28", "fd00:1:0:0:1::/80"}
		e.Addresses = []netip.Addr{netip.MustParseAddr("10.0.1.4"), netip.MustParseAddr("fd00:1::4")}
		e.ConnectionTracking = eni.ConnectionTracking{UDPTimeout: 45}
		e.Attachment.ENAExpress, e.Attachment.ENAQueues = eni.ENAExpress{Enabled: true}, 8
	})
	created := metav1.Time{Time: e.Owner.CreatedAt}
	entry := v1alpha1.ENIState{
		NodeENI: "x", NodeENIUID: "x", SubnetID: subnetA, SubnetCIDR: w.cidr, SubnetIPv6CIDRs: w.ipv6CIDRs, ENIID: "eni-x", AttachmentID: e.Attachment.ID,
		NetworkCard: 1, DeviceIndex: 2, MAC: e.MAC, Addresses: []string{"10.0.1.4", "fd00:1::4"}, Prefixes: e.Prefixes, PrimaryIPv6: true,
		ConnectionTracking: &v1alpha1.ConnectionTracking{UDPTimeout: 45}, ENAExpress: &v1alpha1.ENAExpress{Enabled: true}, ENAQueues: 8,
		CreatedAt: &created, Phase: v1alpha1.PhaseConfiguring, Reason: "SettingAttributes", Message: "waiting for EC2 to set the attributes of the ENI", LastTransitionTime: metav1.Unix(50, 0),
	}
	v := view{synced: true, desired: desired{wants: []want{w}}, enis: enis(e)}
	if got := report(situationOf(v, nil, nil), v1alpha1.NodeENIStateStatus{}, time.Unix(50, 0)).ENIs; len(got) != 1 || !reflect.DeepEqual(got[0], entry) {
		t.Errorf("got  %+v\nwant %+v", got, entry)
	}
}

// The release of an ENI may have to be tried again, also by the next process, and needs the
// CIDRs of its subnet, which only the report has by then.
func TestReportOfReleaseKeepsTheCIDR(t *testing.T) {
	const cidr, cidr6 = "10.0.1.0/24", "fd00:1::/64"
	v := view{synced: true, enis: enis(eniFor("eni-x", "x", subnetA))}
	last := v1alpha1.NodeENIStateStatus{ENIs: []v1alpha1.ENIState{
		{NodeENI: "x", NodeENIUID: "x", SubnetID: subnetA, SubnetCIDR: cidr, SubnetIPv6CIDRs: []string{cidr6}, ENIID: "eni-x", Phase: v1alpha1.PhaseReady},
	}}
	for range 2 {
		last = report(situationOf(v, nil, nil), last, time.Unix(50, 0))
		if e := last.ENIs[0]; e.Phase != v1alpha1.PhaseReleasing || e.SubnetCIDR != cidr || !slices.Equal(e.SubnetIPv6CIDRs, []string{cidr6}) {
			t.Errorf("%s with the CIDR %q and of IPv6 %q", e.Phase, e.SubnetCIDR, e.SubnetIPv6CIDRs)
		}
	}
}
