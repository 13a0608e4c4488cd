package cni

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/internal/podnetwork"
)

// Add attaches a pod to one of the NodeENI's ENIs.
func Add(args *skel.CmdArgs) error {
	conf, err := parse(args.StdinData)
	if err == nil {
		err = conf.validate()
	}
	if err != nil {
		return err
	}
	if len(conf.PrevResult) > 0 {
		return types.NewError(types.ErrInvalidNetworkConfig, fmt.Sprintf("network %q: eni must be the first plugin in the list", conf.Name), "")
	}
	if conf.Mode == Claim {
		result, err := addClaim(conf, args)
		if err != nil {
			return err
		}
		return types.PrintResult(result, conf.CNIVersion)
	}
	if conf.Mode == "" {
		conf.Mode = PTP
		if kernelHas(IPVLAN) {
			conf.Mode = IPVLAN
		}
	}
	network, err := podnetwork.Read(conf.NetworksDir, conf.NodeENI)
	if err != nil {
		return tryAgain("%v; the kubelet retries", err)
	}
	a, err := attach(conf, network, args)
	if err != nil {
		return err
	}
	result, err := call("ADD", args.Path, a, a.Delegate)
	if err != nil {
		err = fmt.Errorf("NodeENI %s on node %s: the plugin %s could not attach %s to %s: %w", conf.NodeENI, network.Node, a.Mode, a.Holder(), a.ENI, err)
		return errors.Join(err, detach(conf.DataDir, args.Path, a))
	}
	return types.PrintResult(result, conf.CNIVersion)
}

// attach chooses an ENI with free addresses, reserves them and writes the attachment
// down, which is held from then on.
func attach(conf Config, network podnetwork.Network, args *skel.CmdArgs) (a podnetwork.Attachment, err error) {
	pod, ip := podOf(args.Args)
	wanted, err := conf.requested(ip)
	if err != nil {
		return a, err
	}
	store, err := podnetwork.Open(conf.DataDir)
	if err != nil {
		return a, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	a = podnetwork.Attachment{
		ContainerID: args.ContainerID, Interface: args.IfName, NetNS: args.Netns, Pod: pod,
		Network: conf.Name, NodeENI: conf.NodeENI, Mode: conf.Mode,
		Created: time.Now().UTC(), Boot: podnetwork.BootID(),
	}
	if store.Has(a.ContainerID, a.Interface) {
		return a, fmt.Errorf("%s already has interface %s; the container runtime must call DEL first", a.Holder(), a.Interface)
	}
	e, addresses, err := reserve(store, conf, network, a, wanted)
	if err != nil {
		// What cannot be taken back is the agent's to report, not this pod's.
		_, _ = store.Reclaim(podnetwork.Any)
		e, addresses, err = reserve(store, conf, network, a, wanted)
	}
	if err != nil {
		return a, err
	}
	a.ENI, a.Addresses = e.ID, addresses
	link := ""
	if conf.Mode != PTP {
		link, err = linkOf(e)
		if err != nil {
			err = tryAgain("NodeENI %s on node %s: %v; the kubelet retries", conf.NodeENI, network.Node, err)
		}
	}
	if err == nil {
		a.Delegate, err = conf.delegate(e, link, addresses)
	}
	if err == nil {
		err = store.Write(a)
	}
	if err != nil {
		return a, errors.Join(err, store.Release(a.ContainerID, a.Interface))
	}
	return a, nil
}

// reserve takes addresses of the first ENI that has free ones of all its families.
func reserve(store *podnetwork.Store, conf Config, network podnetwork.Network, a podnetwork.Attachment, wanted []netip.Addr) (podnetwork.ENI, []netip.Addr, error) {
	offers, refusals := offersOf(conf, network, store, wanted)
	for _, o := range offers {
		var addresses []netip.Addr
		for _, ranges := range o.ranges {
			address, err := store.Reserve(a.ContainerID, a.Interface, conf.NodeENI, ranges)
			if err != nil {
				return o.eni, nil, errors.Join(err, store.Release(a.ContainerID, a.Interface))
			}
			if address.IsValid() {
				addresses = append(addresses, address)
			}
		}
		if len(addresses) == len(o.ranges) {
			return o.eni, addresses, nil
		}
		if err := store.Release(a.ContainerID, a.Interface); err != nil {
			return o.eni, nil, err
		}
	}
	problem := "cannot provide a network for the pod"
	if len(offers) > 0 {
		problem = "has no free addresses"
		refusals = slices.Insert(refusals, 0, exhausted(offers, store.Attachments()))
	}
	return podnetwork.ENI{}, nil, tryAgain("NodeENI %s %s on node %s: %s", conf.NodeENI, problem, network.Node, strings.Join(refusals, "; "))
}

func tryAgain(format string, args ...any) error {
	return types.NewError(types.ErrTryAgainLater, fmt.Sprintf(format, args...), "")
}
