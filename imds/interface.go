package imds

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Interface is what IMDS shows of one ENI of the instance.
type Interface struct {
	MAC net.HardwareAddr
	// Settled is false while IMDS has not caught up with EC2 on this ENI:
	// then only MAC is to be relied upon.
	Settled bool
	// DeviceIndex and Card say where the ENI is attached. Every card has
	// device indexes of its own.
	DeviceIndex, Card int
	ENIID             string
	SubnetID          string
}

// Interfaces lists the ENIs that IMDS shows.
//
// It lags. An ENI that has just been attached is missing, or its MAC is
// listed while its values are not there, or its device number is 0, which
// only the primary ENI of a card can have: it is listed as not settled. One
// that has been detached may still be listed for minutes, and nothing tells
// it from the others.
func (c *Client) Interfaces(ctx context.Context) ([]Interface, error) {
	primary, err := c.primaryMAC(ctx)
	if err != nil {
		return nil, err
	}
	list, err := c.get(ctx, "network/interfaces/macs/")
	if err != nil {
		return nil, err
	}
	var all []Interface
	for _, line := range strings.Fields(list) {
		mac, err := net.ParseMAC(strings.TrimSuffix(line, "/"))
		if err != nil {
			return nil, fmt.Errorf("IMDS lists an interface with an invalid MAC: %w", err)
		}
		i, err := c.readInterface(ctx, mac)
		if isMissing(err) {
			i = Interface{MAC: mac}
		} else if err != nil {
			return nil, err
		}
		if i.DeviceIndex == 0 && i.Card == 0 && !bytes.Equal(mac, primary) {
			i.Settled = false
		}
		all = append(all, i)
	}
	return all, nil
}

// readInterface reads the values of one ENI. The error is a missing one when
// they are not all there.
func (c *Client) readInterface(ctx context.Context, mac net.HardwareAddr) (Interface, error) {
	i := Interface{MAC: mac, Settled: true}
	var err error
	if i.DeviceIndex, err = c.number(ctx, macPath(mac, "device-number")); err != nil {
		return i, err
	}
	if i.ENIID, err = c.get(ctx, macPath(mac, "interface-id")); err != nil {
		return i, err
	}
	if i.SubnetID, err = c.get(ctx, macPath(mac, "subnet-id")); err != nil {
		return i, err
	}
	// Instance types with one card have neither.
	for _, name := range []string{"network-card", "network-card-index"} {
		i.Card, err = c.number(ctx, macPath(mac, name))
		if !isMissing(err) {
			return i, err
		}
	}
	return i, nil
}

// Assigned is what others may change about an ENI while it is attached, as IMDS shows
// it; nil where it shows nothing.
type Assigned struct {
	Addresses []netip.Addr // IPv4, then IPv6
	Groups    []string     // ids
}

// Assigned asks what an ENI has at present: three requests. An ENI that IMDS does not
// show has nothing.
func (c *Client) Assigned(ctx context.Context, mac net.HardwareAddr) (Assigned, error) {
	var a Assigned
	for _, family := range []string{"local-ipv4s", "ipv6s"} {
		text, err := c.get(ctx, macPath(mac, family))
		if err != nil && !isMissing(err) {
			return a, err
		}
		for _, field := range strings.Fields(text) {
			address, err := netip.ParseAddr(field)
			if err != nil {
				return a, fmt.Errorf("IMDS lists an invalid address for %s: %w", mac, err)
			}
			a.Addresses = append(a.Addresses, address)
		}
	}
	text, err := c.get(ctx, macPath(mac, "security-group-ids"))
	if err != nil && !isMissing(err) {
		return a, err
	}
	a.Groups = strings.Fields(text)
	return a, nil
}

// VPC asks for the CIDRs of the primary ENI's VPC: two requests.
func (c *Client) VPC(ctx context.Context) ([]netip.Prefix, error) {
	mac, err := c.primaryMAC(ctx)
	if err != nil {
		return nil, err
	}
	var all []netip.Prefix
	for _, family := range []string{"vpc-ipv4-cidr-blocks", "vpc-ipv6-cidr-blocks"} {
		text, err := c.get(ctx, macPath(mac, family))
		if err != nil && !isMissing(err) {
			return nil, err
		}
		for _, field := range strings.Fields(text) {
			cidr, err := netip.ParsePrefix(field)
			if err != nil {
				return nil, fmt.Errorf("IMDS lists an invalid CIDR for the VPC: %w", err)
			}
			all = append(all, cidr)
		}
	}
	return all, nil
}

func (c *Client) number(ctx context.Context, path string) (int, error) {
	text, err := c.get(ctx, path)
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("IMDS returned an invalid number for %s: %w", path, err)
	}
	return n, nil
}
