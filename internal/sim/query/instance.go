package query

import (
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

func runInstances(p *params) func(*cloud.Cloud) (response, error) {
	p.required("MinCount")
	p.required("MaxCount")
	if p.number("MinCount") != 1 || p.number("MaxCount") < 1 {
		p.fail("UnsupportedOperation", "This simulation of EC2 launches one instance at a time: MinCount and MaxCount must be 1")
	}
	tags := p.tagSpecifications("instance", "network-interface", "volume")
	in := cloud.RunInstance{
		Name:        tags["instance"]["Name"],
		Type:        p.required("InstanceType"),
		ImageID:     p.text("ImageId"),
		SubnetID:    p.required("SubnetId"),
		GroupIDs:    p.list("SecurityGroupId"),
		Tags:        tags["instance"],
		ENITags:     tags["network-interface"],
		UserData:    p.base64("UserData"),
		ClientToken: p.text("ClientToken"),
	}
	p.ignore("BlockDeviceMapping", "DisableApiStop", "DisableApiTermination", "EbsOptimized", "IamInstanceProfile",
		"KeyName", "MetadataOptions", "Monitoring", "Placement")
	p.unsupported("EnablePrimaryIpv6", "Ipv6Address", "Ipv6AddressCount", "LaunchTemplate", "NetworkInterface",
		"PrivateIpAddress", "SecurityGroup")
	return func(c *cloud.Cloud) (response, error) {
		instance, err := c.RunInstance(in)
		if err != nil {
			return nil, err
		}
		shown, _, err := c.DescribeInstances(cloud.DescribeInput{IDs: []string{instance.ID}})
		if err != nil || len(shown) != 1 {
			shown = []cloud.InstanceDescription{{Instance: instance}} // describes lag behind
		}
		return &runInstancesResponse{xmlReservation: showReservation(c, shown[0])}, nil
	}
}

func terminateInstances(p *params) func(*cloud.Cloud) (response, error) {
	ids := p.list("InstanceId")
	if len(ids) == 0 {
		p.missing("InstanceId")
	}
	p.ignore("Force", "SkipOsShutdown")
	return func(c *cloud.Cloud) (response, error) {
		changes, err := c.TerminateInstances(ids)
		if err != nil {
			return nil, err
		}
		answer := &terminateInstancesResponse{}
		for _, change := range changes {
			answer.Changes = append(answer.Changes, xmlStateChange{
				ID: change.InstanceID, Current: showState(change.Current), Previous: showState(change.Previous),
			})
		}
		return answer, nil
	}
}

func describeInstances(p *params) func(*cloud.Cloud) (response, error) {
	in := p.describe("InstanceId")
	p.ignore("IncludeManagedResources")
	return func(c *cloud.Cloud) (response, error) {
		instances, next, err := c.DescribeInstances(in)
		if err != nil {
			return nil, err
		}
		answer := &describeInstancesResponse{NextToken: next}
		for _, i := range instances {
			answer.Reservations = append(answer.Reservations, showReservation(c, i))
		}
		return answer, nil
	}
}

func describeInstanceTypes(p *params) func(*cloud.Cloud) (response, error) {
	in := p.describe("InstanceType")
	p.ignore("IncludeUnsupportedInRegion")
	return func(c *cloud.Cloud) (response, error) {
		types, next, err := c.DescribeInstanceTypes(in)
		if err != nil {
			return nil, err
		}
		answer := &describeInstanceTypesResponse{NextToken: next}
		for _, t := range types {
			answer.Types = append(answer.Types, showInstanceType(t))
		}
		return answer, nil
	}
}

func createTags(p *params) func(*cloud.Cloud) (response, error) {
	ids, tags := p.resources(), p.tags("Tag")
	return func(c *cloud.Cloud) (response, error) { return done(c.CreateTags(ids, tags)) }
}

func deleteTags(p *params) func(*cloud.Cloud) (response, error) {
	ids := p.resources()
	var deletions []cloud.TagDeletion
	for _, element := range p.elements("Tag") {
		deletion := cloud.TagDeletion{Key: p.text(element + ".Key")}
		if value, ok := p.get(element + ".Value"); ok {
			deletion.Value = &value
		}
		deletions = append(deletions, deletion)
	}
	return func(c *cloud.Cloud) (response, error) { return done(c.DeleteTags(ids, deletions)) }
}

func (p *params) resources() []string {
	ids := p.list("ResourceId")
	if len(ids) == 0 {
		p.missing("ResourceIdSet")
	}
	return ids
}
