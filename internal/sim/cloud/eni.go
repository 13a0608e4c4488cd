package cloud

import (
	"log/slog"
	"sync"
	"time"
)

// eni is an ENI with what only the simulation knows of it. Its Interface is
// never changed, only replaced; mu of Cloud guards it but for the wire.
type eni struct {
	history history[*Interface]
	plugAt  time.Time // when the current attachment becomes a link
	freedAt time.Time // when the last detach was done

	wire  sync.Mutex // held while the fabric learns of this ENI
	wired *Interface // as the fabric knows it; nil: unplugged; guarded by wire
}

// eni finds an ENI that is not deleted.
func (c *Cloud) eni(id string) (*eni, error) {
	if err := interfaceIDs.check(id); err != nil {
		return nil, err
	}
	e, ok := c.enis[id]
	if !ok || e.history.gone() {
		return nil, interfaceIDs.missing(id)
	}
	return e, nil
}

// update replaces an ENI's Interface by a changed copy.
func (c *Cloud) update(e *eni, change func(*Interface)) {
	next := *e.history.latest()
	change(&next)
	e.history.put(time.Now(), c.memory(), &next)
}

// updateAttachment replaces an ENI's Attachment by a changed copy.
func (c *Cloud) updateAttachment(e *eni, change func(*Attachment)) {
	c.update(e, func(i *Interface) {
		next := *i.Attachment
		change(&next)
		i.Attachment = &next
	})
}

// attachedBy says whether an ENI's attachment is still the given one, for what
// happens some time after it was made.
func (e *eni) attachedBy(attachmentID string) bool {
	a := e.history.latest().Attachment
	return !e.history.gone() && a != nil && a.ID == attachmentID
}

// unlink ends an ENI's attachment and leaves it available.
func (c *Cloud) unlink(e *eni) {
	was := e.history.latest()
	now := time.Now()
	delete(c.attachments, was.Attachment.ID)
	if in, ok := c.instances[was.Attachment.InstanceID]; ok {
		in.detached(was, now, c.timing.IMDSLag)
	}
	e.freedAt = now
	c.update(e, func(i *Interface) {
		i.Attachment = nil
		i.Status = StatusAvailable
		// "... until the instance is terminated or the network interface is detached."
		// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateNetworkInterface.html
		i.PrimaryIPv6 = false
	})
}

// remove deletes an ENI that is not attached. Describes that lag behind still
// find it for a while.
func (c *Cloud) remove(e *eni) {
	i := e.history.latest()
	c.subnets[i.SubnetID].release(i)
	c.alive--
	lag := c.memory()
	e.history.end(time.Now(), lag)
	if lag == 0 {
		delete(c.enis, i.ID)
		return
	}
	c.schedule.after(lag, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.enis, i.ID)
	})
}

// connect brings the fabric in line with what an ENI is now. It is called
// after every change that a link could show, without mu held.
func (c *Cloud) connect(e *eni) {
	fabric := c.config.Fabric
	if fabric == nil {
		return
	}
	e.wire.Lock()
	defer e.wire.Unlock()
	c.mu.RLock()
	want := e.history.latest()
	if a := want.Attachment; e.history.gone() || a == nil || a.Status == AttachmentDetaching || time.Now().Before(e.plugAt) ||
		want.InterfaceType == TypeEFAOnly { // has no ENA device
		want = nil
	}
	c.mu.RUnlock()

	if have := e.wired; have != nil && (want == nil || want.Attachment.ID != have.Attachment.ID) {
		e.wired = nil
		report("unplug", have, fabric.Unplug(have.Attachment.InstanceID, have.ID))
	}
	switch have := e.wired; {
	case want == nil:
	case have == nil:
		err := fabric.Plug(want.Attachment.InstanceID, *want)
		report("plug", want, err)
		if err == nil {
			e.wired = want
		}
	case !want.assigned(ipv4).equal(have.assigned(ipv4)) || !want.assigned(ipv6).equal(have.assigned(ipv6)) ||
		want.SourceDestCheck != have.SourceDestCheck:
		report("update", want, fabric.Update(*want))
		e.wired = want
	}
}

// report logs what the fabric could not do: in EC2's eyes it has happened.
func report(what string, i *Interface, err error) {
	if err != nil {
		slog.Error("simulated network", "what", what, "eni", i.ID, "mac", i.MAC, "err", err)
	}
}
