package cloud

import (
	"iter"
	"net/netip"
	"strconv"
	"time"
)

// DescribeNetworkInterfaces shows ENIs as they were Timing.DescribeLag ago.
func (c *Cloud) DescribeNetworkInterfaces(in DescribeInput) (enis []Interface, nextToken string, err error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	horizon := c.horizon()
	get := func(id string) (*Interface, bool) {
		if e, ok := c.enis[id]; ok {
			return e.history.at(horizon)
		}
		return nil, false
	}
	found, next, err := c.interfaceDescriber().describe(in, get, c.interfacesAt(horizon))
	if err != nil {
		return nil, "", err
	}
	enis = make([]Interface, len(found))
	for i, eni := range found {
		enis[i] = *eni
	}
	return enis, next, nil
}

// interfacesAt goes through the ENIs that existed at a moment, as they were.
func (c *Cloud) interfacesAt(t time.Time) iter.Seq[*Interface] {
	return func(yield func(*Interface) bool) {
		for _, e := range c.enis {
			if i, ok := e.history.at(t); ok && !yield(i) {
				return
			}
		}
	}
}

func (c *Cloud) interfaceDescriber() describer[*Interface] {
	return describer[*Interface]{
		action:   "DescribeNetworkInterfaces",
		idsParam: "networkInterfaceIdSet",
		maxPage:  1000,
		check:    interfaceIDs.check,
		missing:  interfaceIDs.missing,
		id:       func(i *Interface) string { return i.ID },
		tags:     func(i *Interface) map[string]string { return i.Tags },
		fields: map[string]field[*Interface]{
			"network-interface-id":             text(func(i *Interface) string { return i.ID }),
			"subnet-id":                        text(func(i *Interface) string { return i.SubnetID }),
			"vpc-id":                           text(func(i *Interface) string { return i.VPCID }),
			"availability-zone":                text(func(i *Interface) string { return i.Zone }),
			"availability-zone-id":             text(func(i *Interface) string { return i.ZoneID }),
			"status":                           text(func(i *Interface) string { return i.Status }),
			"description":                      text(func(i *Interface) string { return i.Description }),
			"mac-address":                      text(func(i *Interface) string { return i.MAC }),
			"interface-type":                   text(func(i *Interface) string { return i.InterfaceType }),
			"owner-id":                         text(func(*Interface) string { return c.config.AccountID }),
			"private-dns-name":                 text(func(i *Interface) string { return c.PrivateDNSName(i.PrivateIP()) }),
			"private-ip-address":               texts(func(i *Interface) []string { return written(i.PrivateIPs[:min(1, len(i.PrivateIPs))]) }),
			"addresses.private-ip-address":     texts(func(i *Interface) []string { return written(i.PrivateIPs) }),
			"ipv6-addresses.ipv6-address":      texts(func(i *Interface) []string { return written(i.IPv6Addresses) }),
			"group-id":                         texts(func(i *Interface) []string { return i.GroupIDs }),
			"group-name":                       texts(func(i *Interface) []string { return c.groupNames(i.GroupIDs) }),
			"source-dest-check":                flag(func(i *Interface) bool { return i.SourceDestCheck }),
			"requester-managed":                flag(func(i *Interface) bool { return i.RequesterManaged }),
			"attachment.attachment-id":         attachment(func(a *Attachment) string { return a.ID }),
			"attachment.instance-id":           attachment(func(a *Attachment) string { return a.InstanceID }),
			"attachment.instance-owner-id":     attachment(func(*Attachment) string { return c.config.AccountID }),
			"attachment.status":                attachment(func(a *Attachment) string { return a.Status }),
			"attachment.device-index":          attachment(func(a *Attachment) string { return strconv.Itoa(int(a.DeviceIndex)) }),
			"attachment.network-card-index":    attachment(func(a *Attachment) string { return strconv.Itoa(int(a.NetworkCardIndex)) }),
			"attachment.delete-on-termination": attachment(func(a *Attachment) string { return strconv.FormatBool(a.DeleteOnTermination) }),
		},
	}
}

// attachment is a field that only attached ENIs have.
func attachment(of func(*Attachment) string) field[*Interface] {
	return func(i *Interface, match func(string) bool) bool {
		return i.Attachment != nil && match(of(i.Attachment))
	}
}

func written(addresses []netip.Addr) []string {
	list := make([]string, len(addresses))
	for n, a := range addresses {
		list[n] = a.String()
	}
	return list
}

func (c *Cloud) groupNames(ids []string) []string {
	names := make([]string, len(ids))
	for n, id := range ids {
		names[n] = c.groups[id].Name
	}
	return names
}

// SecurityGroupName returns the name of a group, "" for an unknown one.
func (c *Cloud) SecurityGroupName(id string) string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if g, ok := c.groups[id]; ok {
		return g.Name
	}
	return ""
}
