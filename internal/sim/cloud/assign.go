package cloud

import (
	"net/netip"
	"slices"
)

// AssignInput are the parameters of AssignPrivateIpAddresses and
// AssignIpv6Addresses. There is no ClientToken: a call that is repeated assigns
// again.
type AssignInput struct {
	NetworkInterfaceID string
	AddressRequest
}

// AssignIPv4 gives an ENI secondary IPv4 addresses or prefixes and returns them.
func (c *Cloud) AssignIPv4(in AssignInput) (Assigned, error) { return c.assign(in, ipv4) }

// AssignIPv6 gives an ENI IPv6 addresses or prefixes and returns them.
func (c *Cloud) AssignIPv6(in AssignInput) (Assigned, error) { return c.assign(in, ipv6) }

// UnassignIPv4 takes secondary IPv4 addresses and prefixes from an ENI.
func (c *Cloud) UnassignIPv4(eniID string, what Assigned) error { return c.unassign(eniID, what, ipv4) }

// UnassignIPv6 takes IPv6 addresses and prefixes from an ENI.
func (c *Cloud) UnassignIPv6(eniID string, what Assigned) error { return c.unassign(eniID, what, ipv6) }

// AssignPrivateIPAddressesInput asks for secondary IPv4 addresses, by name or by
// number.
type AssignPrivateIPAddressesInput struct {
	NetworkInterfaceID string
	PrivateIPs         []netip.Addr
	SecondaryCount     int
}

// AssignPrivateIPAddresses is AssignIPv4 for addresses only.
func (c *Cloud) AssignPrivateIPAddresses(in AssignPrivateIPAddressesInput) ([]netip.Addr, error) {
	got, err := c.AssignIPv4(AssignInput{in.NetworkInterfaceID, AddressRequest{Addresses: in.PrivateIPs, Count: positive(in.SecondaryCount)}})
	return got.Addresses, err
}

// UnassignPrivateIPAddresses is UnassignIPv4 for addresses only.
func (c *Cloud) UnassignPrivateIPAddresses(id string, addresses []netip.Addr) error {
	return c.UnassignIPv4(id, Assigned{Addresses: addresses})
}

func (c *Cloud) assign(in AssignInput, f *family) (Assigned, error) {
	e, assigned, err := c.doAssign(in, f)
	if err != nil {
		return Assigned{}, err
	}
	c.connect(e)
	return assigned, nil
}

func (c *Cloud) doAssign(in AssignInput, f *family) (*eni, Assigned, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, err := c.eni(in.NetworkInterfaceID)
	if err != nil {
		return nil, Assigned{}, err
	}
	i := e.history.latest()
	if i.RequesterManaged {
		return nil, Assigned{}, notPermitted(i.ID)
	}
	if err := in.check(f); err != nil {
		return nil, Assigned{}, err
	}
	if !in.asks() {
		return nil, Assigned{}, Errorf("MissingParameter", "The request must contain the parameter %s, %s, %s or %s",
			f.address, f.count, f.prefix, f.prefixCount)
	}
	pool := c.subnets[i.SubnetID].pool(f)
	if pool == nil {
		return nil, Assigned{}, noRange(i.SubnetID, f)
	}
	for _, a := range in.Addresses {
		if pool.addresses[a] != "" {
			return nil, Assigned{}, Errorf("InvalidParameterValue", "[%s] assigned, but move is not allowed.", a)
		}
	}
	got, err := pool.take(i.ID, in.AddressRequest)
	if err != nil {
		return nil, Assigned{}, err
	}
	next := *i
	next.setAssigned(f, i.assigned(f).plus(got))
	if err := c.checkHost(&next); err != nil {
		pool.release(got)
		return nil, Assigned{}, err
	}
	c.update(e, func(i *Interface) { i.setAssigned(f, next.assigned(f)) })
	return e, got, nil
}

func (c *Cloud) unassign(id string, what Assigned, f *family) error {
	e, err := c.doUnassign(id, what, f)
	if err == nil {
		c.connect(e)
	}
	return err
}

func (c *Cloud) doUnassign(id string, what Assigned, f *family) (*eni, error) {
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
	if what.slots() == 0 {
		return nil, Errorf("MissingParameter", "The request must contain the parameter %s or %s", f.address, f.prefix)
	}
	has := i.assigned(f)
	for _, a := range what.Addresses {
		switch index := slices.Index(has.Addresses, a); {
		case index < 0:
			return nil, notAssigned(id)
		case index == 0 && (f == ipv4 || i.PrimaryIPv6):
			return nil, Errorf("InvalidParameterValue",
				"Value (%s) for parameter %s is invalid. The primary IP address of an interface cannot be unassigned.", a, f.address)
		}
	}
	for _, prefix := range what.Prefixes {
		if !slices.Contains(has.Prefixes, prefix) {
			return nil, notAssigned(id)
		}
	}
	c.subnets[i.SubnetID].pool(f).release(what)
	c.update(e, func(i *Interface) { i.setAssigned(f, has.minus(what)) })
	return e, nil
}

func notAssigned(id string) error {
	return Errorf("InvalidParameterValue", "Some of the specified addresses are not assigned to interface %s", id)
}

// noRange refuses addresses of a family that the subnet does not have. EC2's code
// for that is not verified.
func noRange(subnetID string, f *family) error {
	return Errorf("InvalidParameterValue", "The subnet '%s' has no %s CIDR block", subnetID, f.name)
}
