// Package vpc carries the ENIs of a simulated VPC into network namespaces of
// the kernel: a namespace per instance, and one for the VPC with a bridge per
// subnet, the gateways' addresses and the routes between them. An attached
// ENI is a veth pair from its subnet's bridge into its instance.
//
// It implements [cloud.Fabric]. The VPC carries unicast between ENIs, answers ARP
// and neighbour solicitations, sends router advertisements and does nothing else. It
// holds each ENI to its own addresses, see [Network.Drops].
package vpc

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// mtu is the largest packet that the VPC carries.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/network_mtu.html
const mtu = 9001

// Config describes the network of a VPC.
type Config struct {
	Subnets              []cloud.Subnet
	Links                Links
	RouterAdvertisements RouterAdvertisements
}

// Network is the network of one VPC. It is safe for concurrent use.
type Network struct {
	links     Links
	discovery discovery
	router    *netns.Namespace
	rtnl      *netlink.Handle // in the router's namespace

	mu       sync.Mutex
	subnets  map[string]*subnet // by subnet id
	nodes    map[string]*node   // by instance id
	ports    map[string]*port   // by ENI id
	lastPort int
	past     map[dropKey]Drop // of ENIs that are unplugged
	failures []error          // of plugging in again

	background sync.WaitGroup
	done       chan struct{} // closed by Close
	closers    []func() error
}

var _ cloud.Fabric = (*Network)(nil)

// subnet is a bridge in the router's namespace.
type subnet struct {
	bridge  int              // ifindex
	mac     net.HardwareAddr // of the bridge
	gateway netip.Prefix     // of IPv4; not valid in an IPv6-only subnet
	ipv6    netip.Prefix     // not valid without IPv6
}

// node is an instance's namespace.
type node struct {
	ns   *netns.Namespace
	name string
}

// New makes the VPC's namespace and its bridges. It needs the privileges that
// netns.Elevate looks after.
func New(config Config) (*Network, error) {
	links, err := config.Links.withDefaults()
	if err != nil {
		return nil, err
	}
	interval, err := config.RouterAdvertisements.interval()
	if err != nil {
		return nil, err
	}
	router, err := netns.New()
	if err != nil {
		return nil, fmt.Errorf("make the VPC's namespace: %w", err)
	}
	n := &Network{
		links:     links,
		discovery: discovery{interval: interval, autonomous: config.RouterAdvertisements.Autonomous},
		router:    router,
		subnets:   make(map[string]*subnet),
		nodes:     make(map[string]*node),
		ports:     make(map[string]*port),
		past:      make(map[dropKey]Drop),
		done:      make(chan struct{}),
	}
	if err := n.setUp(config.Subnets); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

func (n *Network) setUp(subnets []cloud.Subnet) error {
	var err error
	if n.rtnl, err = n.router.Netlink(); err != nil {
		return fmt.Errorf("open netlink in the VPC's namespace: %w", err)
	}
	forwarding := []string{"net/ipv4/ip_forward"}
	if slices.ContainsFunc(subnets, func(s cloud.Subnet) bool { return s.IPv6CIDR.IsValid() }) {
		forwarding = append(forwarding, "net/ipv6/conf/all/forwarding")
	}
	if err := n.router.Do(func() error { return becomeRouter(forwarding) }); err != nil {
		return err
	}
	for i, s := range subnets {
		if err := n.addSubnet(i, s); err != nil {
			return fmt.Errorf("subnet %s: %w", s.ID, err)
		}
	}
	if err := n.filter(newFilter); err != nil {
		return err
	}
	return n.watchPorts()
}

// becomeRouter sets the sysctls of the calling thread's namespace.
func becomeRouter(forwarding []string) error {
	for _, on := range forwarding {
		if err := os.WriteFile(path.Join("/proc/sys", on), []byte("1"), 0); err != nil {
			return fmt.Errorf("turn forwarding on in the VPC's namespace: %w", err)
		}
	}
	for _, off := range []string{
		// EC2's router sends no redirects.
		"net/ipv4/conf/all/send_redirects",
		"net/ipv4/conf/default/send_redirects",
		// Not on every kernel, and not settable on some older ones; the
		// namespace has no iptables rules that could interfere.
		"net/bridge/bridge-nf-call-iptables",
		"net/bridge/bridge-nf-call-ip6tables",
		"net/bridge/bridge-nf-call-arptables",
	} {
		_ = os.WriteFile(path.Join("/proc/sys", off), []byte("0"), 0)
	}
	return nil
}

func (n *Network) addSubnet(index int, s cloud.Subnet) error {
	if _, twice := n.subnets[s.ID]; twice {
		return errors.New("listed twice")
	}
	added := &subnet{
		// An address of its own, because a bridge without one takes over that
		// of a port, and changes it when the port goes.
		mac:  net.HardwareAddr{0x0e, 0xff, 0, 0, byte(index >> 8), byte(index)},
		ipv6: s.IPv6CIDR,
	}
	if !s.IPv6Native {
		if !s.CIDR.IsValid() || !s.CIDR.Addr().Is4() || s.CIDR.Bits() > 28 {
			return fmt.Errorf("%s is not an IPv4 range of at least 16 addresses", s.CIDR)
		}
		added.gateway = netip.PrefixFrom(s.CIDR.Masked().Addr().Next(), s.CIDR.Bits())
	}
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: fmt.Sprintf("br%d", index), HardwareAddr: added.mac, MTU: mtu}}
	if err := n.rtnl.LinkAdd(bridge); err != nil {
		return fmt.Errorf("make the bridge: %w", err)
	}
	if err := n.rtnl.LinkSetAlias(bridge, s.ID); err != nil {
		return fmt.Errorf("name the bridge: %w", err)
	}
	if added.gateway.IsValid() {
		if err := n.rtnl.AddrAdd(bridge, &netlink.Addr{IPNet: ipNet(added.gateway)}); err != nil {
			return fmt.Errorf("give the bridge the gateway's address %s: %w", added.gateway, err)
		}
	}
	if err := n.rtnl.LinkSetUp(bridge); err != nil {
		return fmt.Errorf("set the bridge up: %w", err)
	}
	added.bridge = bridge.Attrs().Index
	n.subnets[s.ID] = added
	if !added.ipv6.IsValid() {
		return nil
	}
	return n.addIPv6(added)
}

// addIPv6 makes the bridge the router of an IPv6 range. It has no address in it, as
// in EC2.
func (n *Network) addIPv6(s *subnet) error {
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Index: s.bridge}}
	own := &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(gateway6, 128)), Flags: unix.IFA_F_NODAD}
	if err := n.rtnl.AddrAdd(bridge, own); err != nil {
		return fmt.Errorf("give the bridge the gateway's address %s: %w", gateway6, err)
	}
	if err := n.rtnl.RouteAdd(&netlink.Route{LinkIndex: s.bridge, Dst: ipNet(s.ipv6)}); err != nil {
		return fmt.Errorf("add the route to %s: %w", s.ipv6, err)
	}
	return n.discover(s)
}

// AddInstance makes the instance's namespace.
func (n *Network) AddInstance(instance cloud.Instance) error {
	ns, err := netns.New()
	if err != nil {
		return fmt.Errorf("instance %s: %w", instance.ID, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed() || n.nodes[instance.ID] != nil {
		return errors.Join(fmt.Errorf("instance %s has a namespace already, or the network is closed", instance.ID), ns.Close())
	}
	n.nodes[instance.ID] = &node{ns: ns, name: instance.Name}
	return nil
}

// RemoveInstance lets go of the instance's namespace. Processes in it keep it
// alive, without its ENIs.
func (n *Network) RemoveInstance(instanceID string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	node := n.nodes[instanceID]
	if node == nil {
		return nil
	}
	var errs []error
	for eniID, p := range n.ports {
		if p.instanceID == instanceID {
			errs = append(errs, n.unplug(eniID))
		}
	}
	delete(n.nodes, instanceID)
	return errors.Join(append(errs, node.ns.Close())...)
}

// Namespace returns the namespace of an instance. It belongs to the network,
// which closes it with RemoveInstance or Close.
func (n *Network) Namespace(instanceID string) (*netns.Namespace, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	node := n.nodes[instanceID]
	if node == nil {
		return nil, false
	}
	return node.ns, true
}

// Router returns the namespace with the VPC's bridges and gateways.
func (n *Network) Router() *netns.Namespace { return n.router }

func (n *Network) closed() bool {
	select {
	case <-n.done:
		return true
	default:
		return false
	}
}

// Close takes the network down. The kernel removes the links with the
// namespaces, a moment later.
func (n *Network) Close() error {
	n.mu.Lock()
	if n.closed() {
		n.mu.Unlock()
		return nil
	}
	close(n.done)
	var errs []error
	for _, stop := range n.closers {
		errs = append(errs, stop())
	}
	n.mu.Unlock()
	n.background.Wait()

	n.mu.Lock()
	defer n.mu.Unlock()
	errs = append(errs, n.failures...)
	for id, node := range n.nodes {
		errs = append(errs, node.ns.Close())
		delete(n.nodes, id)
	}
	if n.rtnl != nil {
		n.rtnl.Close()
	}
	return errors.Join(append(errs, n.router.Close())...)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// Links says how the links of ENIs look on an instance.
type Links struct {
	// Names is the pattern of the links' names: "eth%d" (default), "ens%d",
	// "enX%d" and so on, at most 12 characters.
	Names string `json:"names,omitempty"`
	// First is the number of the primary ENI's link: 0 for eth0 (default), 5
	// for the ens5 of a Nitro instance. The link of device index n gets
	// First+n, or the next number that is free.
	First int `json:"first,omitempty"`
	// Rename lets links appear as eth%d and renames them a moment later, as
	// udev does.
	Rename bool `json:"rename,omitempty"`
	// MTU of a new link in bytes, 68 to 9001 (default 9001).
	MTU int `json:"mtu,omitempty"`
}

func (l Links) withDefaults() (Links, error) {
	if l.Names == "" {
		l.Names = kernelNames
	}
	if l.MTU == 0 {
		l.MTU = mtu
	}
	prefix, ok := strings.CutSuffix(l.Names, "%d")
	switch {
	case !ok || prefix == "" || len(prefix) > 10 || strings.ContainsAny(prefix, "%/: \t\n"):
		return l, fmt.Errorf(`link names %q: must be at most 10 characters without space, "/", ":" and "%%", and then "%%d"`, l.Names)
	case l.First < 0 || l.First > 100:
		return l, fmt.Errorf("first link number %d: must be 0 to 100", l.First)
	case l.MTU < 68 || l.MTU > mtu:
		return l, fmt.Errorf("link MTU %d: must be 68 to %d", l.MTU, mtu)
	}
	return l, nil
}
