package query

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

func TestLifeOfAnENI(t *testing.T) {
	r := newRig(t)
	host := r.host(subnetA)
	created := must[*ec2.CreateNetworkInterfaceOutput](r)(r.ec2.CreateNetworkInterface(r.ctx, &ec2.CreateNetworkInterfaceInput{
		SubnetId:                       aws.String(subnetA2),
		Description:                    aws.String("für <a> & b"),
		Groups:                         []string{groupDB, groupWeb},
		SecondaryPrivateIpAddressCount: aws.Int32(1),
		TagSpecifications:              tagSpec("Name", "one", "networking.k8s.aws/instance", "arn:aws:ec2:us-east-1:123456789012:instance/"+host.ID),
	})).NetworkInterface
	if created.Status != "pending" || *created.SubnetId != subnetA2 || *created.AvailabilityZone != "us-east-1a" ||
		*created.VpcId != vpcID || *created.Description != "für <a> & b" || len(created.PrivateIpAddresses) != 2 ||
		*created.PrivateIpAddress != "10.0.2.4" || !*created.PrivateIpAddresses[0].Primary || len(created.TagSet) != 2 ||
		!strings.HasPrefix(*created.MacAddress, "02:") || *created.OwnerId != "123456789012" || !*created.SourceDestCheck {
		t.Errorf("created: %+v", created)
	}
	if len(created.Groups) != 2 || *created.Groups[0].GroupId != groupDB || *created.Groups[0].GroupName != "db" {
		t.Errorf("groups: %+v", created.Groups)
	}
	if got := r.describe(created.NetworkInterfaceId); got.Status != types.NetworkInterfaceStatusAvailable || got.Attachment != nil {
		t.Errorf("after create: status %s, attachment %+v", got.Status, got.Attachment)
	}

	attachmentID := r.attach(created.NetworkInterfaceId, host.ID, 1)
	got := r.describe(created.NetworkInterfaceId)
	if a := got.Attachment; got.Status != types.NetworkInterfaceStatusInUse || a == nil || *a.AttachmentId != attachmentID ||
		*a.InstanceId != host.ID || *a.DeviceIndex != 1 || *a.NetworkCardIndex != 0 || a.Status != types.AttachmentStatusAttached ||
		*a.DeleteOnTermination || time.Since(*a.AttachTime) > time.Minute {
		t.Errorf("after attach: status %s, attachment %+v", got.Status, a)
	}

	modify := func(in *ec2.ModifyNetworkInterfaceAttributeInput) {
		t.Helper()
		in.NetworkInterfaceId = created.NetworkInterfaceId
		must[*ec2.ModifyNetworkInterfaceAttributeOutput](r)(r.ec2.ModifyNetworkInterfaceAttribute(r.ctx, in))
	}
	modify(&ec2.ModifyNetworkInterfaceAttributeInput{Attachment: &types.NetworkInterfaceAttachmentChanges{
		AttachmentId: &attachmentID, DeleteOnTermination: aws.Bool(true),
	}})
	modify(&ec2.ModifyNetworkInterfaceAttributeInput{SourceDestCheck: &types.AttributeBooleanValue{Value: aws.Bool(false)}})
	modify(&ec2.ModifyNetworkInterfaceAttributeInput{Description: &types.AttributeValue{Value: aws.String("two")}})
	modify(&ec2.ModifyNetworkInterfaceAttributeInput{Groups: []string{groupWeb}})
	got = r.describe(created.NetworkInterfaceId)
	if !*got.Attachment.DeleteOnTermination || *got.SourceDestCheck || *got.Description != "two" || len(got.Groups) != 1 {
		t.Errorf("after modify: %+v", got)
	}

	must[*ec2.DetachNetworkInterfaceOutput](r)(r.ec2.DetachNetworkInterface(r.ctx, &ec2.DetachNetworkInterfaceInput{AttachmentId: &attachmentID}))
	if got := r.describe(created.NetworkInterfaceId); got.Status != types.NetworkInterfaceStatusAvailable || got.Attachment != nil {
		t.Errorf("after detach: status %s, attachment %+v", got.Status, got.Attachment)
	}
	must[*ec2.DeleteNetworkInterfaceOutput](r)(r.ec2.DeleteNetworkInterface(r.ctx, &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: created.NetworkInterfaceId}))
	_, err := r.ec2.DescribeNetworkInterfaces(r.ctx, &ec2.DescribeNetworkInterfacesInput{NetworkInterfaceIds: []string{*created.NetworkInterfaceId}})
	r.wantCode(err, "InvalidNetworkInterfaceID.NotFound")
	if left := len(r.cloud.Interfaces()); left != 1 {
		t.Errorf("%d ENIs left, want the primary one", left)
	}
}

func TestAttachAndDetachTakeTime(t *testing.T) {
	r := newRig(t)
	r.timing(func(timing *cloud.Timing) { timing.Attach, timing.Detach = time.Hour, time.Hour })
	host := r.host(subnetA)
	eni := r.create(subnetA)
	id := r.attach(eni.NetworkInterfaceId, host.ID, 1)
	if got := r.describe(eni.NetworkInterfaceId).Attachment.Status; got != types.AttachmentStatusAttaching {
		t.Errorf("status %s, want attaching", got)
	}
	detach := func(force bool) error {
		_, err := r.ec2.DetachNetworkInterface(r.ctx, &ec2.DetachNetworkInterfaceInput{AttachmentId: &id, Force: &force})
		return err
	}
	r.wantCode(detach(false), "IncorrectState")

	r.timing(func(timing *cloud.Timing) { timing.Attach = time.Millisecond })
	second := r.create(subnetA)
	id = r.attach(second.NetworkInterfaceId, host.ID, 2)
	r.eventually("attached", func() bool {
		return r.describe(second.NetworkInterfaceId).Attachment.Status == types.AttachmentStatusAttached
	})
	if err := detach(false); err != nil {
		t.Fatal(err)
	}
	if got := r.describe(second.NetworkInterfaceId); got.Attachment.Status != types.AttachmentStatusDetaching || got.Status != types.NetworkInterfaceStatusInUse {
		t.Errorf("status %s, attachment %s, want in-use and detaching", got.Status, got.Attachment.Status)
	}
	_, err := r.ec2.DeleteNetworkInterface(r.ctx, &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: second.NetworkInterfaceId})
	r.wantCode(err, "InvalidParameterValue")
	r.wantCode(detach(false), "IncorrectState")
	if err := detach(true); err != nil {
		t.Fatal(err)
	}
	if got := r.describe(second.NetworkInterfaceId); got.Status != types.NetworkInterfaceStatusAvailable {
		t.Errorf("status %s after a forced detach, want available", got.Status)
	}
}

func (r *rig) timing(change func(*cloud.Timing)) {
	r.Helper()
	timing := r.cloud.Timing()
	change(&timing)
	if err := r.cloud.SetTiming(timing); err != nil {
		r.Fatal(err)
	}
}

func TestDeleteOfAnENIInUse(t *testing.T) {
	const oneWay, otherWay = "InvalidNetworkInterface.InUse", "InvalidParameterValue"
	for _, test := range []struct {
		setting                     cloud.InUse
		attached, detaching, behind string // the codes
	}{
		{cloud.InUseMixed, oneWay, otherWay, otherWay},
		{cloud.InUseCode, oneWay, oneWay, oneWay},
		{cloud.InUseParameter, otherWay, otherWay, otherWay},
	} {
		t.Run("setting "+string(test.setting), func(t *testing.T) {
			r := newRig(t, func(c *cloud.Config) {
				c.InUse = test.setting
				c.Timing.Detach = time.Hour
				c.Timing.DeleteInUse = time.Hour
			})
			eni := r.create(subnetA)
			id := r.attach(eni.NetworkInterfaceId, r.host(subnetA).ID, 1)
			wantDelete := func(code string) {
				t.Helper()
				_, err := r.ec2.DeleteNetworkInterface(r.ctx, &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: eni.NetworkInterfaceId})
				r.wantCode(err, code)
				if code == otherWay && !strings.Contains(err.Error(), "currently in use") {
					t.Errorf("message of %v", err)
				}
			}
			wantDelete(test.attached)
			must[*ec2.DetachNetworkInterfaceOutput](r)(r.ec2.DetachNetworkInterface(r.ctx, &ec2.DetachNetworkInterfaceInput{AttachmentId: &id}))
			wantDelete(test.detaching)
			must[*ec2.DetachNetworkInterfaceOutput](r)(r.ec2.DetachNetworkInterface(r.ctx, &ec2.DetachNetworkInterfaceInput{AttachmentId: &id, Force: aws.Bool(true)}))
			wantDelete(test.behind)
			r.timing(func(timing *cloud.Timing) { timing.DeleteInUse = 0 })
			must[*ec2.DeleteNetworkInterfaceOutput](r)(r.ec2.DeleteNetworkInterface(r.ctx, &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: eni.NetworkInterfaceId}))
		})
	}
}

func TestClientToken(t *testing.T) {
	r := newRig(t)
	input := func() *ec2.CreateNetworkInterfaceInput {
		return &ec2.CreateNetworkInterfaceInput{
			SubnetId: aws.String(subnetA), ClientToken: aws.String("token"), TagSpecifications: tagSpec("a", "1", "b", "2"),
		}
	}
	create := func(in *ec2.CreateNetworkInterfaceInput) (string, error) {
		out, err := r.ec2.CreateNetworkInterface(r.ctx, in)
		if err != nil {
			return "", err
		}
		return *out.NetworkInterface.NetworkInterfaceId + " " + *out.NetworkInterface.MacAddress, nil
	}
	first := must[string](r)(create(input()))
	swapped := input()
	swapped.TagSpecifications = tagSpec("b", "2", "a", "1")
	if again := must[string](r)(create(swapped)); again != first {
		t.Errorf("the same token gave %s, then %s", first, again)
	}
	for what, change := range map[string]func(*ec2.CreateNetworkInterfaceInput){
		"tags":        func(in *ec2.CreateNetworkInterfaceInput) { in.TagSpecifications = tagSpec("a", "1", "b", "3") },
		"subnet":      func(in *ec2.CreateNetworkInterfaceInput) { in.SubnetId = aws.String(subnetB) },
		"description": func(in *ec2.CreateNetworkInterfaceInput) { in.Description = aws.String("x") },
		"groups":      func(in *ec2.CreateNetworkInterfaceInput) { in.Groups = []string{groupDB} },
		"prefixes":    func(in *ec2.CreateNetworkInterfaceInput) { in.Ipv4PrefixCount = aws.Int32(1) },
		"IPv6":        func(in *ec2.CreateNetworkInterfaceInput) { in.Ipv6AddressCount = aws.Int32(0) },
		"tracking": func(in *ec2.CreateNetworkInterfaceInput) {
			in.ConnectionTrackingSpecification = &types.ConnectionTrackingSpecificationRequest{UdpTimeout: aws.Int32(30)}
		},
	} {
		in := input()
		change(in)
		if _, err := create(in); err == nil {
			t.Errorf("other %s, same token: no error", what)
		} else {
			r.wantCode(err, "IdempotentParameterMismatch")
		}
	}
	id, _, _ := strings.Cut(first, " ")
	must[*ec2.DeleteNetworkInterfaceOutput](r)(r.ec2.DeleteNetworkInterface(r.ctx, &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: &id}))
	if again := must[string](r)(create(input())); again != first {
		t.Errorf("after a delete the token gave %s, want the first answer %s", again, first)
	}
	if n := len(r.cloud.Interfaces()); n != 0 {
		t.Errorf("%d ENIs, want none", n)
	}
	other := input()
	other.ClientToken = aws.String("another")
	if again := must[string](r)(create(other)); again == first {
		t.Errorf("another token gave %s again", again)
	}
}

// A token of a create that failed is free again.
func TestClientTokenOfAFailedCreate(t *testing.T) {
	r := newRig(t)
	if err := r.cloud.SetFreeAddresses(subnetA, 0); err != nil {
		t.Fatal(err)
	}
	in := &ec2.CreateNetworkInterfaceInput{SubnetId: aws.String(subnetA), ClientToken: aws.String("token")}
	_, err := r.ec2.CreateNetworkInterface(r.ctx, in)
	r.wantCode(err, "InsufficientFreeAddressesInSubnet")
	if err := r.cloud.SetFreeAddresses(subnetA, 1); err != nil {
		t.Fatal(err)
	}
	must[*ec2.CreateNetworkInterfaceOutput](r)(r.ec2.CreateNetworkInterface(r.ctx, in))
}

func TestTerminate(t *testing.T) {
	r := newRig(t)
	out := must[*ec2.RunInstancesOutput](r)(r.ec2.RunInstances(r.ctx, &ec2.RunInstancesInput{
		MinCount: aws.Int32(1), MaxCount: aws.Int32(1), InstanceType: types.InstanceTypeM5Large, SubnetId: aws.String(subnetA), UserData: aws.String("IyEvYmluL3NoCg=="),
		TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeInstance, Tags: []types.Tag{{Key: aws.String("Name"), Value: aws.String("node-1")}}}},
	}))
	id := *out.Instances[0].InstanceId
	if got := r.cloud.Instances()[0]; got.Name != "node-1" || got.State != cloud.InstanceRunning {
		t.Errorf("launched: %+v", got)
	}
	if got := must[cloud.Metadata](r)(r.cloud.Metadata(id)); got.UserData != "#!/bin/sh\n" {
		t.Errorf("the user data is %q", got.UserData)
	}
	dies, stays := r.create(subnetA), r.create(subnetA)
	attachment := r.attach(dies.NetworkInterfaceId, id, 1)
	r.attach(stays.NetworkInterfaceId, id, 2)
	must[*ec2.ModifyNetworkInterfaceAttributeOutput](r)(r.ec2.ModifyNetworkInterfaceAttribute(r.ctx, &ec2.ModifyNetworkInterfaceAttributeInput{
		NetworkInterfaceId: dies.NetworkInterfaceId,
		Attachment:         &types.NetworkInterfaceAttachmentChanges{AttachmentId: &attachment, DeleteOnTermination: aws.Bool(true)},
	}))
	shown := r.instance(id)
	if len(shown.NetworkInterfaces) != 3 || *shown.NetworkInterfaces[2].Attachment.DeviceIndex != 2 || shown.State.Name != types.InstanceStateNameRunning ||
		*shown.PrivateIpAddress != *shown.NetworkInterfaces[0].PrivateIpAddress || *shown.Placement.AvailabilityZone != "us-east-1a" {
		t.Errorf("before: %+v", shown)
	}
	ended := must[*ec2.TerminateInstancesOutput](r)(r.ec2.TerminateInstances(r.ctx, &ec2.TerminateInstancesInput{InstanceIds: []string{id}}))
	if change := ended.TerminatingInstances[0]; change.CurrentState.Name != types.InstanceStateNameShuttingDown || change.PreviousState.Name != types.InstanceStateNameRunning {
		t.Errorf("terminating: %+v", change)
	}
	if shown := r.instance(id); shown.State.Name != types.InstanceStateNameTerminated || len(shown.NetworkInterfaces) != 0 || shown.PrivateIpAddress != nil || shown.SubnetId != nil {
		t.Errorf("after: %+v", shown)
	}
	if left := r.list(&ec2.DescribeNetworkInterfacesInput{}); len(left) != 1 || left[0] != *stays.NetworkInterfaceId {
		t.Errorf("left: %v, want %s", left, *stays.NetworkInterfaceId)
	}
	if got := r.describe(stays.NetworkInterfaceId); got.Status != types.NetworkInterfaceStatusAvailable {
		t.Errorf("left with status %s", got.Status)
	}
	_, err := r.ec2.AttachNetworkInterface(r.ctx, attachInput(stays.NetworkInterfaceId, id, 1))
	r.wantCode(err, "IncorrectState")
}

func (r *rig) instance(id string) types.Instance {
	r.Helper()
	out := must[*ec2.DescribeInstancesOutput](r)(r.ec2.DescribeInstances(r.ctx, &ec2.DescribeInstancesInput{InstanceIds: []string{id}}))
	return out.Reservations[0].Instances[0]
}

func TestAddressesAndTags(t *testing.T) {
	r := newRig(t)
	eni := r.create(subnetA, "a", "1")
	assigned := must[*ec2.AssignPrivateIpAddressesOutput](r)(r.ec2.AssignPrivateIpAddresses(r.ctx, &ec2.AssignPrivateIpAddressesInput{
		NetworkInterfaceId: eni.NetworkInterfaceId, PrivateIpAddresses: []string{"10.0.1.77"},
	}))
	if len(assigned.AssignedPrivateIpAddresses) != 1 || *assigned.AssignedPrivateIpAddresses[0].PrivateIpAddress != "10.0.1.77" {
		t.Errorf("assigned: %+v", assigned.AssignedPrivateIpAddresses)
	}
	must[*ec2.AssignPrivateIpAddressesOutput](r)(r.ec2.AssignPrivateIpAddresses(r.ctx, &ec2.AssignPrivateIpAddressesInput{
		NetworkInterfaceId: eni.NetworkInterfaceId, SecondaryPrivateIpAddressCount: aws.Int32(2),
	}))
	must[*ec2.UnassignPrivateIpAddressesOutput](r)(r.ec2.UnassignPrivateIpAddresses(r.ctx, &ec2.UnassignPrivateIpAddressesInput{
		NetworkInterfaceId: eni.NetworkInterfaceId, PrivateIpAddresses: []string{"10.0.1.77"},
	}))
	if got := r.describe(eni.NetworkInterfaceId); len(got.PrivateIpAddresses) != 3 || *got.PrivateIpAddress != *eni.PrivateIpAddress {
		t.Errorf("addresses: %+v", got.PrivateIpAddresses)
	}
	subnets := must[*ec2.DescribeSubnetsOutput](r)(r.ec2.DescribeSubnets(r.ctx, &ec2.DescribeSubnetsInput{SubnetIds: []string{subnetA}})).Subnets
	if got := *subnets[0].AvailableIpAddressCount; got != 256-5-3 {
		t.Errorf("%d addresses available", got)
	}

	resources := []string{*eni.NetworkInterfaceId, subnetA}
	must[*ec2.CreateTagsOutput](r)(r.ec2.CreateTags(r.ctx, &ec2.CreateTagsInput{
		Resources: resources, Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("2")}, {Key: aws.String("b"), Value: aws.String("")}},
	}))
	must[*ec2.DeleteTagsOutput](r)(r.ec2.DeleteTags(r.ctx, &ec2.DeleteTagsInput{
		Resources: resources, Tags: []types.Tag{{Key: aws.String("a"), Value: aws.String("other")}, {Key: aws.String("b")}},
	}))
	if got := r.describe(eni.NetworkInterfaceId).TagSet; len(got) != 1 || *got[0].Key != "a" || *got[0].Value != "2" {
		t.Errorf("tags: %+v", got)
	}
}
