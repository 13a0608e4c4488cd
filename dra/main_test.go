package dra

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/containerd/nri/pkg/adaptation"
	"github.com/containerd/nri/pkg/api"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/vishvananda/netlink"
	"google.golang.org/grpc"

	"github.com/aws-multi-eni/aws-multi-eni/internal/claimlink"
	"github.com/aws-multi-eni/aws-multi-eni/internal/claimnetwork"
	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
	"github.com/aws-multi-eni/aws-multi-eni/internal/podnetwork"
)

func TestMain(m *testing.M) {
	if err := netns.Elevate(netns.Elevation{PrivateNetwork: true}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	adaptation.SetPluginRequestTimeout(time.Minute) // containerd waits 2 s, too short for a busy machine
	status := m.Run()
	_ = os.RemoveAll(bin)
	os.Exit(status)
}

// node is a node with two ENIs in a VPC, a kubelet's side of the plugin, and a runtime's
// side of NRI, which is the code that containerd has.
type node struct {
	testing.TB
	host, vpc *netns.Namespace
	cfg       Config
	*Driver
	stop   func()           // of the running Driver
	plugin *grpc.ClientConn // of the kubelet to it

	mu        sync.Mutex
	sandboxes []*api.PodSandbox
	runtime   *adaptation.Adaptation
	// stopRuntime ends it as a crash does.
	stopRuntime func()
}

const patience = 500 * time.Millisecond

func newNode(t testing.TB) *node {
	t.Helper()
	n := &node{TB: t, host: newNamespace(t), vpc: newNamespace(t), stop: func() {}}
	dir := t.TempDir()
	n.cfg = Config{
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Metrics: NewMetrics(prometheus.NewRegistry()), Patience: patience,
		ClaimsDir: filepath.Join(dir, "claims"), DataDir: filepath.Join(dir, "data"), SysctlDir: "/proc/sys/net",
		KubeletDir: filepath.Join(dir, "kubelet"), NRISocket: filepath.Join(dir, "nri.sock"),
	}
	for i := range 2 {
		n.plug(i)
	}
	n.Driver = New(n.cfg, n.host)
	n.setRuntime(nil)
	return n
}

func newNamespace(t testing.TB) *netns.Namespace {
	t.Helper()
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ns.Close() })
	return ns
}

func (n *node) must(err error) {
	n.Helper()
	if err != nil {
		n.Fatal(err)
	}
}

func macOf(i int) string { return fmt.Sprintf("02:00:00:00:00:%02x", i+1) }

// plug attaches ENI i: its link is up in the host, and the router of its subnet, which has
// a neighbor 10.0.9.9 behind it, is at the other end.
func (n *node) plug(i int) {
	n.Helper()
	mac, err := net.ParseMAC(macOf(i))
	n.must(err)
	peer := fmt.Sprintf("vpc%d", i)
	n.must(n.vpc.With(func(fd int) error {
		return n.host.Do(func() error {
			link := &netlink.Veth{
				LinkAttrs: netlink.LinkAttrs{Name: fmt.Sprintf("ens%d", i+6), MTU: 1500, HardwareAddr: mac},
				PeerName:  peer, PeerNamespace: netlink.NsFd(fd),
			}
			if err := netlink.LinkAdd(link); err != nil {
				return err
			}
			return netlink.LinkSetUp(link)
		})
	}))
	n.must(n.vpc.Do(func() error {
		link, err := netlink.LinkByName(peer)
		if err != nil {
			return err
		}
		for _, address := range []string{fmt.Sprintf("10.0.%d.1/24", i), fmt.Sprintf("2001:db8:0:%d::1/64", i), "fe80:ec2::1/64"} {
			a, err := netlink.ParseAddr(address)
			if err != nil {
				return err
			}
			a.Flags = 0x02 // IFA_F_NODAD
			if err := netlink.AddrAdd(link, a); err != nil {
				return err
			}
		}
		return errors.Join(netlink.LinkSetMTU(link, 9001), netlink.LinkSetUp(link))
	}))
}

// offered is what the agent writes of a claim for ENI i.
func offered(uid string, i int, pods ...string) claimnetwork.Claim {
	return claimnetwork.Claim{
		UID: uid, Namespace: "default", Name: "claim-" + uid, Node: "n1", Pods: pods,
		Devices: []claimnetwork.Device{{
			Name: fmt.Sprintf("appliance-%d", i), NodeENI: "appliance",
			ENI: podnetwork.ENI{
				ID: fmt.Sprintf("eni-%d", i), Ready: true, MAC: macOf(i), Link: fmt.Sprintf("ens%d", i+6), MTU: 1400,
				Addresses:    []netip.Addr{netip.MustParseAddr(fmt.Sprintf("10.0.%d.5", i)), netip.MustParseAddr(fmt.Sprintf("2001:db8:0:%d::5", i))},
				Subnets:      []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("10.0.%d.0/24", i)), netip.MustParsePrefix(fmt.Sprintf("2001:db8:0:%d::/64", i))},
				Gateways:     []netip.Addr{netip.MustParseAddr(fmt.Sprintf("10.0.%d.1", i)), netip.MustParseAddr("fe80:ec2::1")},
				OtherSubnets: []netip.Prefix{netip.MustParsePrefix("10.0.9.0/24"), netip.MustParsePrefix("2001:db8:0:9::/64")},
				VPC:          []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")},
			},
		}},
	}
}

func (n *node) offer(c claimnetwork.Claim) {
	n.Helper()
	n.must(claimnetwork.Write(n.cfg.ClaimsDir, c))
}

func ref(uid string) claimRef { return claimRef{"default", "claim-" + uid, uid} }

func (n *node) prepare(uid string) error {
	ctx, cancel := context.WithTimeout(n.Context(), patience)
	defer cancel()
	_, err := n.Driver.prepare(ctx, ref(uid))
	return err
}

// sandbox makes a pod's sandbox with its first interface. The path is in a directory as
// /run/netns is one.
func (n *node) sandbox(id, podUID string) (claimnetwork.Pod, *netns.Namespace) {
	n.Helper()
	ns := newNamespace(n)
	dir := filepath.Join(filepath.Dir(n.cfg.DataDir), "netns")
	n.must(os.MkdirAll(dir, 0o755))
	path := filepath.Join(dir, id)
	n.must(os.Symlink(ns.Path(), path))
	n.must(ns.Do(func() error {
		link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "peer"}
		return errors.Join(netlink.LinkAdd(link), netlink.LinkSetUp(link))
	}))
	return claimnetwork.Pod{Namespace: "default", Name: "pod-" + podUID, UID: podUID, Sandbox: id, NetNS: path}, ns
}

// end removes a sandbox and all that is in it, as when the runtime has crashed amidst.
func (n *node) end(pod claimnetwork.Pod, ns *netns.Namespace) {
	n.Helper()
	n.must(os.Remove(pod.NetNS))
	n.must(ns.Close())
}

// where is the name that ENI i's link has in a namespace, "" when it is not there.
func (n *node) where(ns *netns.Namespace, i int) string {
	n.Helper()
	link, _, err := claimlink.Find(ns, macOf(i))
	n.must(err)
	if link == nil {
		return ""
	}
	return link.Attrs().Name
}

func (n *node) expect(ns *netns.Namespace, i int, name string) {
	n.Helper()
	if is := n.where(ns, i); is != name {
		n.Errorf("the link of ENI %d is %q, want %q", i, is, name)
	}
}

// attachment is the pod that has the claim's links as the agent learns it: "" when the
// links are on the host, - when the claim is not prepared.
func (n *node) attachment(uid string) string {
	n.Helper()
	a, err := claimnetwork.ReadAttachment(n.cfg.DataDir, uid)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return "-"
	case err != nil:
		n.Fatal(err)
	case a.InPod() == nil:
		return ""
	}
	return a.Pod.Sandbox
}
