package query

import (
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

func createNetworkInterface(p *params) func(*cloud.Cloud) (response, error) {
	in := cloud.CreateNetworkInterfaceInput{
		SubnetID:          p.required("SubnetId"),
		Description:       p.text("Description"),
		GroupIDs:          p.list("SecurityGroupId"),
		PrivateIPs:        p.addresses(),
		SecondaryCount:    p.number("SecondaryPrivateIpAddressCount"),
		IPv4Prefixes:      each(p, "Ipv4Prefix", ".Ipv4Prefix", p.prefix),
		IPv4PrefixCount:   p.number("Ipv4PrefixCount"),
		IPv6:              p.ipv6(".Ipv6Address", ".Ipv6Prefix"),
		EnablePrimaryIPv6: p.flag("EnablePrimaryIpv6"),
		InterfaceType:     p.text("InterfaceType"),
		Tags:              p.tagSpecifications("network-interface")["network-interface"],
		ClientToken:       p.text("ClientToken"),
	}
	if t := p.connectionTracking(); t != nil {
		in.ConnectionTracking = *t
	}
	p.unsupported("Operator")
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
		EnaSrd:             p.enaSrd(),
	}
	p.required("DeviceIndex")
	in.DeviceIndex = int32(p.number("DeviceIndex"))
	if card := p.optionalNumber("NetworkCardIndex"); card != nil {
		in.NetworkCardIndex = int32(*card)
	} else {
		in.CardOmitted = true
	}
	in.EnaQueueCount = p.queueCount("EnaQueueCount")
	return func(c *cloud.Cloud) (response, error) {
		a, err := c.AttachNetworkInterface(in)
		if err != nil {
			return nil, err
		}
		return &attachNetworkInterfaceResponse{AttachmentID: a.ID, NetworkCardIndex: a.NetworkCardIndex}, nil
	}
}

// queueCount is a number of ENA queues, 0 without it.
func (p *params) queueCount(name string) int32 {
	count := p.optionalNumber(name)
	if count == nil {
		return 0
	}
	if *count < 1 {
		p.fail("InvalidParameterValue", "Value (%d) for parameter %s is invalid.", *count, lowerFirst(name))
	}
	return int32(*count)
}

func modifyNetworkInterfaceAttribute(p *params) func(*cloud.Cloud) (response, error) {
	in := cloud.ModifyNetworkInterfaceAttributeInput{
		NetworkInterfaceID: p.required("NetworkInterfaceId"),
		SourceDestCheck:    p.optionalFlag("SourceDestCheck.Value"),
		GroupIDs:           p.list("SecurityGroupId"),
		ConnectionTracking: p.connectionTracking(),
		EnaSrd:             p.enaSrd(),
		EnablePrimaryIPv6:  p.optionalFlag("EnablePrimaryIpv6"),
	}
	if text, ok := p.get("Description.Value"); ok {
		in.Description = &text
	}
	in.Attachment, in.EnaQueues = p.attachmentChanges()
	p.unsupported("AssociatedSubnetId", "AssociatePublicIpAddress")
	return func(c *cloud.Cloud) (response, error) { return done(c.ModifyNetworkInterfaceAttribute(in)) }
}

// attachmentChanges reads the attribute attachment, nil without it.
func (p *params) attachmentChanges() (*cloud.AttachmentChange, *cloud.EnaQueuesChange) {
	id, named := p.get("Attachment.AttachmentId")
	deleted := p.optionalFlag("Attachment.DeleteOnTermination")
	count, byDefault := p.queueCount("Attachment.EnaQueueCount"), p.flag("Attachment.DefaultEnaQueueCount")
	var queues *cloud.EnaQueuesChange
	switch {
	case byDefault && count != 0:
		// The code is not verified.
		p.fail("InvalidParameterCombination", "The parameter enaQueueCount cannot be used with the parameter defaultEnaQueueCount")
	case byDefault || count != 0:
		queues = &cloud.EnaQueuesChange{AttachmentID: id, Count: count}
	case deleted == nil && !named:
		return nil, nil
	case deleted == nil:
		p.missing("Attachment.DeleteOnTermination")
	}
	p.required("Attachment.AttachmentId")
	if deleted == nil {
		return nil, queues
	}
	return &cloud.AttachmentChange{AttachmentID: id, DeleteOnTermination: *deleted}, queues
}

func detachNetworkInterface(p *params) func(*cloud.Cloud) (response, error) {
	id, force := p.required("AttachmentId"), p.flag("Force")
	return func(c *cloud.Cloud) (response, error) { return done(c.DetachNetworkInterface(id, force)) }
}

func deleteNetworkInterface(p *params) func(*cloud.Cloud) (response, error) {
	id := p.required("NetworkInterfaceId")
	return func(c *cloud.Cloud) (response, error) { return done(c.DeleteNetworkInterface(id)) }
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
