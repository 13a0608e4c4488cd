package query

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/iam"
)

func (r *rig) assign(in *ec2.AssignPrivateIpAddressesInput) *ec2.AssignPrivateIpAddressesOutput {
	r.Helper()
	return must[*ec2.AssignPrivateIpAddressesOutput](r)(r.ec2.AssignPrivateIpAddresses(r.ctx, in))
}

func (r *rig) assign6(in *ec2.AssignIpv6AddressesInput) *ec2.AssignIpv6AddressesOutput {
	r.Helper()
	return must[*ec2.AssignIpv6AddressesOutput](r)(r.ec2.AssignIpv6Addresses(r.ctx, in))
}

func (r *rig) available(subnet string) int32 {
	r.Helper()
	out := must[*ec2.DescribeSubnetsOutput](r)(r.ec2.DescribeSubnets(r.ctx, &ec2.DescribeSubnetsInput{SubnetIds: []string{subnet}}))
	return *out.Subnets[0].AvailableIpAddressCount
}

func TestPrefixes(t *testing.T) {
	r := newRig(t, dualStack)
	before := r.available(subnetA)
	eni := r.createWith(subnetA, func(in *ec2.CreateNetworkInterfaceInput) {
		in.Ipv4PrefixCount, in.Ipv6PrefixCount = aws.Int32(1), aws.Int32(1)
	})
	id := eni.NetworkInterfaceId
	if len(eni.PrivateIpAddresses) != 1 || len(eni.Ipv4Prefixes) != 1 || len(eni.Ipv6Prefixes) != 1 || len(eni.Ipv6Addresses) != 0 {
		t.Fatalf("created: %+v", eni)
	}
	v4, v6 := netip.MustParsePrefix(*eni.Ipv4Prefixes[0].Ipv4Prefix), netip.MustParsePrefix(*eni.Ipv6Prefixes[0].Ipv6Prefix)
	if v4.Bits() != 28 || v4 != v4.Masked() || v6.Bits() != 80 || v6 != v6.Masked() || v4.Contains(netip.MustParseAddr(*eni.PrivateIpAddress)) {
		t.Errorf("prefixes %s and %s of an ENI with %s", v4, v6, *eni.PrivateIpAddress)
	}
	if got := before - r.available(subnetA); got != 1+16 {
		t.Errorf("an address and a prefix use up %d addresses", got)
	}

	named := r.assign(&ec2.AssignPrivateIpAddressesInput{NetworkInterfaceId: id, Ipv4Prefixes: []string{"10.0.1.128/28"}})
	if len(named.AssignedIpv4Prefixes) != 1 || *named.AssignedIpv4Prefixes[0].Ipv4Prefix != "10.0.1.128/28" || len(named.AssignedPrivateIpAddresses) != 0 {
		t.Errorf("assigned: %+v", named)
	}
	counted := r.assign6(&ec2.AssignIpv6AddressesInput{NetworkInterfaceId: id, Ipv6PrefixCount: aws.Int32(2)})
	if len(counted.AssignedIpv6Prefixes) != 2 || len(counted.AssignedIpv6Addresses) != 0 || *counted.NetworkInterfaceId != *id {
		t.Errorf("assigned: %+v", counted)
	}
	_, err := r.ec2.AssignPrivateIpAddresses(r.ctx, &ec2.AssignPrivateIpAddressesInput{NetworkInterfaceId: id, PrivateIpAddresses: []string{"10.0.1.130"}})
	r.wantCode(err, "InvalidIPAddress.InUse")

	must[*ec2.UnassignPrivateIpAddressesOutput](r)(r.ec2.UnassignPrivateIpAddresses(r.ctx, &ec2.UnassignPrivateIpAddressesInput{
		NetworkInterfaceId: id, Ipv4Prefixes: []string{v4.String()},
	}))
	gone := must[*ec2.UnassignIpv6AddressesOutput](r)(r.ec2.UnassignIpv6Addresses(r.ctx, &ec2.UnassignIpv6AddressesInput{
		NetworkInterfaceId: id, Ipv6Prefixes: []string{v6.String()},
	}))
	if len(gone.UnassignedIpv6Prefixes) != 1 || gone.UnassignedIpv6Prefixes[0] != v6.String() {
		t.Errorf("unassigned: %+v", gone)
	}
	if got := r.describe(id); len(got.Ipv4Prefixes) != 1 || *got.Ipv4Prefixes[0].Ipv4Prefix != "10.0.1.128/28" || len(got.Ipv6Prefixes) != 2 {
		t.Errorf("left: %+v, %+v", got.Ipv4Prefixes, got.Ipv6Prefixes)
	}
	if err := r.cloud.DeleteByHand(*id); err != nil {
		t.Fatal(err)
	}
	if after := r.available(subnetA); after != before {
		t.Errorf("%d addresses available, before there were %d", after, before)
	}
}

func TestIPv6Addresses(t *testing.T) {
	r := newRig(t, dualStack)
	eni := r.create(subnetA)
	id := eni.NetworkInterfaceId
	r.assign6(&ec2.AssignIpv6AddressesInput{NetworkInterfaceId: id, Ipv6Addresses: []string{"2001:db8:0:1::77"}})
	counted := r.assign6(&ec2.AssignIpv6AddressesInput{NetworkInterfaceId: id, Ipv6AddressCount: aws.Int32(2)})
	// There is no token: the same call again assigns again.
	r.assign6(&ec2.AssignIpv6AddressesInput{NetworkInterfaceId: id, Ipv6AddressCount: aws.Int32(2)})
	if got := r.describe(id).Ipv6Addresses; len(got) != 5 || *got[0].Ipv6Address != "2001:db8:0:1::77" || *got[1].Ipv6Address != counted.AssignedIpv6Addresses[0] {
		t.Errorf("addresses: %+v", got)
	}
	must[*ec2.UnassignIpv6AddressesOutput](r)(r.ec2.UnassignIpv6Addresses(r.ctx, &ec2.UnassignIpv6AddressesInput{
		NetworkInterfaceId: id, Ipv6Addresses: counted.AssignedIpv6Addresses,
	}))
	if got := r.describe(id).Ipv6Addresses; len(got) != 3 {
		t.Errorf("left: %+v", got)
	}

	must[*ec2.ModifyNetworkInterfaceAttributeOutput](r)(r.ec2.ModifyNetworkInterfaceAttribute(r.ctx, &ec2.ModifyNetworkInterfaceAttributeInput{
		NetworkInterfaceId: id, EnablePrimaryIpv6: aws.Bool(true),
	}))
	if got := r.describe(id).Ipv6Addresses; !*got[0].IsPrimaryIpv6 || *got[1].IsPrimaryIpv6 {
		t.Errorf("primary: %+v", got)
	}
	_, err := r.ec2.UnassignIpv6Addresses(r.ctx, &ec2.UnassignIpv6AddressesInput{NetworkInterfaceId: id, Ipv6Addresses: []string{"2001:db8:0:1::77"}})
	r.wantCode(err, "InvalidParameterValue")
	_, err = r.ec2.ModifyNetworkInterfaceAttribute(r.ctx, &ec2.ModifyNetworkInterfaceAttributeInput{NetworkInterfaceId: id, EnablePrimaryIpv6: aws.Bool(false)})
	r.wantCode(err, "InvalidParameterValue")
}

// A subnet can have many addresses left and no block of 16 in one piece.
func TestFragmentedSubnet(t *testing.T) {
	r := newRig(t, func(c *cloud.Config) { c.Subnets[0].CIDR = netip.MustParsePrefix("10.0.1.0/26") })
	in := func(address string) *types.NetworkInterface {
		return r.createWith(subnetA, func(in *ec2.CreateNetworkInterfaceInput) { in.PrivateIpAddress = &address })
	}
	eni, first, second := in("10.0.1.5"), in("10.0.1.20"), in("10.0.1.40")
	ask := &ec2.AssignPrivateIpAddressesInput{NetworkInterfaceId: eni.NetworkInterfaceId, Ipv4PrefixCount: aws.Int32(1)}
	_, err := r.ec2.AssignPrivateIpAddresses(r.ctx, ask)
	if r.wantCode(err, "InsufficientCidrBlocks"); !strings.Contains(err.Error(), "does not have enough free cidr blocks") {
		t.Error(err)
	}
	if left := r.available(subnetA); left != 64-5-3 {
		t.Errorf("%d addresses left", left)
	}
	if err := r.cloud.DeleteByHand(*second.NetworkInterfaceId); err != nil {
		t.Fatal(err)
	}
	// All or nothing: the one block is not taken for two.
	ask.Ipv4PrefixCount = aws.Int32(2)
	_, err = r.ec2.AssignPrivateIpAddresses(r.ctx, ask)
	r.wantCode(err, "InsufficientCidrBlocks")
	ask.Ipv4PrefixCount = aws.Int32(1)
	if got := r.assign(ask).AssignedIpv4Prefixes; *got[0].Ipv4Prefix != "10.0.1.32/28" {
		t.Errorf("beside %s: %s", *first.PrivateIpAddress, *got[0].Ipv4Prefix)
	}
	if err := r.cloud.SetFreeAddresses(subnetA, 15); err != nil {
		t.Fatal(err)
	}
	_, err = r.ec2.AssignPrivateIpAddresses(r.ctx, ask)
	r.wantCode(err, "InsufficientCidrBlocks")
}

// Of the ways to ask for addresses of a family, EC2 takes one at a time.
func TestWaysToAsk(t *testing.T) {
	r := newRig(t, dualStack)
	one := aws.Int32(1)
	v4Prefix, v6Prefix := []types.Ipv4PrefixSpecificationRequest{{Ipv4Prefix: aws.String("10.0.1.32/28")}}, []types.Ipv6PrefixSpecificationRequest{{Ipv6Prefix: aws.String("2001:db8:0:1:1::/80")}}
	v6Address := []types.InstanceIpv6Address{{Ipv6Address: aws.String("2001:db8:0:1::9")}}
	two := []types.PrivateIpAddressSpecification{{PrivateIpAddress: aws.String("10.0.1.8"), Primary: aws.Bool(true)}, {PrivateIpAddress: aws.String("10.0.1.9")}}
	for name, test := range map[string]struct {
		code   string
		subnet string
		change func(*ec2.CreateNetworkInterfaceInput)
	}{
		"IPv4 addresses and count": {"InvalidParameterCombination", subnetA, func(in *ec2.CreateNetworkInterfaceInput) {
			in.PrivateIpAddresses, in.SecondaryPrivateIpAddressCount = two, one
		}},
		"IPv4 count and prefix count": {"InvalidParameterValue", subnetA, func(in *ec2.CreateNetworkInterfaceInput) {
			in.SecondaryPrivateIpAddressCount, in.Ipv4PrefixCount = one, one
		}},
		"IPv4 prefixes and count":     {"InvalidParameterValue", subnetA, func(in *ec2.CreateNetworkInterfaceInput) { in.Ipv4Prefixes, in.Ipv4PrefixCount = v4Prefix, one }},
		"IPv4 addresses and prefixes": {"InvalidParameterValue", subnetA, func(in *ec2.CreateNetworkInterfaceInput) { in.PrivateIpAddresses, in.Ipv4Prefixes = two, v4Prefix }},
		"IPv6 addresses and count":    {"InvalidParameterCombination", subnetA, func(in *ec2.CreateNetworkInterfaceInput) { in.Ipv6Addresses, in.Ipv6AddressCount = v6Address, one }},
		"IPv6 count and prefix count": {"InvalidParameterValue", subnetA, func(in *ec2.CreateNetworkInterfaceInput) { in.Ipv6AddressCount, in.Ipv6PrefixCount = aws.Int32(0), one }},
		"IPv6 addresses and prefixes": {"InvalidParameterValue", subnetA, func(in *ec2.CreateNetworkInterfaceInput) { in.Ipv6Addresses, in.Ipv6Prefixes = v6Address, v6Prefix }},
		"a negative count":            {"InvalidParameterValue", subnetA, func(in *ec2.CreateNetworkInterfaceInput) { in.Ipv6AddressCount = aws.Int32(-1) }},
		"IPv6 where there is none":    {"InvalidParameterValue", subnetA2, func(in *ec2.CreateNetworkInterfaceInput) { in.Ipv6PrefixCount = one }},
		"IPv4 where there is none":    {"InvalidParameterValue", subnet6, func(in *ec2.CreateNetworkInterfaceInput) { in.SecondaryPrivateIpAddressCount = one }},
		"nothing in an IPv6 subnet":   {"InvalidParameterValue", subnet6, func(in *ec2.CreateNetworkInterfaceInput) { in.Ipv6AddressCount = aws.Int32(0) }},
		"addresses of an efa-only":    {"InvalidParameterCombination", subnetA, func(in *ec2.CreateNetworkInterfaceInput) { in.InterfaceType, in.Ipv6AddressCount = "efa-only", one }},
		"a prefix of another size": {"InvalidParameterValue", subnetA, func(in *ec2.CreateNetworkInterfaceInput) {
			in.Ipv4Prefixes = []types.Ipv4PrefixSpecificationRequest{{Ipv4Prefix: aws.String("10.0.1.32/27")}}
		}},
		"a prefix that AWS keeps": {"InvalidParameterValue", subnetA, func(in *ec2.CreateNetworkInterfaceInput) {
			in.Ipv6Prefixes = []types.Ipv6PrefixSpecificationRequest{{Ipv6Prefix: aws.String("2001:db8:0:1::/80")}}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			in := &ec2.CreateNetworkInterfaceInput{SubnetId: &test.subnet}
			test.change(in)
			_, err := r.ec2.CreateNetworkInterface(r.ctx, in)
			if code, _ := failure(err); code != test.code {
				t.Errorf("%v, want %s", err, test.code)
			}
		})
	}
	if left := r.cloud.Interfaces(); len(left) != 0 {
		t.Errorf("left: %+v", left)
	}
	both := r.createWith(subnetA, func(in *ec2.CreateNetworkInterfaceInput) {
		in.PrivateIpAddress, in.SecondaryPrivateIpAddressCount, in.Ipv6PrefixCount = aws.String("10.0.1.8"), one, one
	})
	if *both.PrivateIpAddress != "10.0.1.8" || len(both.PrivateIpAddresses) != 2 || len(both.Ipv6Prefixes) != 1 {
		t.Errorf("a primary address goes with a count, and the families with each other: %+v", both)
	}

	id := both.NetworkInterfaceId
	for name, in := range map[string]*ec2.AssignIpv6AddressesInput{
		"MissingParameter":            {NetworkInterfaceId: id},
		"InvalidParameterCombination": {NetworkInterfaceId: id, Ipv6Addresses: []string{"2001:db8:0:1::9"}, Ipv6AddressCount: one},
		"InvalidParameterValue":       {NetworkInterfaceId: id, Ipv6Addresses: []string{"2001:db8:0:2::9"}},
	} {
		_, err := r.ec2.AssignIpv6Addresses(r.ctx, in)
		r.wantCode(err, name)
	}
}

// Assigning is authorized as other calls on an ENI are: by its tags.
func TestAssignIsAuthorizedByTags(t *testing.T) {
	r := newRig(t, dualStack)
	policy, err := iam.Parse([]byte(`{"Version": "2012-10-17", "Statement": [{
		"Effect": "Allow", "Action": ["ec2:*Assign*"], "Resource": "arn:aws:ec2:*:*:network-interface/*",
		"Condition": {"StringEquals": {"aws:ResourceTag/owner": "me"}}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	mine, other := r.create(subnetA, "owner", "me").NetworkInterfaceId, r.create(subnetA, "owner", "you").NetworkInterfaceId
	r.cloud.SetPolicies(func(string) *iam.Policy { return &policy })
	for id, code := range map[*string]string{mine: "", other: "UnauthorizedOperation"} {
		for name, call := range map[string]func() error{
			"AssignPrivateIpAddresses": func() error {
				_, err := r.ec2.AssignPrivateIpAddresses(r.ctx, &ec2.AssignPrivateIpAddressesInput{NetworkInterfaceId: id, PrivateIpAddresses: []string{"10.0.1.99"}})
				return err
			},
			"AssignIpv6Addresses": func() error {
				_, err := r.ec2.AssignIpv6Addresses(r.ctx, &ec2.AssignIpv6AddressesInput{NetworkInterfaceId: id, Ipv6PrefixCount: aws.Int32(1)})
				return err
			},
		} {
			if got, _ := failure(call()); got != code {
				t.Errorf("%s: %q, want %q", name, got, code)
			}
		}
	}
}
