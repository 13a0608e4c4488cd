package vpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

func TestPrimaryIsConfigured(t *testing.T) {
	for _, test := range []struct {
		links Links
		name  string
	}{
		{Links{}, "eth0"},
		{Links{Names: "ens%d", First: 5}, "ens5"},
		{Links{Names: "ens%d", First: 5, Rename: true}, "ens5"},
	} {
		n := newNetwork(t, test.links)
		ns := addNode(t, n, "i-1", "10.0.1.10")
		var got []string
		inside(t, ns, func(rtnl *netlink.Handle) error {
			link, err := rtnl.LinkByName(test.name)
			if err != nil {
				return err
			}
			routes, err := rtnl.RouteList(link, netlink.FAMILY_V4)
			for _, r := range routes {
				got = append(got, fmt.Sprintf("%s via %v src %s metric %d", r.Dst, r.Gw, r.Src, r.Priority))
			}
			return err
		})
		slices.Sort(got)
		want := []string{
			"0.0.0.0/0 via 10.0.1.1 src 10.0.1.10 metric 512",
			"10.0.1.0/24 via <nil> src 10.0.1.10 metric 512",
		}
		if !slices.Equal(got, want) {
			t.Errorf("%+v: routes\n%s\nwant\n%s", test.links, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

func TestPingBetweenNodes(t *testing.T) {
	n := newNetwork(t, Links{})
	one := addNode(t, n, "i-1", "10.0.1.10")
	two := addNode(t, n, "i-2", "10.0.1.20")   // same subnet
	three := addNode(t, n, "i-3", "10.0.2.30") // another one
	echo(t, two, "10.0.1.20")
	echo(t, three, "10.0.2.30")
	for _, to := range []string{"10.0.1.20", "10.0.2.30"} {
		for _, size := range []int{10, mtu - 28} {
			if err := ping(one, "10.0.1.10", to, size, patience); err != nil {
				t.Errorf("%d bytes: %v", size, err)
			}
		}
	}
	wantNoDrops(t, n)
}

func TestHotPlug(t *testing.T) {
	n := newNetwork(t, Links{MTU: 1500})
	ns := addNode(t, n, "i-1", "10.0.1.10")
	updates, stop := make(chan netlink.LinkUpdate, 64), make(chan struct{})
	defer close(stop)
	if err := ns.Do(func() error { return netlink.LinkSubscribe(updates, stop) }); err != nil {
		t.Fatal(err)
	}
	e := eni("10.0.2.11", 1)
	plug(t, n, "i-1", e)
	seen := <-updates
	for seen.Attrs().Name == "eth0" { // the primary's carrier may be announced late
		seen = <-updates
	}
	attrs := seen.Attrs()
	if seen.Header.Type != unix.RTM_NEWLINK || attrs.Name != "eth1" || attrs.HardwareAddr.String() != e.MAC ||
		attrs.MTU != 1500 || attrs.Flags&net.FlagUp != 0 {
		t.Errorf("first event: type %d, %+v", seen.Header.Type, attrs)
	}
	inside(t, ns, func(rtnl *netlink.Handle) error {
		addrs, err := rtnl.AddrList(seen.Link, netlink.FAMILY_ALL)
		if len(addrs) != 0 {
			t.Errorf("a new link has addresses: %v", addrs)
		}
		return err
	})
	if err := n.Plug("i-1", e); err == nil {
		t.Error("an ENI can be plugged in twice")
	}

	if err := n.Unplug("i-1", e.ID); err != nil {
		t.Fatal(err)
	}
	for seen.Header.Type != unix.RTM_DELLINK {
		seen = <-updates
	}
	if seen.Attrs().HardwareAddr.String() != e.MAC {
		t.Errorf("%s disappeared, want %s", seen.Attrs().HardwareAddr, e.MAC)
	}
	if err := n.Unplug("i-1", e.ID); err != nil {
		t.Errorf("second Unplug: %v", err)
	}
	plug(t, n, "i-1", e) // once more, without a trace of the first time
}

func TestLinkNames(t *testing.T) {
	mac := func(e cloud.Interface) string { return e.MAC }
	first, second := eni("10.0.2.11", 1), eni("10.0.2.12", 2)
	for _, test := range []struct {
		name  string
		links Links
		taken string // a link that is there before
		want  map[string]string
	}{
		{"kernel", Links{}, "", map[string]string{"eth1": mac(first), "eth2": mac(second)}},
		{"nitro", Links{Names: "ens%d", First: 5}, "", map[string]string{"ens6": mac(first), "ens7": mac(second)}},
		{"udev", Links{Names: "ens%d", First: 5, Rename: true}, "", map[string]string{"ens6": mac(first), "ens7": mac(second)}},
		{"taken", Links{}, "eth1", map[string]string{"eth2": mac(first), "eth3": mac(second)}},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := newNetwork(t, test.links)
			ns := addNode(t, n, "i-1", "10.0.1.10")
			if test.taken != "" {
				inside(t, ns, func(rtnl *netlink.Handle) error {
					return rtnl.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: test.taken}})
				})
			}
			plug(t, n, "i-1", first)
			plug(t, n, "i-1", second)
			for name, want := range test.want {
				eventually(t, name+" is "+want, func() bool {
					var got string
					_ = ns.Do(func() error {
						link, err := netlink.LinkByName(name)
						if err == nil {
							got = link.Attrs().HardwareAddr.String()
						}
						return nil
					})
					return got == want
				})
			}
		})
	}
}

func TestForward(t *testing.T) {
	n := newNetwork(t, Links{})
	ns := addNode(t, n, "i-1", "10.0.2.10")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			request, _ := io.ReadAll(conn) // until the client closes its half
			_, _ = fmt.Fprintf(conn, "you said %q", request)
			_ = conn.Close()
		}
	}()
	service := netip.MustParseAddrPort("192.0.2.1:80")
	if err := n.Forward(service, listener.Addr().String()); err != nil {
		t.Fatal(err)
	}
	conn, err := ns.DialContext(context.Background(), "tcp", service.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "hello")
	_ = conn.(*net.TCPConn).CloseWrite()
	if answer, err := io.ReadAll(conn); err != nil || string(answer) != `you said "hello"` {
		t.Errorf("answer %q, %v", answer, err)
	}
	if err := n.Forward(netip.MustParseAddrPort("192.0.2.1:81"), "nowhere"); err == nil {
		t.Error("a target without port is accepted")
	}
}

// namespaces counts the descriptors of network namespaces that this process
// holds.
func namespaces(t *testing.T) int {
	t.Helper()
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, fd := range fds {
		if target, _ := os.Readlink(fd); strings.HasPrefix(target, "net:[") {
			count++
		}
	}
	return count
}

func TestCloseLeavesNothing(t *testing.T) {
	before := namespaces(t)
	n := newNetwork(t, Links{Names: "ens%d", Rename: true})
	ns := addNode(t, n, "i-1", "10.0.1.10")
	plug(t, n, "i-1", eni("10.0.2.11", 1))
	if err := n.Forward(netip.MustParseAddrPort("192.0.2.1:80"), "127.0.0.1:9"); err != nil {
		t.Fatal(err)
	}
	if got := namespaces(t); got != before+2 {
		t.Errorf("%d namespaces, want %d", got, before+2)
	}
	// What stays in the node's namespace, a process for example, keeps it but
	// not the links.
	socket, err := ns.Listen(context.Background(), "tcp", "127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	var rtnl *netlink.Handle
	if rtnl, err = ns.Netlink(); err != nil {
		t.Fatal(err)
	}
	defer rtnl.Close()
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if got := namespaces(t); got != before {
		t.Errorf("%d namespaces are left, want %d", got, before)
	}
	eventually(t, "only lo is left in the node's namespace", func() bool {
		links, err := rtnl.LinkList()
		return err == nil && len(links) == 1
	})
	if err := n.AddInstance(cloud.Instance{ID: "i-2"}); err == nil {
		t.Error("a closed network takes instances")
	}
}

func TestRemoveInstance(t *testing.T) {
	before := namespaces(t)
	n := newNetwork(t, Links{})
	addNode(t, n, "i-1", "10.0.1.10")
	plug(t, n, "i-1", eni("10.0.2.11", 1))
	for range 2 {
		if err := n.RemoveInstance("i-1"); err != nil {
			t.Fatal(err)
		}
	}
	if _, ok := n.Namespace("i-1"); ok || namespaces(t) != before+1 {
		t.Error("the instance's namespace is still there")
	}
	addNode(t, n, "i-1", "10.0.1.10") // everything is free again
}

func TestConfigErrors(t *testing.T) {
	subnet := func(id, cidr string) cloud.Subnet {
		return cloud.Subnet{ID: id, CIDR: netip.MustParsePrefix(cidr)}
	}
	for want, config := range map[string]Config{
		"link names":        {Links: Links{Names: "eth"}},
		"at most 10":        {Links: Links{Names: "averylongname%d"}},
		"first link number": {Links: Links{First: -1}},
		"link MTU 9216":     {Links: Links{MTU: 9216}},
		"1ms or more":       {RouterAdvertisements: RouterAdvertisements{Interval: "0s"}},
		"listed twice":      {Subnets: []cloud.Subnet{subnet("subnet-a", "10.0.1.0/24"), subnet("subnet-a", "10.0.2.0/24")}},
		"IPv4 range":        {Subnets: []cloud.Subnet{subnet("subnet-a", "fd00::/64")}},
	} {
		before := namespaces(t)
		if _, err := New(config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New = %v, want an error with %q", err, want)
		}
		if namespaces(t) != before {
			t.Errorf("%s: a failed New leaves a namespace behind", want)
		}
	}
}

// A node can do to its end of a veth pair what it cannot do to a device, and so can a pod
// that takes it along when it ends. The link comes back to the node, and carries packets.
func TestLinkDeletedOnTheNode(t *testing.T) {
	for name, remove := range map[string]func(*netlink.Handle, netlink.Link) error{
		"deleted": func(rtnl *netlink.Handle, link netlink.Link) error { return rtnl.LinkDel(link) },
		"in a namespace that ends": func(rtnl *netlink.Handle, link netlink.Link) error {
			pod, err := netns.New()
			if err != nil {
				return err
			}
			err = pod.With(func(fd int) error { return rtnl.LinkSetNsFd(link, fd) })
			return errors.Join(err, pod.Close())
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNetwork(t, Links{})
			ns, other := addNode(t, n, "i-1", "10.0.1.10"), addNode(t, n, "i-2", "10.0.1.20")
			e := eni("10.0.2.11", 1)
			plug(t, n, "i-1", e)
			inside(t, ns, func(rtnl *netlink.Handle) error {
				link, err := rtnl.LinkByName("eth1")
				if err != nil {
					return err
				}
				return errors.Join(remove(rtnl, link), awaitAnother(rtnl, link, e.MAC))
			})
			configure(t, ns, "eth1", "10.0.2.11")
			routeBySource(t, ns, "eth1", "10.0.2.11", "10.0.2.1")
			echo(t, ns, "10.0.2.11")
			if err := ping(other, "10.0.1.20", "10.0.2.11", 100, patience); err != nil {
				t.Error(err)
			}
			if err := n.Unplug("i-1", e.ID); err != nil {
				t.Fatal(err)
			}
			plug(t, n, "i-1", e)
		})
	}
}

// awaitAnother waits until another link has the name of one that is gone, and the MAC.
func awaitAnother(rtnl *netlink.Handle, gone netlink.Link, mac string) error {
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		link, err := rtnl.LinkByName(gone.Attrs().Name)
		if err == nil && link.Attrs().Index != gone.Attrs().Index && link.Attrs().HardwareAddr.String() == mac {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s does not come back: %w", gone.Attrs().Name, err)
		}
	}
}
