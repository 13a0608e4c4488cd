package cloud

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"
)

// instance is an Instance with what only the simulation knows of it; mu of
// Cloud guards it.
type instance struct {
	history  history[*Instance]
	enis     map[string]*eni // attached, by id
	ghosts   []ghost
	userData string
}

// ghost is an ENI that was detached and that the metadata service may still
// show.
type ghost struct {
	eni  *Interface // as it was when it went
	gone time.Time
}

// RunInstance asks for one instance.
type RunInstance struct {
	ID          string            `json:"id,omitempty"`   // default: made up
	Name        string            `json:"name,omitempty"` // the node's name; default: its private DNS name
	Type        string            `json:"type"`
	ImageID     string            `json:"imageID,omitempty"`
	SubnetID    string            `json:"subnetID"`
	GroupIDs    []string          `json:"groupIDs,omitempty"` // of the primary ENI; default: the VPC's default group
	Tags        map[string]string `json:"tags,omitempty"`
	ENITags     map[string]string `json:"eniTags,omitempty"` // of the primary ENI
	UserData    string            `json:"userData,omitempty"`
	ClientToken string            `json:"-"`
}

// RunInstance launches an instance with its primary ENI at device index 0. It
// returns when the instance runs, with its link plugged.
func (c *Cloud) RunInstance(in RunInstance) (Instance, error) {
	params := in
	params.ClientToken = ""

	c.mu.Lock()
	answer, replayed, err := c.replay("RunInstances", in.ClientToken, params)
	if err != nil || replayed {
		c.mu.Unlock()
		first, _ := answer.(Instance)
		return first, err
	}
	host, primary, err := c.launch(in)
	if err != nil {
		c.mu.Unlock()
		return Instance{}, err
	}
	pending := *host.history.latest()
	c.remember("RunInstances", in.ClientToken, params, pending)
	c.mu.Unlock()

	if fabric := c.config.Fabric; fabric != nil {
		if err := fabric.AddInstance(pending); err != nil {
			c.forget(host, primary, in.ClientToken)
			return Instance{}, fmt.Errorf("simulated network: add instance %s (%s): %w", pending.ID, pending.Name, err)
		}
	}
	c.connect(primary)

	c.mu.Lock()
	defer c.mu.Unlock()
	if host.history.latest().State == InstancePending {
		c.updateInstance(host, func(i *Instance) { i.State = InstanceRunning })
	}
	return *host.history.latest(), nil
}

// launch checks the request and records the instance with its primary ENI.
func (c *Cloud) launch(in RunInstance) (*instance, *eni, error) {
	setDefault(&in.ID, newID("i"))
	if err := instanceIDs.check(in.ID); err != nil {
		return nil, nil, err
	}
	if c.instances[in.ID] != nil {
		return nil, nil, Errorf("InvalidInstanceID", "The instance ID '%s' already exists", in.ID)
	}
	if _, ok := c.types[in.Type]; !ok {
		return nil, nil, Errorf("InvalidInstanceType", "Invalid value '%s' for InstanceType. There are %s.",
			in.Type, strings.Join(slices.Sorted(maps.Keys(c.types)), ", "))
	}
	if err := checkTags(nil, in.Tags); err != nil {
		return nil, nil, err
	}
	primary, err := c.newENI(CreateNetworkInterfaceInput{SubnetID: in.SubnetID, GroupIDs: in.GroupIDs, Tags: in.ENITags})
	if err != nil {
		return nil, nil, err
	}
	i := primary.history.latest()
	setDefault(&in.ImageID, "ami-0123456789abcdef0")
	host := &instance{enis: make(map[string]*eni), userData: in.UserData}
	now := time.Now()
	made := Instance{
		ID:            in.ID,
		Type:          in.Type,
		Name:          in.Name,
		ImageID:       in.ImageID,
		SubnetID:      i.SubnetID,
		VPCID:         i.VPCID,
		Zone:          i.Zone,
		ZoneID:        i.ZoneID,
		State:         InstancePending,
		PrivateIP:     i.PrivateIP(),
		IPv6:          i.IPv6(),
		MAC:           i.MAC,
		Tags:          withTags(nil, in.Tags),
		LaunchTime:    now,
		ReservationID: newID("r"),
	}
	setDefault(&made.Name, c.HostName(made))
	host.history.put(now, c.memory(), &made)
	c.instances[in.ID] = host
	c.link(primary, AttachNetworkInterfaceInput{InstanceID: in.ID}, AttachmentAttached)
	c.updateAttachment(primary, func(a *Attachment) { a.DeleteOnTermination = true })
	return host, primary, nil
}

// forget undoes a launch.
func (c *Cloud) forget(host *instance, primary *eni, clientToken string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unlink(primary)
	c.remove(primary)
	delete(c.instances, host.history.latest().ID)
	delete(c.tokens, "RunInstances "+clientToken)
}

// StateChange is an instance's way from one state to another.
type StateChange struct{ InstanceID, Previous, Current string }

// Terminate shuts an instance down, see TerminateInstances.
func (c *Cloud) Terminate(instanceID string) error {
	_, err := c.TerminateInstances([]string{instanceID})
	return err
}

// TerminateInstances shuts instances down, all or none. After Timing.Detach
// they are terminated: their ENIs with DeleteOnTermination are deleted and the
// others available. An instance that is terminated already stays so.
func (c *Cloud) TerminateInstances(ids []string) ([]StateChange, error) {
	c.mu.Lock()
	hosts := make([]*instance, len(ids))
	for i, id := range ids {
		var err error
		if hosts[i], err = c.instance(id); err != nil {
			c.mu.Unlock()
			return nil, err
		}
	}
	var ending []*instance
	changes := make([]StateChange, len(hosts))
	for i, host := range hosts {
		state := host.history.latest().State
		changes[i] = StateChange{InstanceID: ids[i], Previous: state, Current: state}
		if state != InstanceShuttingDown && state != InstanceTerminated {
			c.updateInstance(host, func(i *Instance) { i.State = InstanceShuttingDown })
			changes[i].Current = InstanceShuttingDown
			ending = append(ending, host)
		}
	}
	delay := c.timing.Detach
	c.mu.Unlock()

	for _, host := range ending {
		c.schedule.after(delay, func() { c.finishTerminate(host) })
	}
	return changes, nil
}

func (c *Cloud) finishTerminate(host *instance) {
	c.mu.Lock()
	id := host.history.latest().ID
	enis := slices.Collect(maps.Values(host.enis))
	for _, e := range enis {
		dies := e.history.latest().Attachment.DeleteOnTermination
		c.unlink(e)
		if dies {
			c.remove(e)
		}
	}
	c.mu.Unlock()

	for _, e := range enis {
		c.connect(e)
	}
	if fabric := c.config.Fabric; fabric != nil {
		if err := fabric.RemoveInstance(id); err != nil {
			slog.Error("simulated network", "what", "remove instance", "instance", id, "err", err)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.updateInstance(host, func(i *Instance) { i.State = InstanceTerminated })
}

// instance finds an instance, also a terminated one.
func (c *Cloud) instance(id string) (*instance, error) {
	if err := instanceIDs.check(id); err != nil {
		return nil, err
	}
	host, ok := c.instances[id]
	if !ok {
		return nil, instanceIDs.missing(id)
	}
	return host, nil
}

// updateInstance replaces an instance's Instance by a changed copy.
func (c *Cloud) updateInstance(host *instance, change func(*Instance)) {
	next := *host.history.latest()
	change(&next)
	host.history.put(time.Now(), c.memory(), &next)
}

// detached notes that an ENI has gone, and forgets ghosts that have faded.
func (in *instance) detached(i *Interface, now time.Time, lag time.Duration) {
	delete(in.enis, i.ID)
	in.ghosts = slices.DeleteFunc(in.ghosts, func(g ghost) bool { return now.Sub(g.gone) > lag })
	in.ghosts = append(in.ghosts, ghost{eni: i, gone: now})
}
