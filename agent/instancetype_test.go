package agent

import (
	"strings"
	"testing"

	"k8s.io/utils/ptr"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// What the instance type does not have is refused before EC2 is asked in vain, and what
// EC2 does not say of a type is no reason to refuse anything.
func TestUnsupported(t *testing.T) {
	large := eni.InstanceType{
		Name: "m5.large", MaxENIs: 3, IPv4Addresses: 10, IPv6Addresses: 10, IPv6: ptr.To(true), ENAExpress: ptr.To(false), FlexibleENAQueues: ptr.To(false),
		Cards: []eni.Card{{Index: 0, MaxENIs: 3}},
	}
	xen := eni.InstanceType{Name: "m4.large", Xen: true, IPv4Addresses: 10, IPv6Addresses: 10, IPv6: ptr.To(true)}
	old := eni.InstanceType{Name: "t1.micro", IPv4Addresses: 2, IPv6: ptr.To(false)}
	efaOnly := eni.InstanceType{Name: "p9.huge", Cards: []eni.Card{
		{Index: 0, InterfaceTypes: []string{"interface", "efa"}}, {Index: 1, InterfaceTypes: []string{"efa", "efa-only"}},
	}}
	unknown := eni.InstanceType{Name: "x9.huge"}
	everything := func(s *v1alpha1.NodeENISpec) {
		s.NetworkCard, s.ENAQueues, s.ENAExpress = 1, 16, &v1alpha1.ENAExpress{Enabled: true}
		s.IPv4, s.IPv6 = &v1alpha1.IPv4{Prefixes: 2}, &v1alpha1.IPv6{Addresses: ptr.To(int32(3))}
		s.ConnectionTracking = &v1alpha1.ConnectionTracking{UDPTimeout: 60}
	}
	for name, test := range map[string]struct {
		kind  eni.InstanceType
		spec  func(*v1alpha1.NodeENISpec)
		lacks string
	}{
		"nothing special":                  {large, func(*v1alpha1.NodeENISpec) {}, ""},
		"nothing special, of Xen":          {xen, func(*v1alpha1.NodeENISpec) {}, ""},
		"all that a type has":              {twoCards, everything, ""},
		"a type of which EC2 says nothing": {unknown, everything, ""},
		"a card":                           {large, func(s *v1alpha1.NodeENISpec) { s.NetworkCard = 1 }, "no network card 1"},
		"a card for EFAs":                  {efaOnly, func(s *v1alpha1.NodeENISpec) { s.NetworkCard = 1 }, "network card 1 supports only interfaces of type efa and efa-only"},
		"a card for others":                {efaOnly, func(*v1alpha1.NodeENISpec) {}, ""},
		"a primary IPv6 address":           {old, func(s *v1alpha1.NodeENISpec) { s.IPv6 = &v1alpha1.IPv6{PrimaryIPv6: true} }, "not support IPv6"},
		"as many addresses as go":          {large, func(s *v1alpha1.NodeENISpec) { s.IPv4 = &v1alpha1.IPv4{SecondaryAddresses: 9} }, ""},
		"one more":                         {large, func(s *v1alpha1.NodeENISpec) { s.IPv4 = &v1alpha1.IPv4{SecondaryAddresses: 10} }, "at most 10 IPv4 addresses"},
		"too many prefixes":                {large, func(s *v1alpha1.NodeENISpec) { s.IPv4 = &v1alpha1.IPv4{Prefixes: 10} }, "at most 10 IPv4 addresses"},
		"prefixes of Xen":                  {xen, func(s *v1alpha1.NodeENISpec) { s.IPv4 = &v1alpha1.IPv4{Prefixes: 1} }, "only Nitro types support prefixes"},
		"IPv6":                             {old, func(s *v1alpha1.NodeENISpec) { s.IPv6 = &v1alpha1.IPv6{Addresses: ptr.To(int32(1))} }, "not support IPv6"},
		"no IPv6 on purpose":               {old, func(s *v1alpha1.NodeENISpec) { s.IPv6 = &v1alpha1.IPv6{Addresses: ptr.To(int32(0))} }, ""},
		"too many IPv6 addresses":          {large, func(s *v1alpha1.NodeENISpec) { s.IPv6 = &v1alpha1.IPv6{Addresses: ptr.To(int32(11))} }, "at most 10 IPv6 addresses"},
		"timeouts of Xen":                  {xen, func(s *v1alpha1.NodeENISpec) { s.ConnectionTracking = &v1alpha1.ConnectionTracking{UDPTimeout: 60} }, "connection tracking"},
		"ENA Express":                      {large, func(s *v1alpha1.NodeENISpec) { s.ENAExpress = &v1alpha1.ENAExpress{Enabled: true} }, "not support ENA Express"},
		"ENA Express switched off":         {large, func(s *v1alpha1.NodeENISpec) { s.ENAExpress = &v1alpha1.ENAExpress{} }, ""},
		"queues":                           {large, func(s *v1alpha1.NodeENISpec) { s.ENAQueues = 4 }, "custom number of ENA queues"},
		"too many queues":                  {twoCards, func(s *v1alpha1.NodeENISpec) { s.NetworkCard, s.ENAQueues = 1, 33 }, "at most 32 ENA queues"},
	} {
		t.Run(name, func(t *testing.T) {
			spec := nodeENI("x", test.spec).Spec
			got := unsupported(spec, test.kind)
			if (got != "") != (test.lacks != "") || !strings.Contains(got, test.lacks) {
				t.Errorf("got %q, want %q", got, test.lacks)
			}
			if got != "" && !asksForMore(spec) {
				t.Error("EC2 would not be asked about the type")
			}
		})
	}
}

// A NodeENI that asks for more waits for what EC2 says of the type, and one that the type
// cannot have keeps what it had.
func TestDesireAsksAboutTheInstanceType(t *testing.T) {
	x := nodeENI("x", func(s *v1alpha1.NodeENISpec) { s.ENAQueues = 4 })
	all := []v1alpha1.NodeENI{x, nodeENI("y", nil)}
	known := testCatalog()
	d := desire(all, matching, "us-east-1a", known, nil)
	if !d.unresolved[x.UID] || d.unresolved["uid-y"] || len(of(instanceTypes, d.missing)) != 1 {
		t.Errorf("it is not asked: %s", d.text())
	}
	known[ownInstanceType] = found{kind: &eni.InstanceType{Name: "m5.large", FlexibleENAQueues: ptr.To(false)}}
	before := []want{wantFor("uid-x", subnetA, 5)}
	d = desire(all, matching, "us-east-1a", known, before)
	if !d.unresolved[x.UID] || len(d.wants) != 2 || len(d.problems) != 1 || d.problems[0].reason != ReasonInstanceType {
		t.Errorf("not refused, or not kept as it was: %s", d.text())
	}
	known[ownInstanceType] = found{kind: &eni.InstanceType{Name: "m8gn.large", FlexibleENAQueues: ptr.To(true)}}
	if d = desire(all, matching, "us-east-1a", known, nil); len(d.wants) != 2 || len(d.problems) > 0 || d.wants[0].enaQueues+d.wants[1].enaQueues != 4 {
		t.Errorf("not wanted: %s", d.text())
	}
}
