package query

import (
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

func createNetworkInterface(p *params) func(*cloud.Cloud) (response, error) {
	in := cloud.CreateNetworkInterfaceInput{
		SubnetID:       p.required("SubnetId"),
		Description:    p.text("Description"),
		GroupIDs:       p.list("SecurityGroupId"),
		PrivateIPs:     p.addresses(),
		SecondaryCount: p.number("SecondaryPrivateIpAddressCount"),
		InterfaceType:  p.text("InterfaceType"),
		Tags:           p.tagSpecifications("network-interface")["network-interface"],
		ClientToken:    p.text("ClientToken"),
	}
	p.unsupported("ConnectionTrackingSpecification", "EnablePrimaryIpv6", "Ipv4Prefix", "Ipv4PrefixCount",
		"Ipv6AddressCount", "Ipv6Addresses", "Ipv6Prefix", "Ipv6PrefixCount", "Operator")
	return func(c *cloud.Cloud) (response, error) {
		eni, err := c.CreateNetworkInterface(in)
		if err != nil {
			return nil, err
		}
		return &createNetworkInterfaceResponse{ClientToken: in.ClientToken, Interface: showInterface(c, eni)}, nil
	}
}

func attachNetworkInterface(p *params) func(*cloud.Cloud) (response, error) {
	in := cloud.AttachNetworkInterfaceInput{
		NetworkInterfaceID: p.required("NetworkInterfaceId"),
		InstanceID:         p.required("InstanceId"),
		NetworkCardIndex:   int32(p.number("NetworkCardIndex")),
	}
	p.required("DeviceIndex")
	in.DeviceIndex = int32(p.number("DeviceIndex"))
	p.unsupported("EnaQueueCount", "EnaSrdSpecification")
	return func(c *cloud.Cloud) (response, error) {
		a, err := c.AttachNetworkInterface(in)
		if err != nil {
			return nil, err
		}
		return &attachNetworkInterfaceResponse{AttachmentID: a.ID, NetworkCardIndex: a.NetworkCardIndex}, nil
	}
}

func modifyNetworkInterfaceAttribute(p *params) func(*cloud.Cloud) (response, error) {
	in := cloud.ModifyNetworkInterfaceAttributeInput{
		NetworkInterfaceID: p.required("NetworkInterfaceId"),
		SourceDestCheck:    p.optionalFlag("SourceDestCheck.Value"),
		GroupIDs:           p.list("SecurityGroupId"),
	}
	if text, ok := p.get("Description.Value"); ok {
		in.Description = &text
	}
	_, named := p.get("Attachment.AttachmentId")
	_, flagged := p.get("Attachment.DeleteOnTermination")
	if named || flagged {
		p.required("Attachment.DeleteOnTermination")
		in.Attachment = &cloud.AttachmentChange{
			AttachmentID:        p.required("Attachment.AttachmentId"),
			DeleteOnTermination: p.flag("Attachment.DeleteOnTermination"),
		}
	}
	p.unsupported("AssociatedSubnetId", "AssociatePublicIpAddress", "ConnectionTrackingSpecification",
		"EnablePrimaryIpv6", "EnaSrdSpecification")
	return func(c *cloud.Cloud) (response, error) { return done(c.ModifyNetworkInterfaceAttribute(in)) }
}

func detachNetworkInterface(p *params) func(*cloud.Cloud) (response, error) {
	id, force := p.required("AttachmentId"), p.flag("Force")
	return func(c *cloud.Cloud) (response, error) { return done(c.DetachNetworkInterface(id, force)) }
}

func deleteNetworkInterface(p *params) func(*cloud.Cloud) (response, error) {
	id := p.required("NetworkInterfaceId")
	return func(c *cloud.Cloud) (response, error) { return done(c.DeleteNetworkInterface(id)) }
}

func assignPrivateIPAddresses(p *params) func(*cloud.Cloud) (response, error) {
	in := cloud.AssignPrivateIPAddressesInput{
		NetworkInterfaceID: p.required("NetworkInterfaceId"),
		SecondaryCount:     p.number("SecondaryPrivateIpAddressCount"),
	}
	for _, element := range p.elements("PrivateIpAddress") {
		in.PrivateIPs = append(in.PrivateIPs, p.address(element))
	}
	if p.flag("AllowReassignment") {
		p.unsupported("AllowReassignment")
	}
	p.unsupported("Ipv4Prefix", "Ipv4PrefixCount")
	return func(c *cloud.Cloud) (response, error) {
		assigned, err := c.AssignPrivateIPAddresses(in)
		if err != nil {
			return nil, err
		}
		answer := &assignPrivateIPAddressesResponse{InterfaceID: in.NetworkInterfaceID, Return: true}
		for _, a := range assigned {
			answer.Assigned = append(answer.Assigned, assignedAddress{a.String()})
		}
		return answer, nil
	}
}

func unassignPrivateIPAddresses(p *params) func(*cloud.Cloud) (response, error) {
	in := cloud.AssignPrivateIPAddressesInput{NetworkInterfaceID: p.required("NetworkInterfaceId")}
	for _, element := range p.elements("PrivateIpAddress") {
		in.PrivateIPs = append(in.PrivateIPs, p.address(element))
	}
	p.unsupported("Ipv4Prefix")
	return func(c *cloud.Cloud) (response, error) {
		return done(c.UnassignPrivateIPAddresses(in.NetworkInterfaceID, in.PrivateIPs))
	}
}

func describeNetworkInterfaces(p *params) func(*cloud.Cloud) (response, error) {
	in := p.describe("NetworkInterfaceId")
	p.ignore("IncludeManagedResources")
	return func(c *cloud.Cloud) (response, error) {
		enis, next, err := c.DescribeNetworkInterfaces(in)
		if err != nil {
			return nil, err
		}
		answer := &describeNetworkInterfacesResponse{NextToken: next}
		for _, eni := range enis {
			answer.Interfaces = append(answer.Interfaces, showInterface(c, eni))
		}
		return answer, nil
	}
}

func describeNetworkInterfaceAttribute(p *params) func(*cloud.Cloud) (response, error) {
	id, attribute := p.required("NetworkInterfaceId"), p.required("Attribute")
	return func(c *cloud.Cloud) (response, error) {
		enis, _, err := c.DescribeNetworkInterfaces(cloud.DescribeInput{IDs: []string{id}})
		if err != nil {
			return nil, err
		}
		shown := showInterface(c, enis[0])
		answer := &describeNetworkInterfaceAttributeResponse{InterfaceID: id}
		switch attribute {
		case "description":
			answer.Description = &textValue{shown.Description}
		case "groupSet":
			answer.Groups = &groupSet{shown.Groups}
		case "sourceDestCheck":
			answer.SourceDestCheck = &flagValue{shown.SourceDestCheck}
		case "attachment":
			answer.Attachment = shown.Attachment
		default:
			return nil, cloud.Errorf("InvalidParameterValue",
				"Value (%s) for parameter attribute is invalid. Want description, groupSet, sourceDestCheck or attachment.", attribute)
		}
		return answer, nil
	}
}

// done is the answer of an action that returns nothing but success.
func done(err error) (response, error) {
	if err != nil {
		return nil, err
	}
	return &returnResponse{Return: true}, nil
}
