package query

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// stage is what the calls of TestErrors find.
type stage struct {
	*rig
	host, hostB, full, stopped cloud.Instance
	free, attached, managed    cloud.Interface
}

func newStage(t *testing.T) *stage {
	s := &stage{rig: newRig(t)}
	for _, host := range []*cloud.Instance{&s.host, &s.full, &s.stopped} {
		*host = s.rig.host(subnetA)
	}
	s.hostB = s.rig.host(subnetB)
	eni := must[cloud.Interface](s.rig)
	s.free = eni(s.cloud.CreateNetworkInterface(cloud.CreateNetworkInterfaceInput{SubnetID: subnetA}))
	s.managed = eni(s.cloud.CreateNetworkInterface(cloud.CreateNetworkInterfaceInput{SubnetID: subnetA, RequesterManaged: true}))
	attach := func(host string, index int32) string {
		e := eni(s.cloud.CreateNetworkInterface(cloud.CreateNetworkInterfaceInput{SubnetID: subnetA}))
		must[cloud.Attachment](s.rig)(s.cloud.AttachNetworkInterface(cloud.AttachNetworkInterfaceInput{
			NetworkInterfaceID: e.ID, InstanceID: host, DeviceIndex: index,
		}))
		return e.ID
	}
	s.attached, _ = s.cloud.Interface(attach(s.host.ID, 1))
	attach(s.full.ID, 1)
	attach(s.full.ID, 2)
	if err := s.cloud.SetInstanceState(s.stopped.ID, cloud.InstancePending); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *stage) createWith(change func(*ec2.CreateNetworkInterfaceInput)) error {
	in := &ec2.CreateNetworkInterfaceInput{SubnetId: aws.String(subnetA)}
	change(in)
	_, err := s.ec2.CreateNetworkInterface(s.ctx, in)
	return err
}

func (s *stage) attachTo(eni, host string, index int32) error {
	_, err := s.ec2.AttachNetworkInterface(s.ctx, attachInput(&eni, host, index))
	return err
}

func (s *stage) modifyWith(change func(*ec2.ModifyNetworkInterfaceAttributeInput)) error {
	in := &ec2.ModifyNetworkInterfaceAttributeInput{NetworkInterfaceId: &s.free.ID}
	change(in)
	_, err := s.ec2.ModifyNetworkInterfaceAttribute(s.ctx, in)
	return err
}

func (s *stage) detach(id string) error {
	_, err := s.ec2.DetachNetworkInterface(s.ctx, &ec2.DetachNetworkInterfaceInput{AttachmentId: &id})
	return err
}

func (s *stage) delete(id string) error {
	_, err := s.ec2.DeleteNetworkInterface(s.ctx, &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: &id})
	return err
}

func (s *stage) describeWith(in *ec2.DescribeNetworkInterfacesInput) error {
	_, err := s.ec2.DescribeNetworkInterfaces(s.ctx, in)
	return err
}

func (s *stage) tag(pairs ...string) error {
	_, err := s.ec2.CreateTags(s.ctx, &ec2.CreateTagsInput{Resources: []string{s.free.ID}, Tags: tagSpec(pairs...)[0].Tags})
	return err
}

// primary is the attachment of the host's primary ENI.
func (s *stage) primary() string {
	for _, eni := range s.cloud.Interfaces() {
		if a := eni.Attachment; a != nil && a.InstanceID == s.host.ID && a.DeviceIndex == 0 {
			return a.ID
		}
	}
	s.Fatal("no primary ENI")
	return ""
}

// errorTests hold each error to its code, a part of its message, and its HTTP
// status, 400 if none is given.
var errorTests = []struct {
	name    string
	code    string
	message string
	status  int
	call    func(s *stage) error
}{
	{"create: malformed subnet", "InvalidSubnetID.Malformed", `Invalid id: "subnet-x" (expecting "subnet-...")`, 0, func(s *stage) error {
		return s.createWith(func(in *ec2.CreateNetworkInterfaceInput) { in.SubnetId = aws.String("subnet-x") })
	}},
	{"create: unknown subnet", "InvalidSubnetID.NotFound", "The subnet ID '" + noSubnet + "' does not exist", 0, func(s *stage) error {
		return s.createWith(func(in *ec2.CreateNetworkInterfaceInput) { in.SubnetId = aws.String(noSubnet) })
	}},
	{"create: malformed group", "InvalidGroupId.Malformed", `Invalid id: "web"`, 0, func(s *stage) error {
		return s.createWith(func(in *ec2.CreateNetworkInterfaceInput) { in.Groups = []string{"web"} })
	}},
	{"create: unknown group", "InvalidGroup.NotFound", "The security group '" + noGroup + "' does not exist", 0, func(s *stage) error {
		return s.createWith(func(in *ec2.CreateNetworkInterfaceInput) { in.Groups = []string{groupDB, noGroup} })
	}},
	{"create: group of another VPC", "InvalidParameter", "belong to different networks", 0, func(s *stage) error {
		return s.createWith(func(in *ec2.CreateNetworkInterfaceInput) { in.Groups = []string{otherSG} })
	}},
	{"create: long description", "InvalidParameterValue", "255", 0, func(s *stage) error {
		return s.createWith(func(in *ec2.CreateNetworkInterfaceInput) { in.Description = aws.String(strings.Repeat("x", 256)) })
	}},
	{"create: long token", "InvalidParameterValue", "clientToken", 0, func(s *stage) error {
		return s.createWith(func(in *ec2.CreateNetworkInterfaceInput) { in.ClientToken = aws.String(strings.Repeat("x", 65)) })
	}},
	{"create: tags of an instance", "InvalidParameterValue", "'instance' is not a valid taggable resource type", 0, func(s *stage) error {
		return s.createWith(func(in *ec2.CreateNetworkInterfaceInput) {
			in.TagSpecifications = tagSpec("a", "1")
			in.TagSpecifications[0].ResourceType = types.ResourceTypeInstance
		})
	}},
	{"create: twice the same tag", "InvalidParameterValue", "Duplicate tag key 'a'", 0, func(s *stage) error {
		return s.createWith(func(in *ec2.CreateNetworkInterfaceInput) { in.TagSpecifications = tagSpec("a", "1", "a", "1") })
	}},
	{"create: two lists of tags", "InvalidParameterValue", "more than one TagSpecification", 0, func(s *stage) error {
		return s.createWith(func(in *ec2.CreateNetworkInterfaceInput) {
			in.TagSpecifications = append(tagSpec("a", "1"), tagSpec("b", "1")...)
		})
	}},
	{"create: address taken", "InvalidIPAddress.InUse", "10.0.1.4", 0, func(s *stage) error {
		return s.createWith(func(in *ec2.CreateNetworkInterfaceInput) { in.PrivateIpAddress = aws.String("10.0.1.4") })
	}},
	{"create: address reserved", "InvalidParameterValue", "10.0.1.255", 0, func(s *stage) error {
		return s.createWith(func(in *ec2.CreateNetworkInterfaceInput) { in.PrivateIpAddress = aws.String("10.0.1.255") })
	}},
	{"create: not an address", "InvalidParameterValue", "Expecting an IPv4 address", 0, func(s *stage) error {
		return s.createWith(func(in *ec2.CreateNetworkInterfaceInput) { in.PrivateIpAddress = aws.String("fe80::1") })
	}},
	{"create: no address left", "InsufficientFreeAddressesInSubnet", "does not have enough free addresses", 0, func(s *stage) error {
		return s.createWith(func(in *ec2.CreateNetworkInterfaceInput) { in.SecondaryPrivateIpAddressCount = aws.Int32(251) })
	}},
	{"create: IPv6 in a subnet without", "InvalidParameterValue", "has no IPv6 CIDR block", 0, func(s *stage) error {
		return s.createWith(func(in *ec2.CreateNetworkInterfaceInput) { in.Ipv6AddressCount = aws.Int32(1) })
	}},
	{"create: dry run", "DryRunOperation", "Request would have succeeded, but DryRun flag is set.", 412, func(s *stage) error {
		return s.createWith(func(in *ec2.CreateNetworkInterfaceInput) { in.DryRun = aws.Bool(true) })
	}},

	{"attach: malformed ENI", "InvalidNetworkInterfaceId.Malformed", `Invalid id: "eni-1" (expecting "eni-...")`, 0, func(s *stage) error {
		return s.attachTo("eni-1", s.host.ID, 2)
	}},
	{"attach: unknown ENI", "InvalidNetworkInterfaceID.NotFound", "The networkInterface ID '" + noENI + "' does not exist", 0, func(s *stage) error {
		return s.attachTo(noENI, s.host.ID, 2)
	}},
	{"attach: malformed instance", "InvalidInstanceID.Malformed", `Invalid id: "host"`, 0, func(s *stage) error {
		return s.attachTo(s.free.ID, "host", 2)
	}},
	{"attach: unknown instance", "InvalidInstanceID.NotFound", "The instance ID '" + noHost + "' does not exist", 0, func(s *stage) error {
		return s.attachTo(s.free.ID, noHost, 2)
	}},
	{"attach: in use", "InvalidNetworkInterface.InUse", "in use", 0, func(s *stage) error {
		return s.attachTo(s.attached.ID, s.host.ID, 2)
	}},
	{"attach: index taken", "InvalidParameterValue", "already has an interface attached at device index '1'", 0, func(s *stage) error {
		return s.attachTo(s.free.ID, s.host.ID, 1)
	}},
	{"attach: too many", "AttachmentLimitExceeded", "Interface count 4 exceeds the limit for m5.large", 0, func(s *stage) error {
		return s.attachTo(s.free.ID, s.full.ID, 3)
	}},
	{"attach: other zone", "InvalidParameterCombination", "if they are not in the same availability zone", 0, func(s *stage) error {
		return s.attachTo(s.free.ID, s.hostB.ID, 1)
	}},
	{"attach: not running", "IncorrectState", "is not 'running'", 0, func(s *stage) error {
		return s.attachTo(s.free.ID, s.stopped.ID, 1)
	}},
	{"attach: managed", "OperationNotPermitted", "", 0, func(s *stage) error {
		return s.attachTo(s.managed.ID, s.host.ID, 2)
	}},
	{"attach: no such card", "InvalidParameterValue", "Network card index '1'", 0, func(s *stage) error {
		in := attachInput(&s.free.ID, s.host.ID, 2)
		in.NetworkCardIndex = aws.Int32(1)
		_, err := s.ec2.AttachNetworkInterface(s.ctx, in)
		return err
	}},

	{"modify: nothing", "InvalidParameterCombination", "No attributes specified", 0, func(s *stage) error {
		return s.modifyWith(func(*ec2.ModifyNetworkInterfaceAttributeInput) {})
	}},
	{"modify: two attributes", "InvalidParameterCombination", "multiple attribute types specified: sourceDestCheck, description", 0, func(s *stage) error {
		return s.modifyWith(func(in *ec2.ModifyNetworkInterfaceAttributeInput) {
			in.SourceDestCheck = &types.AttributeBooleanValue{Value: aws.Bool(false)}
			in.Description = &types.AttributeValue{Value: aws.String("x")}
		})
	}},
	{"modify: unknown attachment", "InvalidAttachmentID.NotFound", noAttach, 0, func(s *stage) error {
		return s.modifyWith(func(in *ec2.ModifyNetworkInterfaceAttributeInput) {
			in.Attachment = &types.NetworkInterfaceAttachmentChanges{AttachmentId: aws.String(noAttach), DeleteOnTermination: aws.Bool(true)}
		})
	}},
	{"modify: unknown ENI", "InvalidNetworkInterfaceID.NotFound", noENI, 0, func(s *stage) error {
		return s.modifyWith(func(in *ec2.ModifyNetworkInterfaceAttributeInput) {
			in.NetworkInterfaceId, in.Groups = aws.String(noENI), []string{groupWeb}
		})
	}},
	{"modify: managed", "OperationNotPermitted", "", 0, func(s *stage) error {
		return s.modifyWith(func(in *ec2.ModifyNetworkInterfaceAttributeInput) {
			in.NetworkInterfaceId, in.Groups = &s.managed.ID, []string{groupWeb}
		})
	}},

	{"detach: malformed", "InvalidNetworkInterfaceAttachmentId.Malformed", "", 0, func(s *stage) error { return s.detach("eni-attach-x") }},
	{"detach: unknown", "InvalidAttachmentID.NotFound", noAttach, 0, func(s *stage) error { return s.detach(noAttach) }},
	{"detach: primary", "OperationNotPermitted", "device index 0", 0, func(s *stage) error { return s.detach(s.primary()) }},

	{"delete: unknown", "InvalidNetworkInterfaceID.NotFound", noENI, 0, func(s *stage) error { return s.delete(noENI) }},
	{"delete: in use", "InvalidNetworkInterface.InUse", "", 0, func(s *stage) error { return s.delete(s.attached.ID) }},
	{"delete: managed", "OperationNotPermitted", "", 0, func(s *stage) error { return s.delete(s.managed.ID) }},

	{"describe: malformed", "InvalidNetworkInterfaceId.Malformed", "", 0, func(s *stage) error {
		return s.describeWith(&ec2.DescribeNetworkInterfacesInput{NetworkInterfaceIds: []string{s.free.ID, "eni-x"}})
	}},
	{"describe: one of two is unknown", "InvalidNetworkInterfaceID.NotFound", "", 0, func(s *stage) error {
		return s.describeWith(&ec2.DescribeNetworkInterfacesInput{NetworkInterfaceIds: []string{s.free.ID, noENI}})
	}},
	{"describe: ids and MaxResults", "InvalidParameterCombination", "cannot be used with the parameter maxResults", 0, func(s *stage) error {
		return s.describeWith(&ec2.DescribeNetworkInterfacesInput{NetworkInterfaceIds: []string{s.free.ID}, MaxResults: aws.Int32(5)})
	}},
	{"describe: small page", "InvalidParameterValue", "Value ( 4 ) for parameter maxResults is invalid", 0, func(s *stage) error {
		return s.describeWith(&ec2.DescribeNetworkInterfacesInput{MaxResults: aws.Int32(4)})
	}},
	{"describe: large page", "InvalidParameterValue", "Value ( 1001 ) for parameter maxResults is invalid", 0, func(s *stage) error {
		return s.describeWith(&ec2.DescribeNetworkInterfacesInput{MaxResults: aws.Int32(1001)})
	}},
	{"describe: token", "InvalidNextToken", "", 0, func(s *stage) error {
		return s.describeWith(&ec2.DescribeNetworkInterfacesInput{NextToken: aws.String("x")})
	}},
	{"describe: unknown filter", "InvalidParameterValue", "The filter 'subnet' is invalid", 0, func(s *stage) error {
		return s.describeWith(&ec2.DescribeNetworkInterfacesInput{Filters: filter("subnet", subnetA)})
	}},
	{"describe: filter without values", "InvalidParameterValue", "subnet-id", 0, func(s *stage) error {
		return s.describeWith(&ec2.DescribeNetworkInterfacesInput{Filters: filter("subnet-id")})
	}},
	{"describe subnets: unknown", "InvalidSubnetID.NotFound", "The subnet IDs '" + noSubnet + ", subnet-0fffffffffffffff0' do not exist", 0, func(s *stage) error {
		_, err := s.ec2.DescribeSubnets(s.ctx, &ec2.DescribeSubnetsInput{SubnetIds: []string{noSubnet, "subnet-0fffffffffffffff0"}})
		return err
	}},
	{"describe groups: unknown", "InvalidGroup.NotFound", noGroup, 0, func(s *stage) error {
		_, err := s.ec2.DescribeSecurityGroups(s.ctx, &ec2.DescribeSecurityGroupsInput{GroupIds: []string{noGroup}})
		return err
	}},
	{"describe types: unknown", "InvalidInstanceType", "[x9.mega]", 0, func(s *stage) error {
		_, err := s.ec2.DescribeInstanceTypes(s.ctx, &ec2.DescribeInstanceTypesInput{InstanceTypes: []types.InstanceType{"x9.mega"}})
		return err
	}},

	{"assign: too many", "PrivateIpAddressLimitExceeded", "", 0, func(s *stage) error {
		_, err := s.ec2.AssignPrivateIpAddresses(s.ctx, &ec2.AssignPrivateIpAddressesInput{
			NetworkInterfaceId: &s.attached.ID, SecondaryPrivateIpAddressCount: aws.Int32(10),
		})
		return err
	}},
	{"assign: taken", "InvalidParameterValue", "assigned, but move is not allowed", 0, func(s *stage) error {
		_, err := s.ec2.AssignPrivateIpAddresses(s.ctx, &ec2.AssignPrivateIpAddressesInput{
			NetworkInterfaceId: &s.free.ID, PrivateIpAddresses: []string{s.attached.PrivateIPs[0].String()},
		})
		return err
	}},
	{"unassign: primary", "InvalidParameterValue", "primary", 0, func(s *stage) error {
		_, err := s.ec2.UnassignPrivateIpAddresses(s.ctx, &ec2.UnassignPrivateIpAddressesInput{
			NetworkInterfaceId: &s.free.ID, PrivateIpAddresses: []string{s.free.PrivateIPs[0].String()},
		})
		return err
	}},

	{"tag: reserved", "InvalidParameterValue", "'aws:' are reserved", 0, func(s *stage) error { return s.tag("AWS:x", "1") }},
	{"tag: long key", "InvalidParameterValue", "128", 0, func(s *stage) error { return s.tag(strings.Repeat("ü", 129), "1") }},
	{"tag: long value", "InvalidParameterValue", "256", 0, func(s *stage) error { return s.tag("a", strings.Repeat("ü", 257)) }},
	{"tag: too many", "TagLimitExceeded", "", 0, func(s *stage) error {
		var pairs []string
		for i := range 51 {
			pairs = append(pairs, fmt.Sprint("key", i), "")
		}
		return s.tag(pairs...)
	}},

	{"run: unknown type", "InvalidInstanceType", "x9.mega", 0, func(s *stage) error {
		_, err := s.ec2.RunInstances(s.ctx, &ec2.RunInstancesInput{
			MinCount: aws.Int32(1), MaxCount: aws.Int32(1), InstanceType: "x9.mega", SubnetId: aws.String(subnetA),
		})
		return err
	}},
	{"run: user data that is not in base64", "InvalidUserData.Malformed", "BASE64", 0, func(s *stage) error {
		_, err := s.ec2.RunInstances(s.ctx, &ec2.RunInstancesInput{
			MinCount: aws.Int32(1), MaxCount: aws.Int32(1), InstanceType: types.InstanceTypeM5Large, SubnetId: aws.String(subnetA), UserData: aws.String("#!/bin/sh"),
		})
		return err
	}},
	{"terminate: one of two is unknown", "InvalidInstanceID.NotFound", noHost, 0, func(s *stage) error {
		_, err := s.ec2.TerminateInstances(s.ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{s.host.ID, noHost}})
		return err
	}},
	{"unknown action", "InvalidAction", "The action DescribeVolumes is not valid for this web service, which is a simulation", 0, func(s *stage) error {
		_, err := s.ec2.DescribeVolumes(s.ctx, &ec2.DescribeVolumesInput{})
		return err
	}},
}

// No call of the table changes anything, so they share a stage.
func TestErrors(t *testing.T) {
	s := newStage(t)
	before := fmt.Sprintf("%+v %+v", s.cloud.Instances(), s.cloud.Interfaces())
	for _, test := range errorTests {
		t.Run(test.name, func(t *testing.T) {
			s.cloud.ResetCalls()
			err := test.call(s)
			if test.status == 0 {
				test.status = 400
			}
			if code, status := failure(err); code != test.code || status != test.status || !strings.Contains(err.Error(), test.message) {
				t.Errorf("got %v\nwant %s with status %d, saying %s", err, test.code, test.status, test.message)
			}
			if calls := s.cloud.Calls(); len(calls) != 1 || calls[0].Code != test.code {
				t.Errorf("logged: %+v", calls)
			}
		})
	}
	if after := fmt.Sprintf("%+v %+v", s.cloud.Instances(), s.cloud.Interfaces()); after != before {
		t.Errorf("calls that failed changed something:\nbefore %s\nafter  %s", before, after)
	}
}

func TestQuotas(t *testing.T) {
	r := newRig(t, func(c *cloud.Config) { c.Quotas = cloud.Quotas{Interfaces: 2, GroupsPerInterface: 1} })
	_, err := r.ec2.CreateNetworkInterface(r.ctx, &ec2.CreateNetworkInterfaceInput{SubnetId: aws.String(subnetA), Groups: []string{groupDB, groupWeb}})
	r.wantCode(err, "SecurityGroupsPerInterfaceLimitExceeded")
	first := r.create(subnetA)
	r.create(subnetB)
	_, err = r.ec2.CreateNetworkInterface(r.ctx, &ec2.CreateNetworkInterfaceInput{SubnetId: aws.String(subnetA)})
	r.wantCode(err, "NetworkInterfaceLimitExceeded")
	must[*ec2.DeleteNetworkInterfaceOutput](r)(r.ec2.DeleteNetworkInterface(r.ctx, &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: first.NetworkInterfaceId}))
	r.create(subnetA)
}

func TestSubnetFillsUpAndEmpties(t *testing.T) {
	r := newRig(t, func(c *cloud.Config) { c.Subnets[0].Capacity = 2 })
	first := r.create(subnetA)
	r.create(subnetA)
	_, err := r.ec2.CreateNetworkInterface(r.ctx, &ec2.CreateNetworkInterfaceInput{SubnetId: aws.String(subnetA)})
	r.wantCode(err, "InsufficientFreeAddressesInSubnet")
	if err := r.cloud.DeleteByHand(*first.NetworkInterfaceId); err != nil {
		t.Fatal(err)
	}
	if again := r.create(subnetA); *again.PrivateIpAddress == *first.PrivateIpAddress {
		t.Errorf("address %s was handed out again at once", *again.PrivateIpAddress)
	}
}
