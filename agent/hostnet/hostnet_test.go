package hostnet

import (
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestValidate(t *testing.T) {
	good := hostWanted("10.0.1.10")
	good.MAC = mac(t, "02:00:00:00:00:01")
	pods := func(ranges ...string) Wanted {
		w := podWanted(ranges...)
		w.MAC = good.MAC
		return w
	}
	tests := []struct {
		name string
		edit func(*Wanted)
		err  string // "" for none
	}{
		{"good", func(*Wanted) {}, ""},
		{"no MAC", func(w *Wanted) { w.MAC = nil }, "six bytes"},
		{"primary", func(w *Wanted) { w.DeviceIndex = 0 }, "primary ENI"},
		{"first of the second card", func(w *Wanted) { w.Card, w.DeviceIndex = 1, 0 }, ""},
		{"device index", func(w *Wanted) { w.DeviceIndex = 32 }, "0–31"},
		{"card", func(w *Wanted) { w.Card = -1 }, "network card -1"},
		{"MTU", func(w *Wanted) { w.MTU = -1 }, "negative"},
		{"no subnet", func(w *Wanted) { w.Subnets = nil }, "has the address 10.0.1.10, but its subnet has no IPv4 CIDR"},
		{"IPv6 subnet", func(w *Wanted) { w.Subnets = cidrs("2001:db8::/64") }, "no IPv4 CIDR"},
		{"no addresses", func(w *Wanted) { w.Addresses = nil }, "the ENI has no address"},
		{"address of another subnet", func(w *Wanted) { w.Addresses = addrs("10.0.2.10") }, "not in the subnet"},
		{"IPv6 address", func(w *Wanted) { w.Addresses = addrs("2001:db8::1") }, "has the address 2001:db8::1, but its subnet has no IPv6 CIDR"},
		{"dual stack", func(w *Wanted) { *w = dualStack(*w) }, ""},
		{"dual stack, without an IPv6 address", func(w *Wanted) { *w = dualStack(*w); w.Addresses = w.Addresses[:1] }, ""},
		{"IPv6 only", func(w *Wanted) { *w = dualStack(*w).only(unix.AF_INET6) }, ""},
		{"IPv6 address of another subnet", func(w *Wanted) {
			*w = dualStack(*w)
			w.Addresses = addrs("10.0.1.10", "2001:db8:2::10")
		}, "2001:db8:2::10 is not in the subnet 2001:db8:1::/64"},
		{"two subnets of a family", func(w *Wanted) { w.Subnets = cidrs("10.0.1.0/24", "10.0.2.0/24") }, "more than one IPv4 CIDR"},
		{"pods", func(w *Wanted) {
			*w = pods("10.0.1.16/28", "10.0.1.40/32", "2001:db8:1:0:1::/80", "2001:db8:1::7/128")
		}, ""},
		{"pods without an address", func(w *Wanted) { *w = pods("10.0.1.16/28"); w.Addresses = nil }, ""},
		{"pods, and Host without an address", func(w *Wanted) { *w = pods("10.0.1.16/28"); w.Host, w.Addresses = true, nil }, "the ENI has no address"},
		{"pods with no range", func(w *Wanted) { w.PodRanges = make([]netip.Prefix, 1) }, "pods cannot get addresses from invalid Prefix"},
		{"pods with a range of another length", func(w *Wanted) { w.PodRanges = cidrs("10.0.1.0/24") }, "pods cannot get addresses from 10.0.1.0/24"},
		{"pods with another length of IPv6", func(w *Wanted) { w.PodRanges = cidrs("2001:db8:1::/64") }, "/80 IPv6 prefix"},
		{"pods with an address for a range", func(w *Wanted) { w.PodRanges = cidrs("10.0.1.17/28") }, "pods cannot get addresses from 10.0.1.17/28"},
		{"pods without a subnet", func(w *Wanted) { *w = pods("10.0.1.16/28"); w.Subnets = w.Subnets[1:] }, "pods get addresses from 10.0.1.16/28, but the ENI's subnet has no IPv4 CIDR"},
		{"pods without an IPv6 subnet", func(w *Wanted) { *w = pods("2001:db8:1:0:1::/80"); w.Subnets = w.Subnets[:1] }, "no IPv6 CIDR: associate one"},
		{"pods of another subnet", func(w *Wanted) { w.PodRanges = cidrs("10.0.2.16/28") }, "10.0.2.16/28, from which pods get addresses, is not in the subnet 10.0.1.0/24"},
		{"pods with two subnets of a family", func(w *Wanted) { *w = pods("10.0.1.16/28"); w.Subnets = append(w.Subnets, w.Subnets[0]) }, "more than one IPv4 CIDR"},
		{"pods with the host's address", func(w *Wanted) { w.PodRanges = cidrs("10.0.1.0/28") }, "the host cannot use the address 10.0.1.10, because pods get addresses from 10.0.1.0/28"},
		{"None needs neither", func(w *Wanted) { w.Host, w.Subnets, w.Addresses = false, nil, nil }, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := good
			tt.edit(&w)
			if strings.HasPrefix(tt.name, "pods") && w.Complete() != (tt.err == "") {
				t.Errorf("complete: %v", w.Complete())
			}
			err := w.validate()
			switch {
			case tt.err == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
				t.Errorf("error is %v, want one with %q", err, tt.err)
			}
		})
	}
}
