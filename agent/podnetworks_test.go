package agent

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/agent/inventory"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/podnetwork"
)

func addrs(texts ...string) (all []netip.Addr) {
	for _, text := range texts {
		all = append(all, netip.MustParseAddr(text))
	}
	return all
}

func TestForPods(t *testing.T) {
	for name, test := range map[string]struct {
		addresses []netip.Addr
		prefixes  []string
		own       []netip.Addr
		ranges    []netip.Prefix
	}{
		"nothing":               {},
		"its own only":          {addresses: addrs("10.0.1.9", "fd00::9"), own: addrs("10.0.1.9", "fd00::9")},
		"secondary addresses":   {addresses: addrs("10.0.1.9", "10.0.1.8", "10.0.1.5"), own: addrs("10.0.1.9"), ranges: prefixes("10.0.1.5/32", "10.0.1.8/32")},
		"several of IPv6":       {addresses: addrs("10.0.1.9", "fd00::9", "fd00::5"), own: addrs("10.0.1.9", "fd00::9"), ranges: prefixes("fd00::5/128")},
		"IPv6 only":             {addresses: addrs("fd00::9", "fd00::5"), prefixes: []string{"fd00:0:0:0:1::/80"}, own: addrs("fd00::9"), ranges: prefixes("fd00::5/128", "fd00:0:0:0:1::/80")},
		"prefixes, in order":    {addresses: addrs("10.0.1.9"), prefixes: []string{"10.0.1.32/28", "10.0.1.16/28"}, own: addrs("10.0.1.9"), ranges: prefixes("10.0.1.16/28", "10.0.1.32/28")},
		"a prefix that is none": {addresses: addrs("10.0.1.9"), prefixes: []string{"nonsense"}, own: addrs("10.0.1.9")},
	} {
		t.Run(name, func(t *testing.T) {
			own, ranges := forPods(test.addresses, test.prefixes)
			if !slices.Equal(own, test.own) || !slices.Equal(ranges, test.ranges) {
				t.Errorf("own %v, ranges %v; want %v, %v", own, ranges, test.own, test.ranges)
			}
		})
	}
}

// podWant is a want of a NodeENI with pods.
func podWant(uid, subnet string) want {
	w := wantFor(uid, subnet, 1)
	w.pods, w.cidr, w.ipv6CIDRs = true, "10.0.1.0/24", []string{"fd00:1::/64"}
	w.otherSubnets = prefixes("10.0.3.0/24")
	return w
}

func TestPodNetworks(t *testing.T) {
	vpc := prefixes("10.0.0.0/16")
	entry := func(phase v1alpha1.Phase, reason, message string) v1alpha1.ENIState {
		return v1alpha1.ENIState{
			NodeENI: "x", NodeENIUID: "x", SubnetID: subnetA, ENIID: "eni-1", MAC: "02:00:00:00:00:01", InterfaceName: "eth1", MTU: 9001,
			Addresses: []string{"10.0.1.9", "10.0.1.10", "fd00:1::9"}, Prefixes: []string{"10.0.1.16/28"}, Phase: phase, Reason: reason, Message: message,
		}
	}
	with := func(ready bool, reason, message string) podnetwork.ENI {
		return podnetwork.ENI{
			ID: "eni-1", Ready: ready, Reason: reason, Message: message, MAC: "02:00:00:00:00:01", Link: "eth1", MTU: 9001,
			Addresses: addrs("10.0.1.9", "fd00:1::9"), Ranges: prefixes("10.0.1.10/32", "10.0.1.16/28"),
			Subnets: prefixes("10.0.1.0/24", "fd00:1::/64"), Gateways: addrs("10.0.1.1", "fe80:ec2::1"), OtherSubnets: prefixes("10.0.3.0/24"), VPC: vpc,
		}
	}
	network := func(reason, message string, enis ...podnetwork.ENI) []podnetwork.Network {
		return []podnetwork.Network{{NodeENI: "x", NodeENIUID: "x", Node: "node", ENIs: enis, Reason: reason, Message: message}}
	}
	x := map[types.UID]string{"x": "x"}
	unresolved := map[types.UID]bool{"x": true}
	wants := []want{podWant("x", subnetA)}
	for name, test := range map[string]struct {
		desired desired
		entries []v1alpha1.ENIState
		want    []podnetwork.Network
	}{
		"none is for pods": {desired: desired{wants: []want{wantFor("x", subnetA, 1)}}, entries: []v1alpha1.ENIState{entry(v1alpha1.PhaseReady, "Ready", "")}},
		"ready":            {desired{wants: wants, pods: x}, []v1alpha1.ENIState{entry(v1alpha1.PhaseReady, "Ready", "displaced")}, network("", "", with(true, "", ""))},
		"not ready":        {desired{wants: wants, pods: x}, []v1alpha1.ENIState{entry(v1alpha1.PhaseFailed, "MTURefused", "why")}, network("", "", with(false, "MTURefused", "why"))},
		"one is released, another is still to be created": {
			desired{wants: wants, pods: x},
			[]v1alpha1.ENIState{entry(v1alpha1.PhaseReleasing, "NotWanted", ""), {NodeENIUID: "x", SubnetID: subnetA, Phase: v1alpha1.PhasePending, Reason: "Creating", Message: "waiting"}},
			network("Creating", "waiting"),
		},
		"no subnet in the zone": {
			desired{pods: x, problems: []problem{{uid: "x", nodeENI: "x", reason: reasonNoSubnetInZone, message: "no"}}}, nil, network(reasonNoSubnetInZone, "no"),
		},
		"not known": {desired: desired{pods: x, unresolved: unresolved, problems: []problem{{uid: "x", nodeENI: "x", reason: reasonResolving}}}},
		"not known any more, and as it was": {
			desired{wants: wants, pods: x, unresolved: unresolved, problems: []problem{{uid: "x", reason: "SubnetNotFound", message: "gone"}}},
			[]v1alpha1.ENIState{entry(v1alpha1.PhaseReady, "Ready", "")}, network("SubnetNotFound", "gone", with(true, "", "")),
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := podNetworks(&test.desired, test.entries, "node", vpc); !reflect.DeepEqual(got, test.want) {
				t.Errorf("%+v, want %+v", got, test.want)
			}
		})
	}
}

// A restart changes neither the order of an ENI's addresses, of which the first is its own,
// nor the name that its link has here.
func TestRestoredForPods(t *testing.T) {
	entry := v1alpha1.ENIState{NodeENIUID: "x", SubnetID: subnetA, ENIID: "eni-1", InterfaceName: "eth1", MTU: 9001, Addresses: []string{"fd00::9", "fd00::5"}}
	s := restoredFrom(v1alpha1.NodeENIStateStatus{ENIs: []v1alpha1.ENIState{entry}}, "", time.Unix(10_000, 0))
	if link := s.links["eni-1"]; !slices.Equal(s.enis[0].Addresses, addrs("fd00::9", "fd00::5")) || link.Name != "eth1" || link.MTU != 9001 || link.Present {
		t.Errorf("%+v, %+v", s.enis[0], link)
	}
}

// The ENIs are in the order of the NodeENI's subnets, and each knows those of the others.
func TestPodNetworksOfSubnets(t *testing.T) {
	known := catalog{}
	var ids []string
	for i, zone := range []string{"z", "other", "z"} {
		id := fmt.Sprintf("subnet-0000000%d", 9-i)
		ids = append(ids, id)
		known[named(subnetsByID, id)] = found{subnets: subnetsOf(id, zone, fmt.Sprintf("10.0.%d.0/24", i))}
	}
	n := v1alpha1.NodeENI{Spec: v1alpha1.NodeENISpec{NodeSelector: map[string]string{"on": "yes"}, SubnetIDs: ids, SecurityGroupIDs: []string{groupX}, DeviceIndex: 1, Pods: &v1alpha1.Pods{}}}
	n.Name, n.UID = "x", "x"
	d := desire([]v1alpha1.NodeENI{n}, map[string]string{"on": "yes"}, "z", known, nil)
	var entries []v1alpha1.ENIState
	for _, id := range []string{ids[2], ids[0]} {
		entries = append(entries, v1alpha1.ENIState{NodeENIUID: "x", SubnetID: id, ENIID: "eni-of-" + id, Phase: v1alpha1.PhaseReady})
	}
	networks := podNetworks(&d, entries, "node", nil)
	if len(networks) != 1 || len(networks[0].ENIs) != 2 {
		t.Fatalf("%+v, problems %+v", networks, d.problems)
	}
	first, second := networks[0].ENIs[0], networks[0].ENIs[1]
	if first.ID != "eni-of-"+ids[0] || !slices.Equal(first.OtherSubnets, prefixes("10.0.1.0/24", "10.0.2.0/24")) || !slices.Equal(second.OtherSubnets, prefixes("10.0.0.0/24", "10.0.1.0/24")) {
		t.Errorf("%+v", networks[0].ENIs)
	}
	if w := wantedLink(d.wants[0], inventory.ENI{}, inventory.Place{}); len(w.PodRanges)+len(w.Addresses) > 0 {
		t.Errorf("a link of an ENI without addresses has %+v", w)
	}
}

func subnetsOf(id, zone, cidr string) []eni.Subnet {
	return []eni.Subnet{{ID: id, Zone: zone, CIDR: cidr}}
}
