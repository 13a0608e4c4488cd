// Command appliance runs in the pods of tests with a kubelet. Its arguments are links that
// the pod must have: it looks for them before it does anything else, and again ten times a
// second, unless the first argument is --at-start. When one is missing, it writes that to its
// termination log and fails.
//
// On port 8080 it serves /network, its links, routes, and rules, and /connect?to=ADDRESS,
// which asks the appliance at that address by which addresses they see each other. Without
// arguments it does nothing until SIGTERM, as the process of a sandbox does.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func main() {
	if missing := run(os.Args[1:]); missing != nil {
		_ = os.WriteFile("/dev/termination-log", []byte(missing.Error()), 0o600)
		os.Exit(1)
	}
}

// run ends with SIGTERM, or with an error when a link is missing.
func run(links []string) error {
	atStart := len(links) > 0 && links[0] == "--at-start"
	if atStart {
		links = links[1:]
	}
	missing := check(links)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if missing == nil && len(links) > 0 {
		go serve()
	}
	if atStart {
		links = nil
	}
	for tick := time.NewTicker(100 * time.Millisecond); missing == nil; missing = check(links) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
	return missing
}

// check is an error unless the pod has the links, each up and with an address.
func check(links []string) error {
	for _, name := range links {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return fmt.Errorf("link %s: %w", name, err)
		}
		addresses, err := netlink.AddrList(link, netlink.FAMILY_ALL)
		if err == nil && (link.Attrs().Flags&net.FlagUp == 0 || len(addresses) == 0) {
			err = fmt.Errorf("flags %v, addresses %v", link.Attrs().Flags, addresses)
		}
		if err != nil {
			return fmt.Errorf("link %s: %w", name, err)
		}
	}
	return nil
}

func serve() {
	http.HandleFunc("/network", func(w http.ResponseWriter, _ *http.Request) {
		lines, err := network()
		fmt.Fprintln(w, strings.Join(lines, "\n"))
		if err != nil {
			fmt.Fprintln(w, err)
		}
	})
	http.HandleFunc("/connect", func(w http.ResponseWriter, r *http.Request) {
		client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
		resp, err := client.Get("http://" + net.JoinHostPort(r.FormValue("to"), "8080") + "/peer")
		if err != nil {
			fmt.Fprint(w, err)
			return
		}
		defer resp.Body.Close()
		_, _ = io.Copy(w, resp.Body)
	})
	http.HandleFunc("/peer", func(w http.ResponseWriter, r *http.Request) {
		here, _ := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
		peer, _, _ := net.SplitHostPort(r.RemoteAddr)
		fmt.Fprintf(w, "%s to %s", peer, here.IP)
	})
	panic(http.ListenAndServe(":8080", nil)) //nolint:gosec // in a pod of a test
}

// network is what `ip address`, `ip rule` and `ip route show table all` show, except for lo
// and eth0.
func network() (lines []string, err error) {
	links, err := netlink.LinkList()
	for _, link := range links {
		a := link.Attrs()
		if a.Name == "lo" || a.Name == "eth0" {
			continue
		}
		addresses, e := netlink.AddrList(link, netlink.FAMILY_ALL)
		err = errors.Join(err, e)
		for _, address := range addresses {
			if address.IP.IsGlobalUnicast() {
				lines = append(lines, fmt.Sprintf("link %s %s mtu %d %s", a.Name, a.HardwareAddr, a.MTU, address.IPNet))
			}
		}
		routes, e := netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{LinkIndex: a.Index, Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_OIF)
		err = errors.Join(err, e)
		for _, r := range routes {
			if r.Protocol != unix.RTPROT_KERNEL {
				lines = append(lines, fmt.Sprintf("route %s via %s table %s", r.Dst, r.Gw, table(r.Table)))
			}
		}
	}
	rules, e := netlink.RuleList(netlink.FAMILY_ALL)
	for _, rule := range rules {
		if rule.Src != nil && rule.Table != unix.RT_TABLE_MAIN {
			lines = append(lines, fmt.Sprintf("rule from %s table %s", rule.Src, table(rule.Table)))
		}
	}
	slices.Sort(lines)
	return slices.Compact(lines), errors.Join(err, e)
}

// table names the tables of the main routes, of the routes by all ENIs, and of those of one
// ENI, whose number is not always the same.
func table(number int) string {
	switch {
	case number == unix.RT_TABLE_MAIN:
		return "main"
	case number == 20000:
		return "shared"
	case number > 20000:
		return "own"
	}
	return fmt.Sprint(number)
}
