package cni

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"

	"github.com/aws-multi-eni/aws-multi-eni/internal/claimlink"
	"github.com/aws-multi-eni/aws-multi-eni/internal/claimnetwork"
	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
)

// Claim is the mode in which a pod gets the link of an ENI on demand, which it claims. No
// delegate is called, and nothing is written down but the claim's attachment: eni-dra moves
// back what the plugin moves, and moves what no network of the pod names.
const Claim = "claim"

// claims waits until eni-dra changes nothing, and returns what moves links of claims.
func (c Config) claims() (links claimlink.Mover, done func(), err error) {
	unlock, err := claimnetwork.Lock(c.ClaimsDataDir)
	if err != nil {
		return links, nil, err
	}
	host, err := netns.Open("/proc/self/ns/net")
	if err != nil {
		unlock()
		return links, nil, err
	}
	links = claimlink.Mover{Host: host, ClaimsDir: c.ClaimsDir, DataDir: c.ClaimsDataDir, SysctlDir: "/proc/sys/net"}
	return links, func() { _ = host.Close(); unlock() }, nil
}

// addClaim moves the link of an ENI that the pod claims into it.
func addClaim(conf Config, args *skel.CmdArgs) (*current.Result, error) {
	who := parseArgs(args.Args)
	pod := claimnetwork.Pod{
		Namespace: string(who.K8S_POD_NAMESPACE), Name: string(who.K8S_POD_NAME), UID: string(who.K8S_POD_UID),
		Sandbox: args.ContainerID, NetNS: args.Netns,
	}
	if pod.UID == "" {
		return nil, fmt.Errorf("network %q: CNI_ARGS has no K8S_POD_UID, by which mode %s finds the pod's claims; use a container runtime that sets it, such as containerd 1.6 or later", conf.Name, Claim)
	}
	links, done, err := conf.claims()
	if err != nil {
		return nil, err
	}
	defer done()
	attachments, unreadable := links.AttachmentsFor(pod.UID)
	a, device, err := conf.choose(attachments, pod)
	if err != nil {
		return nil, errors.Join(err, unreadable)
	}
	if err := conf.addRoutes(&a.Claim.Devices[device]); err != nil {
		return nil, err
	}
	if err := links.Attach(a, pod, &claimlink.Interface{Device: device, Name: args.IfName}); err != nil {
		return nil, fmt.Errorf("claim %s: %w", a.Claim, err)
	}
	return resultOf(a.Claim.Devices[device], args), nil
}

// choose returns a device that the pod claims, and that is not in the pod yet: the one
// that Multus names, or the first one of the NodeENI.
func (c Config) choose(attachments []claimnetwork.Attachment, pod claimnetwork.Pod) (*claimnetwork.Attachment, int, error) {
	slices.SortFunc(attachments, func(a, b claimnetwork.Attachment) int { return cmp.Compare(a.Claim.Name, b.Claim.Name) })
	claimed := false
	for i := range attachments {
		a := &attachments[i]
		for j, device := range a.Claim.Devices {
			if c.DeviceID != "" && c.DeviceID != device.Name || c.NodeENI != "" && c.NodeENI != device.NodeENI {
				continue
			}
			claimed = true
			if a.Pod == nil || a.Pod.Sandbox != pod.Sandbox || a.Pod.Interfaces[j] == "" {
				return a, j, nil
			}
		}
	}
	what := "an ENI on demand"
	if c.NodeENI != "" {
		what += " of NodeENI " + c.NodeENI
	}
	if c.DeviceID != "" {
		what += ", device " + c.DeviceID
	}
	if claimed {
		return nil, 0, fmt.Errorf("network %q: each ENI that pod %s claims is already an interface of the pod; name the network once for each claim of %s", c.Name, pod, what)
	}
	return nil, 0, tryAgain("network %q: no claim of pod %s for %s is prepared on this node; add a ResourceClaim or its extended resource to the pod, and check that eni-dra runs on the node", c.Name, pod, what)
}

// addRoutes adds the routes of the network to those of the claim.
func (c Config) addRoutes(device *claimnetwork.Device) error {
	p := &device.Parameters
	p.RouteVPC = p.RouteVPC || c.RouteVPC
	p.Routes = slices.Clone(p.Routes)
	for i, r := range c.Routes {
		dst, _ := prefixOf(r.Dst)
		if !slices.ContainsFunc(device.ENI.Addresses, func(a netip.Addr) bool { return a.Is4() == dst.Addr().Is4() }) {
			return types.NewError(types.ErrInvalidNetworkConfig,
				fmt.Sprintf("network %q: routes[%d]: %s has no address of the same family as %s", c.Name, i, device.ENI.ID, dst), "")
		}
		gateway, _ := netip.AddrFromSlice(r.GW)
		p.Routes = append(p.Routes, claimnetwork.Route{Dst: dst, GW: gateway.Unmap()})
	}
	return p.Validate()
}

func resultOf(device claimnetwork.Device, args *skel.CmdArgs) *current.Result {
	result := &current.Result{
		CNIVersion: current.ImplementedSpecVersion,
		Interfaces: []*current.Interface{{Name: args.IfName, Mac: device.ENI.MAC, Mtu: device.ENI.MTU, Sandbox: args.Netns}},
	}
	for _, address := range device.ENI.Addresses {
		gateway := net.IP(device.ENI.Gateway(address).AsSlice())
		subnet := netip.PrefixFrom(address, device.ENI.Subnet(address).Bits())
		result.IPs = append(result.IPs, &current.IPConfig{Interface: current.Int(0), Address: ipNet(subnet), Gateway: gateway})
	}
	return result
}

// attachmentOf returns the attachment that has the interface of a sandbox, and the index
// of its device.
func attachmentOf(dataDir string, args *skel.CmdArgs) (*claimnetwork.Attachment, int, error) {
	attachments, err := claimnetwork.Attachments(dataDir)
	for i, a := range attachments {
		if a.Pod != nil && a.Pod.Sandbox == args.ContainerID {
			if device := slices.Index(a.Pod.Interfaces, args.IfName); device >= 0 {
				return &attachments[i], device, nil
			}
		}
	}
	return nil, 0, cmp.Or(err, error(os.ErrNotExist))
}

// delClaim moves the links of a claim back, unless eni-dra has done so: it hears of the
// end of a sandbox first. It moves all, since a sandbox ends as a whole.
func delClaim(conf Config, args *skel.CmdArgs) error {
	links, done, err := conf.claims()
	if err != nil {
		return err
	}
	defer done()
	a, _, err := attachmentOf(conf.ClaimsDataDir, args)
	if err != nil {
		return nil // What cannot be read is eni-dra's to report.
	}
	return links.Detach(a)
}

// checkClaim finds out whether a pod's interface is the link of its ENI.
func checkClaim(conf Config, args *skel.CmdArgs) error {
	a, device, err := attachmentOf(conf.ClaimsDataDir, args)
	if err != nil {
		return fmt.Errorf("network %q: no claim found for interface %s of container %s: %w; delete the pod so that it is created again", conf.Name, args.IfName, args.ContainerID, err)
	}
	pod, err := netns.Open(args.Netns)
	if err != nil {
		return err
	}
	defer pod.Close()
	eni := a.Claim.Devices[device].ENI
	link, _, err := claimlink.Find(pod, eni.MAC)
	if err == nil && (link == nil || link.Attrs().Name != args.IfName) {
		err = fmt.Errorf("interface %s of pod %s is not the link of %s; delete the pod so that it is created again", args.IfName, a.Pod, eni.ID)
	}
	return err
}

// statusClaim says whether this node has ENIs on demand.
func statusClaim(conf Config) error {
	if _, err := os.Stat(conf.ClaimsDataDir); err != nil {
		return types.NewError(types.ErrPluginNotAvailable, fmt.Sprintf("ENIs on demand are not enabled on this node: %v; set onDemand.enabled in the Helm chart", err), "")
	}
	return nil
}
