package query

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

func TestFiltersOfENIs(t *testing.T) {
	r := newRig(t)
	host := r.host(subnetA)
	if err := r.cloud.DeleteTags([]string{host.ID}, nil); err != nil {
		t.Fatal(err)
	}
	one, two, three := r.create(subnetA, "owner", "alpha", "n", "1"), r.create(subnetB, "owner", "beta"), r.create(subnetA2)
	attachment := r.attach(one.NetworkInterfaceId, host.ID, 1)
	managed := must[cloud.Interface](r)(r.cloud.CreateNetworkInterface(cloud.CreateNetworkInterfaceInput{
		SubnetID: otherNet, RequesterManaged: true, Description: "a *star*", GroupIDs: []string{otherSG},
	}))
	var primary string
	for _, eni := range r.cloud.Interfaces() {
		if eni.MAC == host.MAC {
			primary = eni.ID
		}
	}
	names := map[string]string{
		*one.NetworkInterfaceId: "one", *two.NetworkInterfaceId: "two", *three.NetworkInterfaceId: "three", managed.ID: "managed", primary: "primary",
	}
	must[*ec2.ModifyNetworkInterfaceAttributeOutput](r)(r.ec2.ModifyNetworkInterfaceAttribute(r.ctx, &ec2.ModifyNetworkInterfaceAttributeInput{
		NetworkInterfaceId: three.NetworkInterfaceId, Groups: []string{groupDB, groupWeb},
	}))

	for _, test := range []struct {
		filters []types.Filter
		want    []string
	}{
		{nil, []string{"managed", "one", "primary", "three", "two"}},
		{filter("network-interface-id", *one.NetworkInterfaceId, noENI), []string{"one"}},
		{filter("subnet-id", subnetA2, subnetB), []string{"three", "two"}},
		{filter("vpc-id", otherVPC), []string{"managed"}},
		{filter("availability-zone", "us-east-1b"), []string{"two"}},
		{filter("availability-zone-id", "use1-az2"), []string{"two"}},
		{filter("status", "available"), []string{"managed", "three", "two"}},
		{filter("description", `a \*star\*`), []string{"managed"}},
		{filter("description", "a *"), []string{"managed"}},
		{filter("group-id", groupWeb), []string{"three"}},
		{filter("group-name", "web"), []string{"managed", "three"}},
		{filter("mac-address", *two.MacAddress), []string{"two"}},
		{filter("private-ip-address", *three.PrivateIpAddress), []string{"three"}},
		{filter("addresses.private-ip-address", "10.0.?.*"), []string{"one", "primary", "three", "two"}},
		{filter("attachment.instance-id", host.ID), []string{"one", "primary"}},
		{filter("attachment.attachment-id", attachment), []string{"one"}},
		{filter("attachment.device-index", "1"), []string{"one"}},
		{filter("attachment.status", "attached"), []string{"one", "primary"}},
		{filter("attachment.delete-on-termination", "true"), []string{"primary"}},
		{filter("requester-managed", "true"), []string{"managed"}},
		{filter("source-dest-check", "false"), nil},
		{filter("tag:owner", "alpha"), []string{"one"}},
		{filter("tag:owner", "Alpha"), nil},
		{filter("tag:owner", "*a"), []string{"one", "two"}},
		{filter("tag:owner", "?eta"), []string{"two"}},
		{filter("tag-key", "n", "x"), []string{"one"}},
		{slices.Concat(filter("tag:owner", "alpha", "beta"), filter("subnet-id", subnetB)), []string{"two"}},
		{slices.Concat(filter("tag:owner", "alpha"), filter("tag:n", "2")), nil},
	} {
		var got []string
		for _, id := range r.list(&ec2.DescribeNetworkInterfacesInput{Filters: test.filters}) {
			got = append(got, names[id])
		}
		slices.Sort(got)
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: got %v, want %v", showFilters(test.filters), got, test.want)
		}
	}
}

func showFilters(filters []types.Filter) (text string) {
	for _, f := range filters {
		text += fmt.Sprint(*f.Name, "=", f.Values, " ")
	}
	return text
}

func TestFiltersOfSubnetsAndGroups(t *testing.T) {
	r := newRig(t)
	for _, test := range []struct {
		filters []types.Filter
		want    []string
	}{
		{filter("tag:Name", "data-a", "data-b"), []string{subnetA, subnetB}},
		{filter("tag:Name", "data-a*"), []string{subnetA, subnetA2}},
		{filter("tag-key", "Name"), []string{subnetA, subnetA2, subnetB}},
		{filter("subnet-id", subnetB), []string{subnetB}},
		{filter("vpc-id", otherVPC), []string{otherNet}},
		{filter("availability-zone", "us-east-1b"), []string{subnetB}},
		{filter("cidr-block", "10.0.2.0/24"), []string{subnetA2}},
		{slices.Concat(filter("vpc-id", vpcID), filter("availability-zone", "us-east-1a")), []string{subnetA, subnetA2}},
	} {
		var got []string
		for _, s := range must[*ec2.DescribeSubnetsOutput](r)(r.ec2.DescribeSubnets(r.ctx, &ec2.DescribeSubnetsInput{Filters: test.filters})).Subnets {
			got = append(got, *s.SubnetId)
		}
		slices.Sort(got)
		slices.Sort(test.want)
		if !slices.Equal(got, test.want) {
			t.Errorf("subnets with %s: got %v, want %v", showFilters(test.filters), got, test.want)
		}
	}
	for _, test := range []struct {
		filters []types.Filter
		want    []string
	}{
		{filter("group-id", groupDB), []string{groupDB}},
		{filter("group-name", "web"), []string{groupWeb, otherSG}},
		{slices.Concat(filter("group-name", "web", "db"), filter("vpc-id", vpcID)), []string{groupWeb, groupDB}},
		{filter("tag:team", "data"), []string{groupDB}},
	} {
		var got []string
		for _, g := range must[*ec2.DescribeSecurityGroupsOutput](r)(r.ec2.DescribeSecurityGroups(r.ctx, &ec2.DescribeSecurityGroupsInput{Filters: test.filters})).SecurityGroups {
			got = append(got, *g.GroupId)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("groups with %s: got %v, want %v", showFilters(test.filters), got, test.want)
		}
	}
}

func TestOtherDescribes(t *testing.T) {
	r := newRig(t)
	limits := must[*ec2.DescribeInstanceTypesOutput](r)(r.ec2.DescribeInstanceTypes(r.ctx, &ec2.DescribeInstanceTypesInput{
		InstanceTypes: []types.InstanceType{types.InstanceTypeC54xlarge},
	})).InstanceTypes[0].NetworkInfo
	if *limits.MaximumNetworkInterfaces != 8 || *limits.Ipv4AddressesPerInterface != 30 || len(limits.NetworkCards) != 1 || *limits.NetworkCards[0].MaximumNetworkInterfaces != 8 {
		t.Errorf("c5.4xlarge: %+v", limits)
	}
	vpcs := must[*ec2.DescribeVpcsOutput](r)(r.ec2.DescribeVpcs(r.ctx, &ec2.DescribeVpcsInput{VpcIds: []string{vpcID}})).Vpcs
	if len(vpcs) != 1 || *vpcs[0].CidrBlock != "10.0.0.0/16" {
		t.Errorf("VPCs: %+v", vpcs)
	}
	zones := must[*ec2.DescribeAvailabilityZonesOutput](r)(r.ec2.DescribeAvailabilityZones(r.ctx, &ec2.DescribeAvailabilityZonesInput{})).AvailabilityZones
	if len(zones) != 2 || *zones[1].ZoneName != "us-east-1b" || *zones[1].ZoneId != "use1-az2" || *zones[1].RegionName != "us-east-1" {
		t.Errorf("zones: %+v", zones)
	}
	subnet := must[*ec2.DescribeSubnetsOutput](r)(r.ec2.DescribeSubnets(r.ctx, &ec2.DescribeSubnetsInput{SubnetIds: []string{subnetA}})).Subnets[0]
	if *subnet.AssignIpv6AddressOnCreation || *subnet.Ipv6Native || subnet.PrivateDnsNameOptionsOnLaunch.HostnameType != types.HostnameTypeIpName {
		t.Errorf("subnet: %+v", subnet)
	}
	group := must[*ec2.DescribeSecurityGroupsOutput](r)(r.ec2.DescribeSecurityGroups(r.ctx, &ec2.DescribeSecurityGroupsInput{GroupIds: []string{groupDB}})).SecurityGroups[0]
	for _, rules := range [][]types.IpPermission{group.IpPermissions, group.IpPermissionsEgress} {
		if len(rules) != 1 || *rules[0].IpProtocol != "-1" || len(rules[0].IpRanges) != 1 || *rules[0].IpRanges[0].CidrIp != "0.0.0.0/0" {
			t.Errorf("rules of a group: %+v", rules)
		}
	}
	eni := r.create(subnetA)
	if len(eni.Ipv6Addresses) != 0 || eni.Operator == nil || *eni.Operator.Managed {
		t.Errorf("ENI: %+v", eni)
	}
	attribute := must[*ec2.DescribeNetworkInterfaceAttributeOutput](r)(r.ec2.DescribeNetworkInterfaceAttribute(r.ctx, &ec2.DescribeNetworkInterfaceAttributeInput{
		NetworkInterfaceId: eni.NetworkInterfaceId, Attribute: types.NetworkInterfaceAttributeSourceDestCheck,
	}))
	if attribute.SourceDestCheck == nil || !*attribute.SourceDestCheck.Value || attribute.Attachment != nil {
		t.Errorf("attribute: %+v", attribute)
	}
}

func TestPages(t *testing.T) {
	r := newRig(t)
	want := make(map[string]bool)
	for range 23 {
		want[*r.create(subnetA, "mine", "yes").NetworkInterfaceId] = true
	}
	r.create(subnetA)
	pages := ec2.NewDescribeNetworkInterfacesPaginator(r.ec2, &ec2.DescribeNetworkInterfacesInput{
		Filters: filter("tag:mine", "yes"), MaxResults: aws.Int32(5),
	})
	var sizes []int
	var token string
	for pages.HasMorePages() {
		page := must[*ec2.DescribeNetworkInterfacesOutput](r)(pages.NextPage(r.ctx))
		sizes = append(sizes, len(page.NetworkInterfaces))
		for _, eni := range page.NetworkInterfaces {
			if !want[*eni.NetworkInterfaceId] {
				t.Errorf("%s is not wanted, or listed twice", *eni.NetworkInterfaceId)
			}
			delete(want, *eni.NetworkInterfaceId)
		}
		if page.NextToken != nil {
			token = *page.NextToken
		}
	}
	if !slices.Equal(sizes, []int{5, 5, 5, 5, 3}) || len(want) != 0 {
		t.Errorf("pages of %v, %d ENIs are missing", sizes, len(want))
	}
	_, err := r.ec2.DescribeNetworkInterfaces(r.ctx, &ec2.DescribeNetworkInterfacesInput{
		Filters: filter("tag:mine", "no"), MaxResults: aws.Int32(5), NextToken: &token,
	})
	r.wantCode(err, "InvalidNextToken")
}

func TestDescribesLag(t *testing.T) {
	r := newRig(t)
	host := r.host(subnetA)
	old := r.create(subnetA)
	r.timing(func(timing *cloud.Timing) { timing.DescribeLag = time.Hour })

	fresh := r.create(subnetA)
	attachment := r.attach(fresh.NetworkInterfaceId, host.ID, 1)
	_, err := r.ec2.DescribeNetworkInterfaces(r.ctx, &ec2.DescribeNetworkInterfacesInput{NetworkInterfaceIds: []string{*fresh.NetworkInterfaceId}})
	r.wantCode(err, "InvalidNetworkInterfaceID.NotFound")
	if err := r.cloud.DeleteByHand(*old.NetworkInterfaceId); err != nil {
		t.Fatal(err)
	}
	if n := len(r.cloud.Interfaces()); n != 2 {
		t.Errorf("%d ENIs in truth, want 2", n)
	}

	r.timing(func(timing *cloud.Timing) { timing.DescribeLag = 0 })
	if got := r.describe(fresh.NetworkInterfaceId).Attachment; got == nil || *got.AttachmentId != attachment {
		t.Errorf("attachment: %+v", got)
	}
	if shown := r.instance(host.ID).NetworkInterfaces; len(shown) != 2 {
		t.Errorf("the instance shows %d ENIs, want 2", len(shown))
	}
}

// An ENI of before the lag began stays as it was until the lag has passed.
func TestDescribesShowThePast(t *testing.T) {
	r := newRig(t, func(c *cloud.Config) { c.Timing.DescribeLag = 200 * time.Millisecond })
	host := r.host(subnetA)
	eni := r.create(subnetA)
	byID := &ec2.DescribeNetworkInterfacesInput{NetworkInterfaceIds: []string{*eni.NetworkInterfaceId}}
	r.eventually("the ENI is in sight", func() bool {
		_, err := r.ec2.DescribeNetworkInterfaces(r.ctx, byID)
		return err == nil
	})
	begin := time.Now()
	r.attach(eni.NetworkInterfaceId, host.ID, 1)
	got := r.describe(eni.NetworkInterfaceId)
	if time.Since(begin) < 200*time.Millisecond && got.Attachment != nil {
		t.Errorf("the attachment is in sight at once: %+v", got.Attachment)
	}
	r.eventually("the attachment is in sight", func() bool { return r.describe(eni.NetworkInterfaceId).Attachment != nil })
	if passed := time.Since(begin); passed < 200*time.Millisecond {
		t.Errorf("in sight after %v", passed)
	}
	if err := r.cloud.DetachByHand(*eni.NetworkInterfaceId); err != nil {
		t.Fatal(err)
	}
	if err := r.cloud.DeleteByHand(*eni.NetworkInterfaceId); err != nil {
		t.Fatal(err)
	}
	r.eventually("the ENI is out of sight", func() bool {
		_, err := r.ec2.DescribeNetworkInterfaces(r.ctx, byID)
		return err != nil
	})
	if passed := time.Since(begin); passed < 400*time.Millisecond {
		t.Errorf("out of sight after %v", passed)
	}
}
