package cloud

import "time"

// AttachNetworkInterfaceInput are the parameters of AttachNetworkInterface.
type AttachNetworkInterfaceInput struct {
	NetworkInterfaceID string
	InstanceID         string
	DeviceIndex        int32
	NetworkCardIndex   int32
	// CardOmitted says that the call names no card, which means card 0.
	CardOmitted   bool
	EnaSrd        *EnaSrdChange
	EnaQueueCount int32 // 0: the instance type's default
}

// AttachNetworkInterface begins to attach an ENI to an instance: it becomes
// attached after Timing.Attach, and a link on the instance after
// Timing.PlugDelay.
func (c *Cloud) AttachNetworkInterface(in AttachNetworkInterfaceInput) (Attachment, error) {
	c.mu.Lock()
	e, err := c.attachable(in)
	if err != nil {
		c.mu.Unlock()
		return Attachment{}, err
	}
	timing := c.timing
	made := c.link(e, in, AttachmentAttaching)
	e.plugAt = made.AttachTime.Add(timing.PlugDelay)
	c.mu.Unlock()

	c.schedule.after(timing.PlugDelay, func() { c.connect(e) })
	c.schedule.after(timing.Attach, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if e.attachedBy(made.ID) && e.history.latest().Attachment.Status == AttachmentAttaching {
			c.updateAttachment(e, func(a *Attachment) { a.Status = AttachmentAttached })
		}
	})
	return made, nil
}

// link records a new attachment.
func (c *Cloud) link(e *eni, in AttachNetworkInterfaceInput, status string) Attachment {
	made := Attachment{
		ID:               newID("eni-attach"),
		InstanceID:       in.InstanceID,
		DeviceIndex:      in.DeviceIndex,
		NetworkCardIndex: in.NetworkCardIndex,
		Status:           status,
		AttachTime:       time.Now(),
		EnaSrd:           in.EnaSrd.applied(nil),
		EnaQueueCount:    in.EnaQueueCount,
	}
	c.attachments[made.ID] = e
	c.instances[in.InstanceID].enis[e.history.latest().ID] = e
	c.update(e, func(i *Interface) {
		i.Status = StatusInUse
		i.Attachment = &made
	})
	return made
}

// attachable returns the ENI if it may be attached as asked.
func (c *Cloud) attachable(in AttachNetworkInterfaceInput) (*eni, error) {
	e, err := c.eni(in.NetworkInterfaceID)
	if err != nil {
		return nil, err
	}
	host, err := c.instance(in.InstanceID)
	if err != nil {
		return nil, err
	}
	i, instance := e.history.latest(), host.history.latest()
	limits := c.types[instance.Type]
	switch {
	case i.RequesterManaged:
		return nil, notPermitted(i.ID)
	case i.Attachment != nil:
		return nil, Errorf("InvalidNetworkInterface.InUse", "Interface: [%s] in use.", i.ID)
	case instance.State != InstanceRunning && instance.State != InstanceStopped:
		return nil, Errorf("IncorrectState", "Instance '%s' is not 'running'.", instance.ID)
	case i.Zone != instance.Zone:
		return nil, Errorf("InvalidParameterCombination",
			"You may not attach a network interface to an instance if they are not in the same availability zone")
	case i.isEFA() && instance.State == InstanceRunning:
		return nil, efaWhileRunning(i.ID)
	}
	if err := host.freePlace(in, limits); err != nil {
		return nil, err
	}
	if err := limits.checkENI(i); err != nil {
		return nil, err
	}
	if err := limits.checkEnaSrd(in.EnaSrd.applied(nil)); err != nil {
		return nil, err
	}
	return e, c.checkQueues(host, i.ID, in.NetworkCardIndex, in.EnaQueueCount)
}

// freePlace says whether the instance has room for one more ENI at the card and the
// device index that are asked for. Device indexes count per card.
func (in *instance) freePlace(asked AttachNetworkInterfaceInput, limits InstanceType) error {
	switch {
	case asked.DeviceIndex < 0, limits.MaxDeviceIndex > 0 && asked.DeviceIndex > limits.MaxDeviceIndex:
		return Errorf("InvalidParameterValue", "Value (%d) for parameter deviceIndex is invalid.", asked.DeviceIndex)
	case asked.NetworkCardIndex < 0 || int(asked.NetworkCardIndex) >= limits.NetworkCards:
		return Errorf("InvalidParameterValue", "Network card index '%d' is not valid for instance type '%s'.", asked.NetworkCardIndex, limits.Name)
	}
	onCard := 0
	for _, other := range in.enis {
		a := other.history.latest().Attachment
		sameCard := a.NetworkCardIndex == asked.NetworkCardIndex
		if sameCard {
			onCard++
		}
		// EC2 has taken the indexes of all cards for taken where a call did not name
		// the card: https://github.com/cilium/cilium/pull/42512
		if a.DeviceIndex == asked.DeviceIndex && (sameCard || asked.CardOmitted) {
			return Errorf("InvalidParameterValue",
				"Instance '%s' already has an interface attached at device index '%d'.", asked.InstanceID, asked.DeviceIndex)
		}
	}
	most := limits.PerCard()
	if asked.EnaQueueCount > 0 {
		most += limits.EnaQueues.AdditionalENIs
	}
	if onCard >= most {
		return Errorf("AttachmentLimitExceeded", "Interface count %d exceeds the limit for %s", onCard+1, limits.Name)
	}
	return nil
}

func (i *Interface) isEFA() bool { return i.InterfaceType == TypeEFA || i.InterfaceType == TypeEFAOnly }

// efaWhileRunning: "You can't attach an EFA to an instance that is in the running
// state", nor detach one. The code is not verified.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/efa.html
func efaWhileRunning(id string) error {
	return Errorf("IncorrectInstanceState", "Network interface '%s' is an Elastic Fabric Adapter: the instance must be stopped", id)
}

// DetachNetworkInterface begins to detach an ENI: its link goes at once, and
// it is available after Timing.Detach. Without force, EC2 refuses while the
// attachment is still, or no longer, in a state to be detached.
func (c *Cloud) DetachNetworkInterface(attachmentID string, force bool) error {
	c.mu.Lock()
	e, err := c.detachable(attachmentID, force)
	if err != nil {
		c.mu.Unlock()
		return err
	}
	delay := c.timing.Detach
	if e.history.latest().Attachment.Status == AttachmentDetaching {
		delay = 0
	}
	c.updateAttachment(e, func(a *Attachment) { a.Status = AttachmentDetaching })
	c.mu.Unlock()

	c.connect(e)
	c.schedule.after(delay, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if e.attachedBy(attachmentID) {
			c.unlink(e)
		}
	})
	return nil
}

func (c *Cloud) detachable(attachmentID string, force bool) (*eni, error) {
	if err := attachmentIDs.check(attachmentID); err != nil {
		return nil, err
	}
	e, ok := c.attachments[attachmentID]
	if !ok {
		return nil, attachmentIDs.missing(attachmentID)
	}
	i := e.history.latest()
	switch a := i.Attachment; {
	case i.RequesterManaged:
		return nil, Errorf("OperationNotPermitted", "You are not allowed to manage '%s' attachments.", a.ID)
	case a.Primary():
		return nil, Errorf("OperationNotPermitted",
			"The network interface at device index 0 and networkCard index %d cannot be detached.", a.NetworkCardIndex)
	case i.isEFA() && c.instances[a.InstanceID].history.latest().State == InstanceRunning:
		return nil, efaWhileRunning(i.ID)
	case a.Status != AttachmentAttached && !force:
		return nil, Errorf("IncorrectState", "The network interface attachment '%s' is '%s', not 'attached'.", a.ID, a.Status)
	}
	return e, nil
}

// DeleteNetworkInterface deletes an ENI that is not attached.
func (c *Cloud) DeleteNetworkInterface(id string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, err := c.eni(id)
	if err != nil {
		return err
	}
	i := e.history.latest()
	a := i.Attachment
	switch {
	case i.RequesterManaged:
		return notPermitted(id)
	case a != nil:
		return c.inUse(id, a.Status == AttachmentDetaching)
	case time.Since(e.freedAt) < c.timing.DeleteInUse:
		return c.inUse(id, true)
	}
	c.remove(e)
	return nil
}

// inUse refuses to delete an ENI that is attached or on its way off.
func (c *Cloud) inUse(id string, leaving bool) error {
	if c.config.InUse == InUseParameter || c.config.InUse == InUseMixed && leaving {
		return Errorf("InvalidParameterValue", "Network interface '%s' is currently in use.", id)
	}
	return Errorf("InvalidNetworkInterface.InUse", "The network interface '%s' is in use.", id)
}

func notPermitted(id string) error {
	return Errorf("OperationNotPermitted", "You do not have permission to access the specified resource: network interface '%s' is managed by another service.", id)
}
