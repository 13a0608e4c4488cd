package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
)

func TestMain(m *testing.M) {
	if err := netns.Elevate(netns.Elevation{PrivateNetwork: true}); err != nil {
		fmt.Fprintln(os.Stderr, "the test of the latency benchmark needs network namespaces:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// What the kernel tells of a link and of what is configured on it is read as it is.
func TestRecord(t *testing.T) {
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	h, err := ns.Netlink()
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	var seen history
	stop, err := seen.record(ns)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()

	mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	began := time.Now()
	if err := h.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "data0", MTU: 1500, HardwareAddr: mac}, PeerName: "peer0"}); err != nil {
		t.Fatal(err)
	}
	link, err := h.LinkByName("data0")
	if err != nil {
		t.Fatal(err)
	}
	address, errAddress := netlink.ParseAddr("10.0.1.10/24")
	route := &netlink.Route{LinkIndex: link.Attrs().Index, Table: 20001, Dst: &net.IPNet{IP: net.IP{10, 0, 2, 0}, Mask: net.CIDRMask(24, 32)}}
	rule := netlink.NewRule()
	rule.Family, rule.Table, rule.Priority, rule.Src = unix.AF_INET, 20001, 20001, &net.IPNet{IP: address.IP, Mask: net.CIDRMask(32, 32)}
	if err := errors.Join(errAddress, h.LinkSetUp(link), h.AddrAdd(link, address), h.RouteAdd(route), h.RuleAdd(rule),
		h.RuleDel(rule), h.RouteDel(route), h.AddrDel(link, address), h.LinkDel(link)); err != nil {
		t.Fatal(err)
	}

	ip, subnet := netip.MustParseAddr("10.0.1.10"), netip.MustParsePrefix("10.0.2.0/24")
	for what, is := range map[string]func(event) bool{
		"link up": func(e event) bool {
			return e.message == unix.RTM_NEWLINK && !e.gone && e.name == "data0" && e.mac == mac.String() && e.mtu == 1500 && e.up
		},
		"address": func(e event) bool { return e.message == unix.RTM_NEWADDR && !e.gone && e.address == ip },
		"route": func(e event) bool {
			return e.message == unix.RTM_NEWROUTE && !e.gone && e.table == 20001 && e.to == subnet
		},
		"rule": func(e event) bool {
			return e.message == unix.RTM_NEWRULE && !e.gone && e.table == 20001 && e.address == ip
		},
		"rule gone":    func(e event) bool { return e.message == unix.RTM_NEWRULE && e.gone && e.table == 20001 },
		"route gone":   func(e event) bool { return e.message == unix.RTM_NEWROUTE && e.gone && e.to == subnet },
		"address gone": func(e event) bool { return e.message == unix.RTM_NEWADDR && e.gone && e.address == ip },
		"link gone":    func(e event) bool { return e.message == unix.RTM_NEWLINK && e.gone && e.mac == mac.String() },
	} {
		e, err := seen.await(t.Context(), began, what, is)
		if err != nil {
			t.Fatal(err)
		}
		if e.message != unix.RTM_NEWRULE && e.index != link.Attrs().Index {
			t.Errorf("%s: index %d, want %d", what, e.index, link.Attrs().Index)
		}
	}
}

// A report is found by the ENIs that it names, from a moment on; that events are lost is
// an error.
func TestReported(t *testing.T) {
	var seen history
	enis := []v1alpha1.ENIState{{Phase: v1alpha1.PhaseReady, ENIID: "eni-1"}, {Phase: v1alpha1.PhaseReady}, {Phase: v1alpha1.PhaseReleased, ENIID: "eni-2"}}
	seen.add(nil, event{enis: enis})
	between := time.Now()
	seen.add(nil, event{message: unix.RTM_NEWLINK}, event{enis: enis[1:]})
	for from, want := range map[time.Time]int{{}: 1, between: 0} {
		e, err := seen.await(t.Context(), from, "a report", reported(v1alpha1.PhaseReady, want))
		if err != nil || e.message != 0 || e.at.Before(from) {
			t.Errorf("since %v: %+v, %v", from, e, err)
		}
	}
	lost := errors.New("no buffer space available")
	seen.add(lost)
	if _, err := seen.await(t.Context(), between, "a report", reported(v1alpha1.PhaseReady, 5)); !errors.Is(err, lost) {
		t.Errorf("error: %v, want %v", err, lost)
	}
}
