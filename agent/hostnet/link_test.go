package hostnet

import (
	"errors"
	"net"
	"slices"
	"testing"
)

func mac(t testing.TB, s string) net.HardwareAddr {
	t.Helper()
	m, err := net.ParseMAC(s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestMatch(t *testing.T) {
	eni := mac(t, "02:00:00:00:00:01")
	other := mac(t, "02:00:00:00:00:99")
	pci := link{index: 7, name: "ens6", mac: eni, permanent: eni}
	pod := link{index: 20, name: "vethb5d3", mac: other, kind: "veth", parent: 3, abroad: true}
	plugged := link{index: 8, name: "eth1", mac: eni, kind: "veth", parent: 4, abroad: true}

	tests := []struct {
		name      string
		links     []link
		want      int // index, 0 = none
		ambiguous []string
	}{
		{name: "nothing there"},
		{name: "other links only", links: []link{{index: 1, name: "lo"}, {index: 2, name: "ens5", mac: other, permanent: other}, pod}},
		{name: "hardware by permanent MAC", links: []link{pod, pci}, want: 7},
		{name: "hardware whose driver has no permanent MAC", links: []link{{index: 7, mac: eni}}, want: 7},
		{name: "hardware with a changed MAC", links: []link{{index: 7, mac: other, permanent: eni}}, want: 7},
		{name: "other hardware that took the MAC", links: []link{{index: 9, mac: eni, permanent: other}}},
		{name: "bond and its member", links: []link{
			{index: 10, name: "bond0", mac: eni, kind: "bond"}, {index: 7, mac: eni, permanent: eni}}, want: 7},
		{name: "children of the ENI", links: []link{
			{index: 11, name: "ens6.100", mac: eni, kind: "vlan", parent: 7},
			{index: 12, name: "mv0", mac: eni, kind: "macvlan", parent: 7},
			{index: 13, name: "ipvl0", mac: eni, kind: "ipvlan", parent: 7},
			pci}, want: 7},
		{name: "children whose parent is in another namespace", links: []link{
			{index: 12, name: "mv0", mac: eni, kind: "macvlan", parent: 7, abroad: true},
			{index: 13, name: "ipvl0", mac: eni, kind: "ipvlan", parent: 7, abroad: true}}},
		{name: "bridge, tunnel and tap with the MAC", links: []link{
			{index: 14, mac: eni, kind: "bridge"}, {index: 15, mac: eni, kind: "vxlan"}, {index: 16, mac: eni, kind: "tun"}}},
		{name: "child without a kind", links: []link{{index: 17, mac: eni, parent: 7}}},
		{name: "simulated", links: []link{pod, plugged}, want: 8},
		{name: "simulated, with a macvlan child", links: []link{
			{index: 12, name: "mv0", mac: eni, kind: "macvlan", parent: 8}, plugged}, want: 8},
		{name: "veth pair within the namespace", links: []link{
			{index: 30, mac: eni, kind: "veth", parent: 31}, {index: 31, mac: other, kind: "veth", parent: 30}}},
		{name: "hardware goes before veth", links: []link{plugged, pci}, want: 7},
		{name: "two of a kind", links: []link{plugged, {index: 9, name: "eth2", mac: eni, kind: "veth", parent: 5, abroad: true}},
			ambiguous: []string{"eth1", "eth2"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := match(tt.links, eni)
			var ambiguous *AmbiguousError
			if errors.As(err, &ambiguous) != (tt.ambiguous != nil) {
				t.Fatalf("match: %v", err)
			}
			if ambiguous != nil && !slices.Equal(ambiguous.Links, tt.ambiguous) {
				t.Errorf("ambiguous are %v, want %v", ambiguous.Links, tt.ambiguous)
			}
			index := 0
			if got != nil {
				index = got.index
			}
			if index != tt.want {
				t.Errorf("found link %d, want %d", index, tt.want)
			}
		})
	}
}
