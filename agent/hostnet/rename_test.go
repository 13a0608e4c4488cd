package hostnet

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

func TestRename(t *testing.T) {
	n := newNode(t)
	w := eni(t)
	link := n.plug("ens6", w.MAC)
	n.configure(w) // up, with routes
	w.InterfaceName = "data0"
	if status := n.configure(w); status.Name != "data0" || status.Repaired != 1 {
		t.Errorf("status is %+v, want the new name after one change", status)
	}
	// udev comes late.
	n.must(n.nl.LinkSetName(link, "enp0s6"))
	if status := n.configure(w); status.Name != "data0" || status.Index != link.Attrs().Index {
		t.Errorf("status is %+v, want the name again", status)
	}
}

// udev gives a link its other possible names as alternatives; one of them may
// be what is wanted.
func TestRenameToOwnAltName(t *testing.T) {
	n := newNode(t)
	w := eni(t)
	n.must(n.nl.LinkAddAltName(n.plug("eth1", w.MAC), "ens6"))
	w.InterfaceName = "ens6"
	if status := n.configure(w); status.Name != "ens6" {
		t.Errorf("status is %+v", status)
	}
}

func TestNameTaken(t *testing.T) {
	tests := []struct {
		name   string
		take   func(n *node)
		holder string
	}{
		{"by a link", func(n *node) { n.plug("data0", mac(t, "02:00:00:00:00:07")) }, "data0"},
		{"by an alternative name", func(n *node) {
			n.must(n.nl.LinkAddAltName(n.plug("eth7", mac(t, "02:00:00:00:00:07")), "data0"))
		}, "eth7"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newNode(t)
			tt.take(n)
			w := eni(t)
			w.InterfaceName = "data0"
			n.plug("eth1", w.MAC)
			status, err := n.host.Configure(w)
			var taken *NameTakenError
			if !errors.As(err, &taken) || taken.Holder != tt.holder || taken.Link != "eth1" {
				t.Fatalf("error is %v, want a NameTakenError with link %s", err, tt.holder)
			}
			if !strings.Contains(err.Error(), "link "+tt.holder+" (index") || !strings.Contains(err.Error(), "02:00:00:00:00:07") {
				t.Errorf("error does not name the link: %v", err)
			}
			if status.Name != "eth1" || status.MTU != 9001 || !strings.Contains(n.describe(), "10.0.1.11/24 noprefixroute") {
				t.Errorf("the rest was not carried out: %+v\n%s", status, n.describe())
			}
			n.must(n.nl.LinkDel(n.link(tt.holder)))
			if status := n.configure(w); status.Name != "data0" || status.Repaired != 1 {
				t.Errorf("with the name free again: %+v", status)
			}
		})
	}
}

// Two ENIs change names: one of them has to yield first.
func TestYield(t *testing.T) {
	n := newNode(t)
	w := eni(t)
	w.InterfaceName = "data0"
	n.plug("eth1", w.MAC)
	n.configure(w)
	neighbour := n.plug("eth2", mac(t, "02:00:00:00:00:07"))
	n.must(n.nl.LinkAddAltName(neighbour, "data1"))

	n.must(n.host.Yield(w.MAC, "data0"))
	n.must(n.nl.LinkSetName(neighbour, "data0"))
	n.must(n.host.Yield(mac(t, "02:00:00:00:00:07"), "data1"))
	n.must(n.host.Yield(w.MAC, "data0")) // it is the other's now
	n.must(n.host.Yield(mac(t, "02:00:00:00:00:08"), "data0"))
	w.InterfaceName = "data1"
	if status := n.configure(w); status.Name != "data1" {
		t.Errorf("status is %+v", status)
	}
	if n.link("data0").Attrs().Index != neighbour.Attrs().Index {
		t.Errorf("the node has\n%s", n.describe())
	}
}

// Renamed, taken down and taken up by others all the while, the link still
// becomes what it must be.
func TestRenameDuringConfiguration(t *testing.T) {
	n := newNode(t)
	w := eni(t)
	w.InterfaceName = "data0"
	link := n.plug("eth1", w.MAC)
	udev := handle(t, n.ns)

	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			// udev on older kernels takes a link down to rename it.
			_ = udev.LinkSetDown(link)
			_ = udev.LinkSetName(link, fmt.Sprintf("ens%d", i%8))
			_ = udev.LinkSetUp(link)
		}
	})
	for range 100 {
		// It may fail while someone keeps at it, but never with anything
		// else than that.
		if _, err := n.host.Configure(w); err != nil && !isUnsettled(err) && !strings.Contains(err.Error(), "something undoes") {
			t.Errorf("during renames: %v", err)
		}
	}
	close(stop)
	wg.Wait()
	n.configure(w)
	n.see("when udev is done,", `
# ip -br addr
lo               UNKNOWN  mtu 65536 127.0.0.1/8
data0            UP       mtu 9001 02:00:00:00:00:01 10.0.1.10/24 noprefixroute 10.0.1.11/24 noprefixroute
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
# ip route show table 20000
throw 10.0.1.0/24 proto kernel
# ip route show table 20001
default via 10.0.1.1 dev data0 proto kernel
10.0.1.0/24 dev data0 proto kernel scope link
`)
}

// oldKernel refuses to rename a link that is up, as Linux did before 6.2.
type oldKernel struct {
	up    bool
	calls []string
	taken bool
}

func (k *oldKernel) setName(_ int, name string) error {
	k.calls = append(k.calls, "name "+name)
	switch {
	case k.up:
		return fmt.Errorf("%w: device is up", unix.EBUSY)
	case k.taken:
		return unix.EEXIST
	}
	return nil
}

func (k *oldKernel) setUp(_ int, up bool) error {
	k.up = up
	k.calls = append(k.calls, fmt.Sprintf("up %v", up))
	return nil
}

func (k *oldKernel) delAltName(int, string) error { return unix.EOPNOTSUPP }

func (k *oldKernel) linkByName(name string) (link, error) { return link{index: 9, name: name}, nil }

func TestRenameOnAnOldKernel(t *testing.T) {
	want := []string{"name data0", "up false", "name data0", "up true"}
	k := &oldKernel{up: true}
	if err := rename(k, link{index: 7, name: "eth1"}, "data0"); err != nil || !slices.Equal(k.calls, want) {
		t.Errorf("rename did %q, %v; want %q", k.calls, err, want)
	}
	k = &oldKernel{up: true, taken: true}
	err := rename(k, link{index: 7, name: "eth1"}, "data0")
	var taken *NameTakenError
	if !errors.As(err, &taken) || taken.HolderIndex != 9 || !k.up {
		t.Errorf("with the name taken: %v, link is up: %v", err, k.up)
	}
}
