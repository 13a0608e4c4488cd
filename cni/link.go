package cni

import (
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"strings"

	"github.com/containernetworking/plugins/pkg/ns"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/aws-multi-eni/aws-multi-eni/internal/podnetwork"
)

// kernelHas asks the kernel to make a link of this kind on a parent that does not exist.
// It never does, but its error says whether it knows the kind, and it loads the module as
// for the delegate. A module that is loaded saves the question; what is built into the
// kernel is not listed there.
func kernelHas(kind string) bool {
	if _, err := os.Stat("/sys/module/" + kind); err == nil {
		return true
	}
	err := netlink.LinkAdd(&netlink.GenericLink{
		LinkAttrs: netlink.LinkAttrs{Name: "eni-question", ParentIndex: math.MaxInt32},
		LinkType:  kind,
	})
	return !errors.Is(err, unix.EOPNOTSUPP)
}

// linkOf is the name that the ENI's link has now. The agent may have renamed it since it
// wrote the file, and links on top of it may have the same MAC.
func linkOf(e podnetwork.ENI) (string, error) {
	links, err := net.Interfaces()
	if err != nil {
		return "", fmt.Errorf("list links: %w", err)
	}
	name := ""
	for _, link := range links {
		if link.HardwareAddr.String() != e.MAC {
			continue
		}
		if name == "" || link.Name == e.Link {
			name = link.Name
		}
	}
	if name == "" {
		return "", fmt.Errorf("the node has no link with the MAC %s of %s", e.MAC, e.ID)
	}
	return name, nil
}

// interfaceExists reports whether a network namespace has the interface. It counts as
// there when the namespace is, and cannot be looked into.
func interfaceExists(netns, ifName string) bool {
	found := true
	err := ns.WithNetNSPath(netns, func(ns.NetNS) error {
		_, err := netlink.LinkByName(ifName)
		none := netlink.LinkNotFoundError{}
		found = !errors.As(err, &none)
		return nil
	})
	var (
		gone  ns.NSPathNotExistErr
		other ns.NSPathNotNSErr
	)
	return found && !errors.As(err, &gone) && !errors.As(err, &other)
}

// avoidTakenName gives a pod's link another name to return to the host by, if its former
// one is another link's by now: the next ENI's, for instance, which the kernel has named.
// host-device keeps that name in the alias, and fails each time while it is taken.
func avoidTakenName(netns, ifName string) error {
	return ns.WithNetNSPath(netns, func(host ns.NetNS) error {
		link, err := netlink.LinkByName(ifName)
		if err != nil {
			return err
		}
		taken := false
		err = host.Do(func(ns.NetNS) error {
			_, err := netlink.LinkByName(link.Attrs().Alias)
			taken = err == nil
			return nil
		})
		if err != nil || !taken {
			return err
		}
		return netlink.LinkSetAlias(link, "eni"+strings.ReplaceAll(link.Attrs().HardwareAddr.String(), ":", ""))
	})
}
