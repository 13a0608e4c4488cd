package hostnet

import (
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestConfigureDualStack(t *testing.T) {
	n := newNode(t)
	n.primary("10.0.1.5/24")
	n.primary6("2001:db8:1::5") // the ENI is in the same subnet
	w := dual(t)
	n.plug("ens6", w.MAC)
	const bare = `
# ip -br addr
lo               UNKNOWN  mtu 65536 127.0.0.1/8
eth0             UP       mtu 1500 02:00:00:00:00:00 10.0.1.5/24 2001:db8:1::5/128 nodad
ens6             DOWN     mtu 9001 02:00:00:00:00:01
# ip rule
0:	from all lookup local proto kernel
32766:	from all lookup main proto kernel
32767:	from all lookup default proto kernel
# ip route show table main
default via 10.0.1.1 dev eth0 proto dhcp
10.0.1.0/24 dev eth0 proto kernel scope link src 10.0.1.5
# ip -6 rule
0:	from all lookup local proto kernel
32766:	from all lookup main proto kernel
# ip -6 route show table main
2001:db8:1::5 dev eth0 proto kernel metric 256
2001:db8:1::/64 dev eth0 proto ra metric 1024
default via fe80:ec2::1 dev eth0 proto ra metric 1024
`
	if status := n.configure(w); status.Repaired != 22 {
		t.Errorf("configured with %d changes, want 22", status.Repaired)
	}
	const configured = `
# ip -br addr
lo               UNKNOWN  mtu 65536 127.0.0.1/8
eth0             UP       mtu 1500 02:00:00:00:00:00 10.0.1.5/24 2001:db8:1::5/128 nodad
ens6             UP       mtu 9001 02:00:00:00:00:01 10.0.1.10/24 noprefixroute 10.0.1.11/24 noprefixroute 2001:db8:1::11/128 nodad noprefixroute 2001:db8:1::10/128 nodad noprefixroute
# ip rule
0:	from all lookup local proto kernel
20000:	from all fwmark 0x4/0xfff lookup 20000 proto kernel
20000:	from 10.0.1.10 lookup 20000 proto kernel
20000:	from 10.0.1.11 lookup 20000 proto kernel
20001:	from all fwmark 0x4/0xfff lookup 20001 proto kernel
20001:	from 10.0.1.10 lookup 20001 proto kernel
20001:	from 10.0.1.11 lookup 20001 proto kernel
32766:	from all lookup main proto kernel
32767:	from all lookup default proto kernel
# ip route show table main
default via 10.0.1.1 dev eth0 proto dhcp
10.0.1.0/24 dev eth0 proto kernel scope link src 10.0.1.5
# ip route show table 20000
throw 10.0.1.0/24 proto kernel
# ip route show table 20001
default via 10.0.1.1 dev ens6 proto kernel
10.0.1.0/24 dev ens6 proto kernel scope link
# ip -6 rule
0:	from all lookup local proto kernel
20000:	from all fwmark 0x4/0xfff lookup 20000 proto kernel
20000:	from 2001:db8:1::10 lookup 20000 proto kernel
20000:	from 2001:db8:1::11 lookup 20000 proto kernel
20001:	from all fwmark 0x4/0xfff lookup 20001 proto kernel
20001:	from 2001:db8:1::10 lookup 20001 proto kernel
20001:	from 2001:db8:1::11 lookup 20001 proto kernel
32766:	from all lookup main proto kernel
# ip -6 route show table main
2001:db8:1::5 dev eth0 proto kernel metric 256
2001:db8:1::/64 dev eth0 proto ra metric 1024
default via fe80:ec2::1 dev eth0 proto ra metric 1024
# ip -6 route show table 20000
throw 2001:db8:1::5 dev lo proto kernel metric 256
throw 2001:db8:1::/64 dev lo proto kernel metric 1
throw 2001:db8:1::/64 dev lo proto kernel metric 1024
# ip -6 route show table 20001
2001:db8:1::/64 dev ens6 proto kernel metric 1024
default via fe80:ec2::1 dev ens6 proto kernel metric 1024
`
	n.see("configured,", configured)
	if status := n.configure(w); status.Repaired != 0 {
		t.Errorf("a second Configure made %d changes", status.Repaired)
	}
	n.see("configured twice,", configured)
	for _, tt := range []struct{ from, to, dev, via string }{
		{"2001:db8:1::10", "2001:db8:1::77", "ens6", "<nil>"},
		{"2001:db8:1::11", "2001:db8:2::77", "ens6", "fe80:ec2::1"},
		{"2001:db8:1::5", "2001:db8:1::77", "eth0", "<nil>"},
		{"2001:db8:1::5", "2001:db8:2::77", "eth0", "fe80:ec2::1"},
		{"", "2001:db8:1::77", "eth0", "<nil>"},
		{"", "2001:db8:2::77", "eth0", "fe80:ec2::1"},
	} {
		routes, err := n.nl.RouteGetWithOptions(net.ParseIP(tt.to), &netlink.RouteGetOptions{SrcAddr: net.ParseIP(tt.from)})
		n.must(err)
		if dev := n.link(tt.dev).Attrs().Index; routes[0].LinkIndex != dev || routes[0].Gw.String() != tt.via {
			t.Errorf("from %q to %s: link %d via %v, want %s (link %d) via %s", tt.from, tt.to, routes[0].LinkIndex, routes[0].Gw, tt.dev, dev, tt.via)
		}
	}
	n.must(n.host.Release(w))
	n.see("released,", bare)

	// An agent that was killed may not know all of it any more.
	for _, known := range []Wanted{{MAC: w.MAC, Addresses: w.Addresses}, {MAC: w.MAC, Subnets: w.Subnets}} {
		n.configure(w)
		n.must(n.host.Release(known))
		n.see("released with less knowledge,", bare)
	}
	n.configure(w)
	n.must(n.nl.LinkDel(n.link("ens6")))
	if removed, err := n.host.Sweep(nil); err != nil || strings.Contains(n.describe(), "2000") {
		t.Errorf("Sweep = %d, %v, and there is still\n%s", removed, err, n.describe())
	}
}

func TestConfigureIPv6Only(t *testing.T) {
	n := newNode(t)
	n.primary("10.0.1.5/24")
	w := dual(t).only(unix.AF_INET6)
	w.MTU = 0
	n.plug("eth1", w.MAC)
	n.configure(w)
	n.see("configured,", `
# ip -br addr
lo               UNKNOWN  mtu 65536 127.0.0.1/8
eth0             UP       mtu 1500 02:00:00:00:00:00 10.0.1.5/24
eth1             UP       mtu 1500 02:00:00:00:00:01 2001:db8:1::11/128 nodad noprefixroute 2001:db8:1::10/128 nodad noprefixroute
# ip rule
0:	from all lookup local proto kernel
32766:	from all lookup main proto kernel
32767:	from all lookup default proto kernel
# ip route show table main
default via 10.0.1.1 dev eth0 proto dhcp
10.0.1.0/24 dev eth0 proto kernel scope link src 10.0.1.5
# ip -6 rule
0:	from all lookup local proto kernel
20000:	from all fwmark 0x4/0xfff lookup 20000 proto kernel
20000:	from 2001:db8:1::10 lookup 20000 proto kernel
20000:	from 2001:db8:1::11 lookup 20000 proto kernel
20001:	from all fwmark 0x4/0xfff lookup 20001 proto kernel
20001:	from 2001:db8:1::10 lookup 20001 proto kernel
20001:	from 2001:db8:1::11 lookup 20001 proto kernel
32766:	from all lookup main proto kernel
# ip -6 route show table 20000
throw 2001:db8:1::/64 dev lo proto kernel metric 1
# ip -6 route show table 20001
2001:db8:1::/64 dev eth1 proto kernel metric 1024
default via fe80:ec2::1 dev eth1 proto kernel metric 1024
`)
	w.InterfaceName, w.DeviceIndex, w.Addresses = "data0", 3, w.Addresses[:1]
	n.configure(w)
	if text := n.describe(); strings.Contains(text, "20001") || strings.Contains(text, "::11") || !strings.Contains(text, "default via fe80:ec2::1 dev data0") {
		t.Errorf("with another index, name and address there is\n%s", text)
	}
	w.Host = false
	n.configure(w)
	if text := n.describe(); strings.Contains(text, "2000") || strings.Contains(text, "2001:db8") {
		t.Errorf("with None there is still\n%s", text)
	}
}

// An address that leaves, or comes, with all of its family takes and brings what that
// needs, and nothing else.
func TestFamiliesComeAndGo(t *testing.T) {
	n := newNode(t)
	w := dual(t)
	n.plug("eth1", w.MAC)
	n.configure(w)
	both := n.describe()
	for _, f := range families {
		before := n.describe()
		n.configure(w.only(f))
		_, err := n.host.Sweep([]Wanted{w.only(f)})
		n.must(err)
		other := map[uint8]string{unix.AF_INET: "2001:db8", unix.AF_INET6: "10.0.1."}[f]
		if !eventually(func() bool { return !strings.Contains(n.describe(), other) }) {
			t.Errorf("with %s only, there is\n%s", familyName(f), n.describe())
		}
		n.configure(w)
		n.see("with both again,", "\n"+before)
	}
	n.see("in the end", "\n"+both)
}

// A host on which IPv6 is switched off gets all of IPv4, and says why it does not get
// the rest.
func TestIPv6SwitchedOff(t *testing.T) {
	n := newNode(t)
	w := dual(t)
	n.plug("eth1", w.MAC)
	sysctlOf(t, n.ns, "ipv6", map[string]string{"conf/eth1/disable_ipv6": "1"})
	status, err := n.host.Configure(w)
	var off *IPv6Error
	if !errors.As(err, &off) || !strings.Contains(err.Error(), "net.ipv6.conf.eth1.disable_ipv6") {
		t.Fatalf("error is %v, want an IPv6Error", err)
	}
	if text := n.describe(); !strings.Contains(text, "10.0.1.11/24 noprefixroute\n") || strings.Contains(text, "2001:db8") {
		t.Errorf("%+v, and there is\n%s", status, text)
	}
	if again, err := n.host.Configure(w); !errors.As(err, &off) || again.Repaired != 0 {
		t.Errorf("a second Configure: %+v, %v", again, err)
	}
	none := w
	none.Host = false
	n.configure(none)
	sysctlOf(t, n.ns, "ipv6", map[string]string{"conf/eth1/disable_ipv6": "0"})
	n.configure(w)
	if text := n.describe(); !strings.Contains(text, "2001:db8:1::11/128 nodad noprefixroute") {
		t.Errorf("switched on again, there is\n%s", text)
	}
	w.MTU = 1000 // less than IPv6 needs
	if _, err := n.host.Configure(w); !errors.As(err, &off) || !strings.Contains(err.Error(), "mtu of 1280") {
		t.Errorf("error is %v, want an IPv6Error", err)
	}
	w.MTU = 9001
	n.configure(w)
	if text := n.describe(); !strings.Contains(text, "2001:db8:1::11/128 nodad noprefixroute") {
		t.Errorf("with a larger MTU there is\n%s", text)
	}
}
