package cloud

import (
	"net/netip"
	"slices"
	"strings"
)

// ModifyNetworkInterfaceAttributeInput are the parameters of
// ModifyNetworkInterfaceAttribute; exactly one attribute must be set.
type ModifyNetworkInterfaceAttributeInput struct {
	NetworkInterfaceID string
	Attachment         *AttachmentChange
	SourceDestCheck    *bool
	Description        *string
	GroupIDs           []string
}

// AttachmentChange is the attribute attachment.
type AttachmentChange struct {
	AttachmentID        string
	DeleteOnTermination bool
}

// ModifyNetworkInterfaceAttribute changes one attribute of an ENI.
func (c *Cloud) ModifyNetworkInterfaceAttribute(in ModifyNetworkInterfaceAttributeInput) error {
	e, err := c.modify(in)
	if err == nil && in.SourceDestCheck != nil {
		c.connect(e)
	}
	return err
}

func (c *Cloud) modify(in ModifyNetworkInterfaceAttributeInput) (*eni, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, err := c.eni(in.NetworkInterfaceID)
	if err != nil {
		return nil, err
	}
	i := e.history.latest()
	if i.RequesterManaged {
		return nil, notPermitted(i.ID)
	}
	var given []string
	if in.Attachment != nil {
		given = append(given, "attachment")
	}
	if in.SourceDestCheck != nil {
		given = append(given, "sourceDestCheck")
	}
	if in.Description != nil {
		given = append(given, "description")
	}
	if len(in.GroupIDs) > 0 {
		given = append(given, "groupSet")
	}
	switch len(given) {
	case 0:
		return nil, Errorf("InvalidParameterCombination", "No attributes specified.")
	case 1:
	default:
		return nil, Errorf("InvalidParameterCombination", "Fields for multiple attribute types specified: %s", strings.Join(given, ", "))
	}

	switch {
	case in.Attachment != nil:
		if i.Attachment == nil || i.Attachment.ID != in.Attachment.AttachmentID {
			return nil, attachmentIDs.missing(in.Attachment.AttachmentID)
		}
		c.updateAttachment(e, func(a *Attachment) { a.DeleteOnTermination = in.Attachment.DeleteOnTermination })
	case in.SourceDestCheck != nil:
		c.update(e, func(i *Interface) { i.SourceDestCheck = *in.SourceDestCheck })
	case in.Description != nil:
		if err := checkDescription(*in.Description); err != nil {
			return nil, err
		}
		c.update(e, func(i *Interface) { i.Description = *in.Description })
	default:
		groups, err := c.checkGroups(in.GroupIDs, c.subnets[i.SubnetID])
		if err != nil {
			return nil, err
		}
		c.update(e, func(i *Interface) { i.GroupIDs = groups })
	}
	return e, nil
}

// AssignPrivateIPAddressesInput are the parameters of AssignPrivateIpAddresses:
// either addresses or a count.
type AssignPrivateIPAddressesInput struct {
	NetworkInterfaceID string
	PrivateIPs         []netip.Addr
	SecondaryCount     int
}

// AssignPrivateIPAddresses gives an ENI secondary addresses and returns them.
func (c *Cloud) AssignPrivateIPAddresses(in AssignPrivateIPAddressesInput) ([]netip.Addr, error) {
	e, assigned, err := c.assign(in)
	if err != nil {
		return nil, err
	}
	c.connect(e)
	return assigned, nil
}

func (c *Cloud) assign(in AssignPrivateIPAddressesInput) (*eni, []netip.Addr, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, err := c.eni(in.NetworkInterfaceID)
	if err != nil {
		return nil, nil, err
	}
	i := e.history.latest()
	switch {
	case i.RequesterManaged:
		return nil, nil, notPermitted(i.ID)
	case len(in.PrivateIPs) > 0 && in.SecondaryCount != 0:
		return nil, nil, Errorf("InvalidParameterCombination",
			"The parameter privateIpAddress cannot be used with the parameter secondaryPrivateIpAddressCount")
	case in.SecondaryCount < 0:
		return nil, nil, Errorf("InvalidParameterValue", "Value (%d) for parameter secondaryPrivateIpAddressCount is invalid.", in.SecondaryCount)
	case len(in.PrivateIPs) == 0 && in.SecondaryCount == 0:
		return nil, nil, Errorf("MissingParameter", "The request must contain the parameter privateIpAddress or secondaryPrivateIpAddressCount")
	}
	if i.Attachment != nil {
		limit := c.types[c.instances[i.Attachment.InstanceID].history.latest().Type].IPv4PerENI
		if len(i.PrivateIPs)+len(in.PrivateIPs)+in.SecondaryCount > limit {
			return nil, nil, tooManyAddresses()
		}
	}
	s := c.subnets[i.SubnetID]
	for _, a := range in.PrivateIPs {
		if owner := s.used[a]; owner != "" {
			return nil, nil, Errorf("InvalidParameterValue", "[%s] assigned, but move is not allowed.", a)
		}
	}
	assigned, err := s.take(i.ID, in.PrivateIPs, in.SecondaryCount)
	if err != nil {
		return nil, nil, err
	}
	c.update(e, func(i *Interface) { i.PrivateIPs = append(slices.Clone(i.PrivateIPs), assigned...) })
	return e, assigned, nil
}

// UnassignPrivateIPAddresses takes secondary addresses from an ENI.
func (c *Cloud) UnassignPrivateIPAddresses(id string, addresses []netip.Addr) error {
	e, err := c.unassign(id, addresses)
	if err == nil {
		c.connect(e)
	}
	return err
}

func (c *Cloud) unassign(id string, addresses []netip.Addr) (*eni, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, err := c.eni(id)
	if err != nil {
		return nil, err
	}
	i := e.history.latest()
	if i.RequesterManaged {
		return nil, notPermitted(id)
	}
	if len(addresses) == 0 {
		return nil, Errorf("MissingParameter", "The request must contain the parameter privateIpAddress")
	}
	for _, a := range addresses {
		switch slices.Index(i.PrivateIPs, a) {
		case -1:
			return nil, Errorf("InvalidParameterValue", "Some of the specified addresses are not assigned to interface %s", id)
		case 0:
			return nil, Errorf("InvalidParameterValue", "The primary private IP address %s cannot be unassigned.", a)
		}
	}
	c.subnets[i.SubnetID].release(addresses)
	c.update(e, func(i *Interface) {
		i.PrivateIPs = slices.DeleteFunc(slices.Clone(i.PrivateIPs), func(a netip.Addr) bool { return slices.Contains(addresses, a) })
	})
	return e, nil
}
