package query

import (
	"net/netip"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

const subnet6 = "subnet-00000000000000006" // zone a, IPv6-only

// dualStack gives the VPC and subnet A an IPv6 range, and adds an IPv6-only subnet.
func dualStack(c *cloud.Config) {
	c.VPCs[0].IPv6CIDR = netip.MustParsePrefix("2001:db8::/56")
	c.Subnets[0].IPv6CIDR = netip.MustParsePrefix("2001:db8:0:1::/64")
	c.Subnets = append(c.Subnets, cloud.Subnet{
		ID: subnet6, VPCID: vpcID, Zone: "us-east-1a", IPv6CIDR: netip.MustParsePrefix("2001:db8:0:6::/64"), IPv6Native: true,
	})
}

func (r *rig) createWith(subnet string, change func(*ec2.CreateNetworkInterfaceInput)) *types.NetworkInterface {
	r.Helper()
	in := &ec2.CreateNetworkInterfaceInput{SubnetId: &subnet}
	change(in)
	return must[*ec2.CreateNetworkInterfaceOutput](r)(r.ec2.CreateNetworkInterface(r.ctx, in)).NetworkInterface
}

func within(t *testing.T, cidr string, addresses []types.NetworkInterfaceIpv6Address) {
	t.Helper()
	for _, a := range addresses {
		if !netip.MustParsePrefix(cidr).Contains(netip.MustParseAddr(*a.Ipv6Address)) {
			t.Errorf("%s is not in %s", *a.Ipv6Address, cidr)
		}
	}
}

func TestDualStack(t *testing.T) {
	r := newRig(t, dualStack)
	created := r.createWith(subnetA, func(in *ec2.CreateNetworkInterfaceInput) {
		in.Ipv6AddressCount, in.EnablePrimaryIpv6, in.SecondaryPrivateIpAddressCount = aws.Int32(2), aws.Bool(true), aws.Int32(1)
	})
	host := r.host(subnetA)
	r.attach(created.NetworkInterfaceId, host.ID, 1)
	for what, eni := range map[string]types.NetworkInterface{"created": *created, "described": r.describe(created.NetworkInterfaceId)} {
		v6 := eni.Ipv6Addresses
		if len(v6) != 2 || !*v6[0].IsPrimaryIpv6 || *v6[1].IsPrimaryIpv6 || *eni.Ipv6Address != *v6[0].Ipv6Address || len(eni.PrivateIpAddresses) != 2 {
			t.Errorf("%s: %+v, %+v", what, v6, eni.PrivateIpAddresses)
		}
		within(t, "2001:db8:0:1::/64", v6)
	}
	if shown := r.instance(host.ID).NetworkInterfaces[1].Ipv6Addresses; len(shown) != 2 || !*shown[0].IsPrimaryIpv6 {
		t.Errorf("of the instance: %+v", shown)
	}
	if got := r.list(&ec2.DescribeNetworkInterfacesInput{Filters: filter("ipv6-addresses.ipv6-address", *created.Ipv6Address)}); len(got) != 1 {
		t.Errorf("by its address: %v", got)
	}
	if plain := r.create(subnetA); len(plain.Ipv6Addresses) != 0 {
		t.Errorf("an ENI that asks for no IPv6 has %+v", plain.Ipv6Addresses)
	}
	named := r.createWith(subnetA, func(in *ec2.CreateNetworkInterfaceInput) {
		in.Ipv6Addresses = []types.InstanceIpv6Address{{Ipv6Address: aws.String("2001:db8:0:1::77")}}
	})
	if *named.Ipv6Address != "2001:db8:0:1::77" {
		t.Errorf("named: %+v", named.Ipv6Addresses)
	}

	subnet := must[*ec2.DescribeSubnetsOutput](r)(r.ec2.DescribeSubnets(r.ctx, &ec2.DescribeSubnetsInput{SubnetIds: []string{subnetA}})).Subnets[0]
	if a := subnet.Ipv6CidrBlockAssociationSet; len(a) != 1 || *a[0].Ipv6CidrBlock != "2001:db8:0:1::/64" || a[0].Ipv6CidrBlockState.State != "associated" || *subnet.Ipv6Native {
		t.Errorf("subnet: %+v", subnet)
	}
	vpc := must[*ec2.DescribeVpcsOutput](r)(r.ec2.DescribeVpcs(r.ctx, &ec2.DescribeVpcsInput{VpcIds: []string{vpcID}})).Vpcs[0]
	if a := vpc.Ipv6CidrBlockAssociationSet; len(a) != 1 || *a[0].Ipv6CidrBlock != "2001:db8::/56" {
		t.Errorf("VPC: %+v", vpc)
	}
}

func TestSubnetThatAssignsIPv6(t *testing.T) {
	r := newRig(t, dualStack, func(c *cloud.Config) { c.Subnets[0].AssignIPv6AddressOnCreation = true })
	if eni := r.create(subnetA); len(eni.Ipv6Addresses) != 1 {
		t.Errorf("by default: %+v", eni.Ipv6Addresses)
	}
	none := r.createWith(subnetA, func(in *ec2.CreateNetworkInterfaceInput) { in.Ipv6AddressCount = aws.Int32(0) })
	if len(none.Ipv6Addresses) != 0 {
		t.Errorf("with a count of 0: %+v", none.Ipv6Addresses)
	}
	prefix := r.createWith(subnetA, func(in *ec2.CreateNetworkInterfaceInput) { in.Ipv6PrefixCount = aws.Int32(1) })
	if len(prefix.Ipv6Addresses) != 0 || len(prefix.Ipv6Prefixes) != 1 {
		t.Errorf("with a prefix: %+v, %+v", prefix.Ipv6Addresses, prefix.Ipv6Prefixes)
	}
}

func TestIPv6OnlySubnet(t *testing.T) {
	r := newRig(t, dualStack)
	subnet := must[*ec2.DescribeSubnetsOutput](r)(r.ec2.DescribeSubnets(r.ctx, &ec2.DescribeSubnetsInput{Filters: filter("ipv6-native", "true")})).Subnets
	if len(subnet) != 1 || *subnet[0].SubnetId != subnet6 || subnet[0].CidrBlock != nil || !*subnet[0].Ipv6Native || !*subnet[0].AssignIpv6AddressOnCreation {
		t.Fatalf("subnet: %+v", subnet)
	}
	eni := r.create(subnet6)
	if eni.PrivateIpAddress != nil || len(eni.PrivateIpAddresses) != 0 || eni.PrivateDnsName != nil || len(eni.Ipv6Addresses) != 1 {
		t.Errorf("ENI: %+v", eni)
	}
	within(t, "2001:db8:0:6::/64", eni.Ipv6Addresses)
	r.attach(eni.NetworkInterfaceId, r.host(subnetA).ID, 1)

	host := r.instance(r.host(subnet6).ID)
	if host.PrivateIpAddress != nil || host.Ipv6Address == nil || *host.PrivateDnsName != *host.InstanceId+".ec2.internal" {
		t.Errorf("instance: %+v", host)
	}
	for _, filters := range [][]types.Filter{filter("private-ip-address", "10.*"), filter("private-dns-name", "ip-*")} {
		for _, id := range r.list(&ec2.DescribeNetworkInterfacesInput{Filters: filters}) {
			if id == *eni.NetworkInterfaceId {
				t.Errorf("found by %s", showFilters(filters))
			}
		}
	}
}
