package dra

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/containerd/nri/pkg/adaptation"
	"github.com/containerd/nri/pkg/api"
	"github.com/vishvananda/netlink"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	drapb "k8s.io/kubelet/pkg/apis/dra/v1"
	registerpb "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

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
	os.Exit(m.Run())
}

// node is a node with two ENIs in a VPC, a kubelet's side of the plugin, and a runtime's
// side of NRI, which is the code that containerd has.
type node struct {
	testing.TB
	host, vpc *netns.Namespace
	cfg       Config
	*Driver
	stop func() // of the running Driver

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
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Patience: patience,
		ClaimsDir: filepath.Join(dir, "claims"), DataDir: filepath.Join(dir, "data"), SysctlDir: "/proc/sys/net",
		KubeletDir: filepath.Join(dir, "kubelet"), NRISocket: filepath.Join(dir, "nri.sock"),
	}
	for i := range 2 {
		n.plug(i)
	}
	n.Driver = New(n.cfg, n.host)
	n.setOffline(nil)
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

// run runs the Driver of this node until stop.
func (n *node) run() {
	n.Helper()
	ctx, cancel := context.WithCancel(n.Context())
	n.Driver = New(n.cfg, n.host)
	done := make(chan error)
	d := n.Driver
	go func() { done <- d.Run(ctx) }()
	n.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			n.Errorf("it ends with %v", err)
		}
	})
	n.Cleanup(n.stop)
}

// startRuntime has the runtime listen for plugins.
func (n *node) startRuntime() {
	n.Helper()
	synchronize := func(ctx context.Context, callback adaptation.SyncCB) error {
		n.mu.Lock()
		defer n.mu.Unlock()
		_, err := callback(ctx, slices.Clone(n.sandboxes), nil)
		return err
	}
	update := func(context.Context, []*adaptation.ContainerUpdate) ([]*adaptation.ContainerUpdate, error) {
		return nil, nil
	}
	adaptation.SetPluginRequestTimeout(time.Minute) // the machine may be busy
	socket := filepath.Join(n.TempDir(), "nri.sock")
	runtime, err := adaptation.New("containerd", "2.4.2", synchronize, update, adaptation.WithSocketPath(socket),
		adaptation.WithPluginPath(n.TempDir()), adaptation.WithPluginConfigPath(n.TempDir()))
	n.must(err)
	n.must(runtime.Start())
	cut := n.forward(n.cfg.NRISocket, socket)
	n.runtime = runtime
	n.stopRuntime = sync.OnceFunc(func() {
		cut()
		runtime.Stop()
	})
	n.Cleanup(n.stopRuntime)
}

// forward forwards connections from one socket to the other until it is cut: the library
// closes no connections, as a process does that ends.
func (n *node) forward(from, to string) (cut func()) {
	n.Helper()
	listener, err := new(net.ListenConfig).Listen(n.Context(), "unix", from)
	n.must(err)
	ctx, cancel := context.WithCancel(n.Context())
	context.AfterFunc(ctx, func() { _ = listener.Close() })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := new(net.Dialer).DialContext(ctx, "unix", to)
			if err != nil {
				_ = client.Close()
				continue
			}
			context.AfterFunc(ctx, func() { _, _ = client.Close(), server.Close() })
			go func() { _, _ = io.Copy(client, server) }()
			go func() { _, _ = io.Copy(server, client) }()
		}
	}()
	return cancel
}

// runPod makes a pod as the runtime does: the plugins hear of it, and can refuse it.
func (n *node) runPod(pod claimnetwork.Pod) error {
	s := sandboxOf(pod)
	if err := n.runtime.RunPodSandbox(n.Context(), &adaptation.RunPodSandboxRequest{Pod: s}); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sandboxes = append(n.sandboxes, s)
	return nil
}

// forget removes a sandbox from the runtime's list, without a plugin hearing of it.
func (n *node) forget(pod claimnetwork.Pod) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sandboxes = slices.DeleteFunc(n.sandboxes, func(s *api.PodSandbox) bool { return s.Id == pod.Sandbox })
}

func sandboxOf(pod claimnetwork.Pod) *api.PodSandbox {
	s := &api.PodSandbox{Id: pod.Sandbox, Namespace: pod.Namespace, Name: pod.Name, Uid: pod.UID, Linux: &api.LinuxPodSandbox{}}
	if pod.NetNS != "" {
		s.Linux.Namespaces = []*api.LinuxNamespace{{Type: "network", Path: pod.NetNS}}
	}
	return s
}

// eventually waits until it holds.
func (n *node) eventually(what string, holds func() bool) {
	n.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			n.Fatalf("never: %s", what)
		}
	}
}

// kubelet finds the plugin by its registration, as the kubelet does.
func (n *node) kubelet() drapb.DRAPluginClient {
	n.Helper()
	socket := filepath.Join(n.cfg.KubeletDir, "plugins_registry", claimnetwork.Driver+"-reg.sock")
	registration := registerpb.NewRegistrationClient(n.dial(socket))
	info, err := registration.GetInfo(n.Context(), new(registerpb.InfoRequest), grpc.WaitForReady(true))
	n.must(err)
	if info.Type != "DRAPlugin" || info.Name != "eni.networking.k8s.aws" || !slices.Equal(info.SupportedVersions, []string{"v1.DRAPlugin"}) {
		n.Fatalf("it registers %v", info)
	}
	_, err = registration.NotifyRegistrationStatus(n.Context(), &registerpb.RegistrationStatus{PluginRegistered: true})
	n.must(err)
	return drapb.NewDRAPluginClient(n.dial(info.Endpoint))
}

func (n *node) dial(socket string) *grpc.ClientConn {
	n.Helper()
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	n.must(err)
	n.Cleanup(func() { _ = conn.Close() })
	return conn
}
