package agent

import (
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/agent/hostnet"
	"github.com/aws-multi-eni/aws-multi-eni/agent/inventory"
	"github.com/aws-multi-eni/aws-multi-eni/agent/retry"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// What the last report has of a link is used only as long as the NodeENI is as it
// was, and of ENIs that were in use.
func TestReportedLinks(t *testing.T) {
	const mac = "02:00:00:00:00:07"
	full := hostnet.Wanted{
		MAC: hardwareAddr(mac), InterfaceName: "fast", MTU: 9001, Host: true, Card: 1, DeviceIndex: 3,
		Addresses: []netip.Addr{netip.MustParseAddr("10.0.1.7"), netip.MustParseAddr("10.0.1.8"), netip.MustParseAddr("fd00:1::7")},
		Subnets:   prefixes("10.0.1.0/24", "fd00:1::/64"),
	}
	change := func(f func(*hostnet.Wanted)) *hostnet.Wanted { w := full; f(&w); return &w }
	for _, test := range []struct {
		name   string
		change func(*v1alpha1.NodeENI, *v1alpha1.ENIState, *Snapshot)
		want   *hostnet.Wanted
	}{
		{"as it was", func(*v1alpha1.NodeENI, *v1alpha1.ENIState, *Snapshot) {}, &full},
		{"not all was done", func(_ *v1alpha1.NodeENI, e *v1alpha1.ENIState, _ *Snapshot) { e.Phase = v1alpha1.PhaseConfiguring }, &full},
		{"with IPv6 only", func(_ *v1alpha1.NodeENI, e *v1alpha1.ENIState, _ *Snapshot) {
			e.Addresses, e.SubnetCIDR = e.Addresses[2:], ""
		},
			change(func(w *hostnet.Wanted) { w.Addresses, w.Subnets = w.Addresses[2:], w.Subnets[1:] })},
		{"the report need not have all addresses", func(_ *v1alpha1.NodeENI, e *v1alpha1.ENIState, _ *Snapshot) {
			e.Addresses = slices.Repeat(e.Addresses[:1], v1alpha1.MaxAddresses)
		}, nil},
		{"no name wanted", func(n *v1alpha1.NodeENI, _ *v1alpha1.ENIState, _ *Snapshot) { n.Spec.InterfaceName = "" },
			change(func(w *hostnet.Wanted) { w.InterfaceName = "" })},
		{"the node's MTU", func(n *v1alpha1.NodeENI, _ *v1alpha1.ENIState, _ *Snapshot) { n.Spec.MTU = 0 },
			change(func(w *hostnet.Wanted) { w.MTU = 1400 })},
		{"for Multus", func(n *v1alpha1.NodeENI, _ *v1alpha1.ENIState, _ *Snapshot) {
			n.Spec.Addressing = v1alpha1.AddressingNone
		},
			change(func(w *hostnet.Wanted) { w.Host = false })},
		{"for pods", func(n *v1alpha1.NodeENI, e *v1alpha1.ENIState, _ *Snapshot) {
			n.Spec.Pods, e.Prefixes = &v1alpha1.Pods{}, []string{"10.0.1.16/28"}
		},
			change(func(w *hostnet.Wanted) {
				w.Addresses = []netip.Addr{w.Addresses[0], w.Addresses[2]}
				w.PodRanges = prefixes("10.0.1.8/32", "10.0.1.16/28")
			})},
		{"the report need not have all prefixes for pods", func(n *v1alpha1.NodeENI, e *v1alpha1.ENIState, _ *Snapshot) {
			n.Spec.Pods, e.Prefixes = &v1alpha1.Pods{}, slices.Repeat([]string{"10.0.1.16/28"}, v1alpha1.MaxPrefixes)
		}, nil},
		{"the NodeENI has changed", func(n *v1alpha1.NodeENI, _ *v1alpha1.ENIState, _ *Snapshot) { n.Generation++ }, nil},
		{"the NodeENI is another one", func(n *v1alpha1.NodeENI, _ *v1alpha1.ENIState, _ *Snapshot) { n.UID = "y" }, nil},
		{"the NodeENI is being deleted", func(n *v1alpha1.NodeENI, _ *v1alpha1.ENIState, _ *Snapshot) { n.DeletionTimestamp = &metav1.Time{} }, nil},
		{"the label is gone", func(_ *v1alpha1.NodeENI, _ *v1alpha1.ENIState, s *Snapshot) { s.Labels = nil }, nil},
		{"it was released", func(_ *v1alpha1.NodeENI, e *v1alpha1.ENIState, _ *Snapshot) { e.Phase = v1alpha1.PhaseReleased }, nil},
		{"it was not attached yet", func(_ *v1alpha1.NodeENI, e *v1alpha1.ENIState, _ *Snapshot) { e.Phase = v1alpha1.PhaseAttaching }, nil},
		{"the report is garbled", func(_ *v1alpha1.NodeENI, e *v1alpha1.ENIState, _ *Snapshot) { e.MAC = "nonsense" }, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := v1alpha1.NodeENI{
				ObjectMeta: metav1.ObjectMeta{Name: "x", UID: "x", Generation: 4},
				Spec: v1alpha1.NodeENISpec{
					NodeSelector: map[string]string{"ng": "multi-eni"}, SubnetName: "data", InterfaceName: "fast", MTU: 9001, Addressing: v1alpha1.AddressingHost,
				},
			}
			e := v1alpha1.ENIState{
				NodeENI: "x", NodeENIUID: "x", ObservedGeneration: 4, ENIID: "eni-x", MAC: mac, NetworkCard: 1, DeviceIndex: 3, InterfaceName: "fast",
				Addresses: []string{"10.0.1.7", "10.0.1.8", "fd00:1::7"}, SubnetID: subnetA, SubnetCIDR: "10.0.1.0/24", SubnetIPv6CIDRs: []string{"fd00:1::/64"}, Phase: v1alpha1.PhaseReady,
			}
			s := Snapshot{Labels: map[string]string{"ng": "multi-eni"}}
			test.change(&n, &e, &s)
			s.NodeENIs = []v1alpha1.NodeENI{n}
			last := v1alpha1.NodeENIStateStatus{ENIs: []v1alpha1.ENIState{e}}
			var want []link
			if test.want != nil {
				want = []link{{inventory.ENI{ENI: eni.ENI{ID: "eni-x"}}, *test.want}}
			}
			if got := reportedLinks(last, s, 1400, func(types.UID) bool { return true }); !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v\nwant %+v", got, want)
			}
			if got := reportedLinks(last, s, 1400, func(types.UID) bool { return false }); got != nil {
				t.Errorf("though EC2 tells: %+v", got)
			}
		})
	}
}

// The report is used when EC2 was asked in vain, and not before.
func TestUntold(t *testing.T) {
	asked := func(key retry.Key) *retry.Failures { return failedWith(key, ec2Error("UnauthorizedOperation", "no")) }
	unasked := &retry.Failures{}
	held := desired{unresolved: map[types.UID]bool{"x": true}}
	kept := desired{unresolved: held.unresolved, wants: []want{wantFor("x", subnetA, 2)}}
	for _, test := range []struct {
		name     string
		certain  bool
		desired  desired
		failures *retry.Failures
		want     bool
	}{
		{"EC2 has not answered yet", false, held, unasked, false},
		{"EC2 does not answer", false, held, asked(describeKey), true},
		{"its subnet is being looked up", true, held, unasked, false},
		{"its subnet cannot be looked up", true, held, asked(subnetsByName), true},
		{"its group cannot be looked up", true, held, asked(groupsByName), true},
		{"it is known from before", true, kept, asked(groupsByName), false},
		{"only another describe fails", true, held, asked(describeKey), false},
		{"it is another one's subnet", true, desired{}, asked(subnetsByID), false},
	} {
		a := New(Config{})
		a.desired, a.failures = test.desired, *test.failures
		if test.certain {
			a.synced(time.Unix(10_000, 0))
		}
		if got := a.ec2NotAnswering("x"); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}
