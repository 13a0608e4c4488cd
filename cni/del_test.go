package cni

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
)

// A runtime calls DEL after an ADD that failed, and keeps the pod until it succeeds.
func TestDelWithAConfigurationThatAddRefuses(t *testing.T) {
	t.Parallel()
	for field, value := range map[string]any{"mtu": "1500", "routes": []any{map[string]any{"dst": "x"}}, "networksDir": 7, "nodeENI": ""} {
		t.Run(field, func(t *testing.T) {
			n := newNode(t)
			n.offer(eniOf("10.0.0.16/28"))
			_, err := n.add("pod1")
			n.must(err)
			was := n.fields[field]
			n.fields[field] = value
			_, err = n.add("pod2")
			n.wants(err, "")
			n.must(n.del("pod2"))
			// The NetworkAttachmentDefinition was edited while the pod was there.
			n.must(n.del("pod1"))
			if files := n.store(); len(files) > 0 {
				t.Errorf("there are %s after DEL", files)
			}
			n.fields[field] = was
		})
	}
}

// While a pod had the link, another one got its name: the next ENI's by the kernel.
func TestHostDeviceWhoseNameIsTaken(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.fields["mode"] = "host-device"
	e := eniOf()
	e.Addresses = e.Addresses[:1]
	n.offer(e)
	_, err := n.add("pod1")
	n.must(err)
	n.must(n.ns.Do(func() error {
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth1"}, PeerName: "vpc2"})
	}))
	n.must(n.del("pod1"))
	if files := n.store(); len(files) > 0 {
		t.Errorf("there are %s after DEL", files)
	}
	_, err = n.add("pod2")
	n.must(err)
	if links := n.links(); !slices.Contains(links, "eth1") {
		t.Errorf("the host has %s", links)
	}
}

// A DEL that does not get to see the pod's interfaces, here for want of file descriptors,
// does not take them for gone.
func TestDelWithFewFiles(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.offer(eniOf("10.0.0.16/28"))
	failed := 0
	for limit := 4; limit < 16; limit++ {
		pod := fmt.Sprint("pod", limit)
		ns, _, err := n.Sandbox(pod)
		n.must(err)
		_, err = n.attach(pod)
		n.must(err)
		limited := t.TempDir()
		n.must(os.WriteFile(filepath.Join(limited, "eni"), fmt.Appendf(nil, "#!/bin/sh\nulimit -n %d\nexec %s/eni\n", limit, bin), 0o755))
		there := n.Path
		n.Path = append([]string{limited}, there...)
		err = n.del(pod)
		n.Path = there
		if err != nil {
			failed++
			n.must(n.del(pod))
		}
		handle, err := ns.Netlink()
		n.must(err)
		if _, err := handle.LinkByName("net1"); err == nil {
			t.Errorf("with %d files, DEL released the address of an interface that is there", limit)
		}
		handle.Close()
	}
	t.Logf("%d of 12 failed", failed)
	if failed == 0 {
		t.Error("DEL never failed")
	}
}
