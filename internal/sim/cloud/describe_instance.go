package cloud

import (
	"cmp"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"
)

// InstanceDescription is an instance with its attached ENIs, sorted by card and
// device index.
type InstanceDescription struct {
	Instance
	Interfaces []Interface
}

// DescribeInstances shows instances as they were Timing.DescribeLag ago.
func (c *Cloud) DescribeInstances(in DescribeInput) (instances []InstanceDescription, nextToken string, err error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	horizon := c.horizon()
	attached := c.attachedAt(horizon, in.IDs)
	show := func(host *instance) (*InstanceDescription, bool) {
		i, ok := host.history.at(horizon)
		if !ok {
			return nil, false
		}
		return &InstanceDescription{Instance: *i, Interfaces: attached[i.ID]}, true
	}
	get := func(id string) (*InstanceDescription, bool) {
		if host, ok := c.instances[id]; ok {
			return show(host)
		}
		return nil, false
	}
	all := func(yield func(*InstanceDescription) bool) {
		for _, host := range c.instances {
			if i, ok := show(host); ok && !yield(i) {
				return
			}
		}
	}
	found, next, err := c.instanceDescriber().describe(in, get, all)
	if err != nil {
		return nil, "", err
	}
	instances = make([]InstanceDescription, len(found))
	for n, i := range found {
		instances[n] = *i
	}
	return instances, next, nil
}

// attachedAt returns the ENIs of instances, of all or of some, as they were at
// a moment.
func (c *Cloud) attachedAt(t time.Time, ids []string) map[string][]Interface {
	attached := make(map[string][]Interface)
	for i := range c.interfacesAt(t) {
		if a := i.Attachment; a != nil && (len(ids) == 0 || slices.Contains(ids, a.InstanceID)) {
			attached[a.InstanceID] = append(attached[a.InstanceID], *i)
		}
	}
	for _, enis := range attached {
		slices.SortFunc(enis, func(a, b Interface) int {
			return cmp.Or(cmp.Compare(a.Attachment.NetworkCardIndex, b.Attachment.NetworkCardIndex),
				cmp.Compare(a.Attachment.DeviceIndex, b.Attachment.DeviceIndex))
		})
	}
	return attached
}

func (c *Cloud) instanceDescriber() describer[*InstanceDescription] {
	return describer[*InstanceDescription]{
		action:   "DescribeInstances",
		idsParam: "instancesSet",
		maxPage:  1000,
		check:    instanceIDs.check,
		missing:  instanceIDs.missing,
		id:       func(i *InstanceDescription) string { return i.ID },
		tags:     func(i *InstanceDescription) map[string]string { return i.Tags },
		fields: map[string]field[*InstanceDescription]{
			"instance-id":         text(func(i *InstanceDescription) string { return i.ID }),
			"instance-type":       text(func(i *InstanceDescription) string { return i.Type }),
			"instance-state-name": text(func(i *InstanceDescription) string { return i.State }),
			"image-id":            text(func(i *InstanceDescription) string { return i.ImageID }),
			"subnet-id":           text(func(i *InstanceDescription) string { return i.SubnetID }),
			"vpc-id":              text(func(i *InstanceDescription) string { return i.VPCID }),
			"availability-zone":   text(func(i *InstanceDescription) string { return i.Zone }),
			"owner-id":            text(func(*InstanceDescription) string { return c.config.AccountID }),
			"reservation-id":      text(func(i *InstanceDescription) string { return i.ReservationID }),
			"private-ip-address":  text(func(i *InstanceDescription) string { return i.PrivateIP.String() }),
			"ipv6-address":        text(func(i *InstanceDescription) string { return i.IPv6.String() }),
			"private-dns-name":    text(func(i *InstanceDescription) string { return c.HostName(i.Instance) }),
			"network-interface.network-interface-id": func(i *InstanceDescription, match func(string) bool) bool {
				return slices.ContainsFunc(i.Interfaces, func(eni Interface) bool { return match(eni.ID) })
			},
		},
	}
}

// DescribeInstanceTypes shows the instance types of the configuration.
func (c *Cloud) DescribeInstanceTypes(in DescribeInput) (types []InstanceType, nextToken string, err error) {
	get := func(name string) (InstanceType, bool) {
		t, ok := c.types[name]
		return t, ok
	}
	all := func(yield func(InstanceType) bool) {
		for _, t := range c.types {
			if !yield(t) {
				return
			}
		}
	}
	return instanceTypeDescriber().describe(in, get, iter.Seq[InstanceType](all))
}

func instanceTypeDescriber() describer[InstanceType] {
	return describer[InstanceType]{
		action:   "DescribeInstanceTypes",
		idsParam: "instanceTypeSet",
		maxPage:  100,
		check:    func(string) error { return nil },
		missing: func(names ...string) error {
			return Errorf("InvalidInstanceType", "The following supplied instance types do not exist: [%s]", strings.Join(names, ", "))
		},
		id:   func(t InstanceType) string { return t.Name },
		tags: func(InstanceType) map[string]string { return nil },
		fields: map[string]field[InstanceType]{
			"instance-type": text(func(t InstanceType) string { return t.Name }),
			"network-info.maximum-network-interfaces":   text(func(t InstanceType) string { return strconv.Itoa(t.MaxENIs) }),
			"network-info.maximum-network-cards":        text(func(t InstanceType) string { return strconv.Itoa(t.NetworkCards) }),
			"network-info.ipv4-addresses-per-interface": text(func(t InstanceType) string { return strconv.Itoa(t.IPv4PerENI) }),
			"network-info.ipv6-addresses-per-interface": text(func(t InstanceType) string { return strconv.Itoa(t.IPv6PerENI) }),
			"network-info.ipv6-supported":               flag(func(t InstanceType) bool { return !t.NoIPv6 }),
			"hypervisor":                                text(func(t InstanceType) string { return t.Hypervisor }),
		},
	}
}
