package cni

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"

	"github.com/aws-multi-eni/aws-multi-eni/internal/cnitest"
	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
	"github.com/aws-multi-eni/aws-multi-eni/internal/podnetwork"
)

// bin has the plugins.
var bin string

func TestMain(m *testing.M) {
	if err := netns.Elevate(netns.Elevation{PrivateNetwork: true}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	dir, err := os.MkdirTemp("", "cni")
	if err == nil {
		err = cnitest.Build(context.Background(), dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	bin = dir
	status := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(status)
}

// node is a node with a runtime, and one ENI, eth1.
type node struct {
	testing.TB
	*cnitest.Runtime
	ns            *netns.Namespace
	networks, dir string
	fields        map[string]any // more of the configuration
	after         []map[string]any
}

const mac = "02:00:00:00:00:01"

func newNode(t testing.TB) *node {
	t.Helper()
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	n := &node{TB: t, ns: ns, networks: t.TempDir(), dir: t.TempDir(), fields: map[string]any{"mode": "ptp"}}
	n.Runtime = cnitest.NewRuntime(ns, bin, t.TempDir())
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
		if err := ns.Close(); err != nil {
			t.Error(err)
		}
	})
	n.must(ns.Do(func() error {
		hardware, err := net.ParseMAC(mac)
		if err != nil {
			return err
		}
		link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth1", MTU: 9001, HardwareAddr: hardware}, PeerName: "vpc1"}
		if err := netlink.LinkAdd(link); err != nil {
			return err
		}
		return netlink.LinkSetUp(link)
	}))
	return n
}

func (n *node) must(err error) {
	n.Helper()
	if err != nil {
		n.Fatal(err)
	}
}

func (n *node) list(name string) *libcni.NetworkConfigList {
	n.Helper()
	first := map[string]any{
		"type": "eni", "nodeENI": "storage", "networksDir": n.networks, "dataDir": n.dir, "capabilities": map[string]bool{"ips": true},
	}
	for field, value := range n.fields {
		first[field] = value
	}
	content, err := json.Marshal(map[string]any{"cniVersion": "1.1.0", "name": name, "plugins": append([]map[string]any{first}, n.after...)})
	n.must(err)
	list, err := libcni.NetworkConfFromBytes(content)
	n.must(err)
	return list
}

// add makes a pod with an interface in the network storage.
func (n *node) add(containerID string, ips ...string) (*current.Result, error) {
	n.Helper()
	if _, _, err := n.Sandbox(containerID); err != nil {
		n.Fatal(err)
	}
	return n.attach(containerID, ips...)
}

func (n *node) attach(containerID string, ips ...string) (*current.Result, error) {
	n.Helper()
	result, err := n.AddNetworkList(n.Context(), n.list("storage"), n.Attachment(containerID, "net1", ips...))
	if err != nil {
		return nil, err
	}
	return current.NewResultFromResult(result)
}

func (n *node) del(containerID string) error {
	n.Helper()
	return n.DelNetworkList(n.Context(), n.list("storage"), n.Attachment(containerID, "net1"))
}

func (n *node) gc(valid ...string) error {
	n.Helper()
	args := &libcni.GCArgs{ValidAttachments: []types.GCAttachment{}}
	for _, containerID := range valid {
		args.ValidAttachments = append(args.ValidAttachments, types.GCAttachment{ContainerID: containerID, IfName: "net1"})
	}
	return n.GCNetworkList(n.Context(), n.list("storage"), args)
}

// offer writes the file of NodeENI storage.
func (n *node) offer(enis ...podnetwork.ENI) {
	n.Helper()
	n.must(podnetwork.Write(n.networks, podnetwork.Network{NodeENI: "storage", Node: "n1", ENIs: enis}))
}

// eniOf is an ENI of the node that has these ranges.
func eniOf(ranges ...string) podnetwork.ENI {
	e := podnetwork.ENI{
		ID: "eni-1", Ready: true, MAC: mac, Link: "eth1", MTU: 9001,
		Addresses:    []netip.Addr{netip.MustParseAddr("10.0.0.4"), netip.MustParseAddr("2001:db8:0:1::4")},
		Subnets:      []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("2001:db8:0:1::/64")},
		Gateways:     []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fe80:ec2::1")},
		OtherSubnets: []netip.Prefix{netip.MustParsePrefix("10.0.1.0/24"), netip.MustParsePrefix("2001:db8:0:2::/64")},
		VPC:          []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16"), netip.MustParsePrefix("2001:db8::/56")},
	}
	for _, r := range ranges {
		e.Ranges = append(e.Ranges, netip.MustParsePrefix(r))
	}
	return e
}

// store is what the node has below dir, apart from what host-local reserved last.
func (n *node) store() []string {
	n.Helper()
	var files []string
	for _, dir := range []string{"attachments", "addresses"} {
		entries, err := os.ReadDir(filepath.Join(n.dir, dir))
		n.must(err)
		for _, entry := range entries {
			if name := entry.Name(); name != "lock" && filepath.Ext(name) != ".4" && filepath.Ext(name) != ".6" {
				files = append(files, name)
			}
		}
	}
	return files
}
