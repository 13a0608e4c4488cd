package query

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// dryRuns has a call of every action that would be carried out.
func dryRuns(s *stage) map[string]string {
	free := "&NetworkInterfaceId=" + s.free.ID
	return map[string]string{
		"AssignIpv6Addresses":               free + "&Ipv6AddressCount=1",
		"AssignPrivateIpAddresses":          free + "&SecondaryPrivateIpAddressCount=1",
		"AttachNetworkInterface":            free + "&InstanceId=" + s.host.ID + "&DeviceIndex=2",
		"CreateNetworkInterface":            "&SubnetId=" + subnetA + "&SecurityGroupId.1=" + groupDB + "&ClientToken=once&Description=" + noENI,
		"CreateTags":                        "&ResourceId.1=" + s.free.ID + "&ResourceId.2=" + subnetA + "&Tag.1.Key=a&Tag.1.Value=" + noENI,
		"DeleteNetworkInterface":            free,
		"DeleteTags":                        "&ResourceId.1=" + s.free.ID,
		"DescribeAvailabilityZones":         "",
		"DescribeInstances":                 "&InstanceId.1=" + s.host.ID,
		"DescribeInstanceTypes":             "&InstanceType.1=m5.large",
		"DescribeNetworkInterfaceAttribute": free + "&Attribute=description",
		"DescribeNetworkInterfaces":         "&Filter.1.Name=network-interface-id&Filter.1.Value.1=" + noENI + "&MaxResults=5",
		"DescribeSecurityGroups":            "&GroupId.1=" + groupDB,
		"DescribeSubnets":                   "&SubnetId.1=" + subnetA,
		"DescribeVpcs":                      "&VpcId.1=" + vpcID,
		"DetachNetworkInterface":            "&AttachmentId=" + s.attached.Attachment.ID,
		"ModifyNetworkInterfaceAttribute": "&NetworkInterfaceId=" + s.attached.ID +
			"&Attachment.AttachmentId=" + s.attached.Attachment.ID + "&Attachment.DeleteOnTermination=true",
		"RunInstances":               "&MinCount=1&MaxCount=1&InstanceType=m5.large&SubnetId=" + subnetA + "&ClientToken=once",
		"TerminateInstances":         "&InstanceId.1=" + s.host.ID,
		"UnassignIpv6Addresses":      free + "&Ipv6Addresses.1=2001:db8::1",
		"UnassignPrivateIpAddresses": free + "&PrivateIpAddress.1=10.0.1.9",
	}
}

// A dry run tells whether the caller may, and does nothing.
func TestDryRuns(t *testing.T) {
	s := newStage(t)
	forms := dryRuns(s)
	before := fmt.Sprintf("%+v %+v", s.cloud.Instances(), s.cloud.Interfaces())
	for action := range operations {
		form, ok := forms[action]
		if !ok {
			t.Errorf("%s has no dry run in this test", action)
			continue
		}
		if code, status := s.dryRun(action, form); code != "DryRunOperation" || status != 412 {
			t.Errorf("%s: %s with status %d", action, code, status)
		}
		s.inject(cloud.Fault{Action: action, Code: "UnauthorizedOperation"})
		if code, status := s.dryRun(action, form); code != "UnauthorizedOperation" || status != 403 {
			t.Errorf("%s, which is denied: %s with status %d", action, code, status)
		}
		s.cloud.ClearFaults()
	}
	if after := fmt.Sprintf("%+v %+v", s.cloud.Instances(), s.cloud.Interfaces()); after != before {
		t.Errorf("dry runs changed something:\nbefore %s\nafter  %s", before, after)
	}
}

func (r *rig) dryRun(action, form string) (code string, status int) {
	r.Helper()
	code, status, _ = r.raw("Action=" + action + "&Version=" + version + "&DryRun=true" + form)
	return code, status
}

func TestDryRunErrors(t *testing.T) {
	s := newStage(t)
	for _, test := range []struct{ action, form, code string }{
		{"CreateNetworkInterface", "", "MissingParameter"},
		{"CreateNetworkInterface", "&SubnetId=" + subnetA + "&Color=red", "UnknownParameter"},
		{"CreateNetworkInterface", "&SubnetId=subnet-x", "InvalidSubnetID.Malformed"},
		{"CreateNetworkInterface", "&SubnetId=" + noSubnet, "InvalidSubnetID.NotFound"},
		{"CreateNetworkInterface", "&SubnetId=" + subnetA + "&SecurityGroupId.1=" + groupDB + "&SecurityGroupId.2=" + noGroup, "InvalidGroup.NotFound"},
		{"AttachNetworkInterface", "&NetworkInterfaceId=" + noENI + "&InstanceId=" + s.host.ID + "&DeviceIndex=1", "InvalidNetworkInterfaceID.NotFound"},
		{"AttachNetworkInterface", "&NetworkInterfaceId=" + s.free.ID + "&InstanceId=" + noHost + "&DeviceIndex=1", "InvalidInstanceID.NotFound"},
		// What it is told to do may not be possible; that only the real call shows.
		{"AttachNetworkInterface", "&NetworkInterfaceId=" + s.attached.ID + "&InstanceId=" + s.hostB.ID + "&DeviceIndex=0", "DryRunOperation"},
		{"ModifyNetworkInterfaceAttribute", "&NetworkInterfaceId=" + noENI + "&SourceDestCheck.Value=false", "InvalidNetworkInterfaceID.NotFound"},
		{"ModifyNetworkInterfaceAttribute", "&NetworkInterfaceId=" + s.free.ID + "&Attachment.AttachmentId=" + noAttach + "&Attachment.DeleteOnTermination=true", "InvalidAttachmentID.NotFound"},
		{"DetachNetworkInterface", "&AttachmentId=" + noAttach, "InvalidAttachmentID.NotFound"},
		{"DeleteNetworkInterface", "&NetworkInterfaceId=eni-1", "InvalidNetworkInterfaceId.Malformed"},
		{"CreateTags", "&ResourceId.1=" + s.free.ID + "&ResourceId.2=" + noENI + "&Tag.1.Key=a", "InvalidNetworkInterfaceID.NotFound"},
		{"DescribeVpcs", "&VpcId.1=vpc-0ffffffffffffffff", "InvalidVpcID.NotFound"},
	} {
		if code, _ := s.dryRun(test.action, test.form); code != test.code {
			t.Errorf("%s%s: %s, want %s", test.action, test.form, code, test.code)
		}
	}
}

// A dry run is no first use of its client token.
func TestDryRunRemembersNoToken(t *testing.T) {
	r := newRig(t)
	in := &ec2.CreateNetworkInterfaceInput{SubnetId: aws.String(subnetA), ClientToken: aws.String("once"), DryRun: aws.Bool(true)}
	_, err := r.ec2.CreateNetworkInterface(r.ctx, in)
	r.wantCode(err, "DryRunOperation")
	in.DryRun, in.SubnetId = nil, aws.String(subnetA2)
	eni := must[*ec2.CreateNetworkInterfaceOutput](r)(r.ec2.CreateNetworkInterface(r.ctx, in)).NetworkInterface
	if !strings.HasPrefix(*eni.NetworkInterfaceId, "eni-") || *eni.SubnetId != subnetA2 {
		t.Errorf("%+v", eni)
	}
}

func TestDryRunsAreThrottled(t *testing.T) {
	r := newRig(t, func(c *cloud.Config) { c.Throttle = true })
	for range 1000 { // far more than the bucket holds and is given meanwhile
		if code, _ := r.dryRun("DescribeVpcs", ""); code == "RequestLimitExceeded" {
			return
		}
	}
	t.Error("no dry run was throttled")
}
