package cloud

import "strings"

// ModifyNetworkInterfaceAttributeInput are the parameters of
// ModifyNetworkInterfaceAttribute; exactly one attribute must be set.
type ModifyNetworkInterfaceAttributeInput struct {
	NetworkInterfaceID string
	Attachment         *AttachmentChange
	EnaQueues          *EnaQueuesChange // of the attribute attachment, too
	SourceDestCheck    *bool
	Description        *string
	GroupIDs           []string
	ConnectionTracking *ConnectionTracking
	EnaSrd             *EnaSrdChange
	EnablePrimaryIPv6  *bool
}

// AttachmentChange sets the attachment's DeleteOnTermination.
type AttachmentChange struct {
	AttachmentID        string
	DeleteOnTermination bool
}

// EnaQueuesChange sets the attachment's number of ENA queues; 0 is the instance
// type's default.
type EnaQueuesChange struct {
	AttachmentID string
	Count        int32
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
	if i := e.history.latest(); i.RequesterManaged {
		return nil, notPermitted(i.ID)
	}
	switch given := in.given(); len(given) {
	case 0:
		return nil, Errorf("InvalidParameterCombination", "No attributes specified.")
	case 1:
	default:
		return nil, Errorf("InvalidParameterCombination", "Fields for multiple attribute types specified: %s", strings.Join(given, ", "))
	}
	return e, c.change(e, in)
}

// given names the attributes that are set.
func (in ModifyNetworkInterfaceAttributeInput) given() []string {
	var names []string
	for _, attribute := range []struct {
		name  string
		given bool
	}{
		{"attachment", in.Attachment != nil || in.EnaQueues != nil},
		{"sourceDestCheck", in.SourceDestCheck != nil},
		{"description", in.Description != nil},
		{"groupSet", len(in.GroupIDs) > 0},
		{"connectionTrackingSpecification", in.ConnectionTracking != nil},
		{"enaSrdSpecification", in.EnaSrd != nil},
		{"enablePrimaryIpv6", in.EnablePrimaryIPv6 != nil},
	} {
		if attribute.given {
			names = append(names, attribute.name)
		}
	}
	return names
}

// change sets the one attribute that is given.
func (c *Cloud) change(e *eni, in ModifyNetworkInterfaceAttributeInput) error {
	switch {
	case in.Attachment != nil || in.EnaQueues != nil:
		return c.changeAttachment(e, in.Attachment, in.EnaQueues)
	case in.SourceDestCheck != nil:
		c.update(e, func(i *Interface) { i.SourceDestCheck = *in.SourceDestCheck })
	case in.Description != nil:
		if err := checkDescription(*in.Description); err != nil {
			return err
		}
		c.update(e, func(i *Interface) { i.Description = *in.Description })
	case in.ConnectionTracking != nil:
		return c.changeConnectionTracking(e, *in.ConnectionTracking)
	case in.EnaSrd != nil:
		return c.changeEnaSrd(e, in.EnaSrd)
	case in.EnablePrimaryIPv6 != nil:
		return c.changePrimaryIPv6(e, *in.EnablePrimaryIPv6)
	default:
		groups, err := c.checkGroups(in.GroupIDs, c.subnets[e.history.latest().SubnetID])
		if err != nil {
			return err
		}
		c.update(e, func(i *Interface) { i.GroupIDs = groups })
	}
	return nil
}

func (c *Cloud) changeAttachment(e *eni, change *AttachmentChange, queues *EnaQueuesChange) error {
	i := e.history.latest()
	if change != nil && (i.Attachment == nil || i.Attachment.ID != change.AttachmentID) {
		return attachmentIDs.missing(change.AttachmentID)
	}
	if queues != nil {
		if i.Attachment == nil || i.Attachment.ID != queues.AttachmentID {
			return attachmentIDs.missing(queues.AttachmentID)
		}
		if err := c.checkQueues(c.instances[i.Attachment.InstanceID], i.ID, i.Attachment.NetworkCardIndex, queues.Count); err != nil {
			return err
		}
	}
	c.updateAttachment(e, func(a *Attachment) {
		if change != nil {
			a.DeleteOnTermination = change.DeleteOnTermination
		}
		if queues != nil {
			a.EnaQueueCount = queues.Count
		}
	})
	return nil
}

func (c *Cloud) changeConnectionTracking(e *eni, change ConnectionTracking) error {
	if err := change.check(); err != nil {
		return err
	}
	next := *e.history.latest()
	next.ConnectionTracking = change.applied(next.ConnectionTracking)
	if err := c.checkHost(&next); err != nil {
		return err
	}
	c.update(e, func(i *Interface) { i.ConnectionTracking = next.ConnectionTracking })
	return nil
}

// changeEnaSrd changes ENA Express, which belongs to the attachment. The code where
// there is none is not verified.
func (c *Cloud) changeEnaSrd(e *eni, change *EnaSrdChange) error {
	i := e.history.latest()
	if i.Attachment == nil {
		return Errorf("IncorrectState", "Network interface '%s' is not attached.", i.ID)
	}
	next := change.applied(i.Attachment.EnaSrd)
	if err := c.typeOf(i.Attachment.InstanceID).checkEnaSrd(next); err != nil {
		return err
	}
	c.updateAttachment(e, func(a *Attachment) { a.EnaSrd = next })
	return nil
}

// changePrimaryIPv6 makes the first IPv6 address a primary one: "Once you enable an
// IPv6 GUA address to be a primary IPv6, you cannot disable it." The codes are not
// verified.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifyNetworkInterfaceAttribute.html
func (c *Cloud) changePrimaryIPv6(e *eni, enable bool) error {
	switch i := e.history.latest(); {
	case c.subnets[i.SubnetID].v6 == nil:
		return noRange(i.SubnetID, ipv6)
	case i.PrimaryIPv6 && !enable:
		return Errorf("InvalidParameterValue", "The primary IPv6 address of network interface '%s' cannot be disabled.", i.ID)
	}
	c.update(e, func(i *Interface) { i.PrimaryIPv6 = enable })
	return nil
}
