package doctor

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/aws-multi-eni/aws-multi-eni/agent/hostnet"
)

// GatherKernel asks the kernel that this process runs on.
func GatherKernel() *Kernel {
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return &Kernel{Release: strings.TrimSpace(string(release)), NetAdmin: hasNetAdmin(), RulesErr: hostnet.CheckRules(), Routers: routers()}
}

// routers asks the kernel for the links with an IPv6 default route from a router.
func routers() map[string]string {
	routes, err := os.ReadFile("/proc/net/ipv6_route")
	if err != nil {
		return nil // a kernel without IPv6
	}
	byMAC := map[string]string{}
	for _, name := range advertised(string(routes)) {
		if link, err := net.InterfaceByName(name); err == nil {
			byMAC[link.HardwareAddr.String()] = name
		}
	}
	return byMAC
}

// advertised are the links that a list of the form of /proc/net/ipv6_route has such
// a route for. Only the kernel's own have both flags: not those that people or
// systemd-networkd add.
func advertised(routes string) (links []string) {
	const flags = 0x10000 | 0x40000 // RTF_DEFAULT, RTF_ADDRCONF
	for line := range strings.Lines(routes) {
		if fields := strings.Fields(line); len(fields) == 10 {
			if has, err := strconv.ParseUint(fields[8], 16, 32); err == nil && has&flags == flags {
				links = append(links, fields[9])
			}
		}
	}
	return links
}

// hasNetAdmin reads the effective capabilities of this process.
func hasNetAdmin() bool {
	const netAdmin = 12 // CAP_NET_ADMIN
	data, _ := os.ReadFile("/proc/self/status")
	for line := range bytes.Lines(data) {
		if value, ok := bytes.CutPrefix(line, []byte("CapEff:")); ok {
			bits, err := strconv.ParseUint(strings.TrimSpace(string(value)), 16, 64)
			return err == nil && bits&(1<<netAdmin) != 0
		}
	}
	return false
}

// GatherHost looks at the files and processes of a host whose file system is at
// path. When that is the file system of a container, the reason is returned why
// there is nothing to see.
func GatherHost(at string, primary net.HardwareAddr) (host *Host, kubelet *Kubelet, hidden string) {
	r := root(at)
	if at == "/" && os.Getenv("KUBERNETES_SERVICE_HOST") != "" || !r.exists("/etc/os-release") && !r.exists("/usr/lib/os-release") {
		return nil, nil, "the host's files and processes cannot be seen from here; run it on the host, or in a pod of kubectl debug node/NODE --profile=sysadmin, with --host-root /host"
	}
	name, driver := r.primaryLink(primary)
	h := &Host{Links: r.nextLinks(name), CloudSetup: r.cloudSetup(), NetUtils: r.netUtils()}
	processes := r.processes()
	next := device{name: h.Links[0], driver: driver}
	h.Networkd = Daemon{Running: processes["systemd-network"] != nil, Takes: r.networkdTakes(next)}
	h.NetworkManager = Daemon{Running: processes["NetworkManager"] != nil, Takes: r.networkManagerTakes(next)}
	if args := processes["kubelet"]; args != nil {
		kubelet = &Kubelet{Args: args}
	}
	return h, kubelet, ""
}

// processes are the command lines by the process's name, of which the kernel
// keeps 15 characters.
func (r root) processes() map[string][]string {
	all := map[string][]string{}
	matches, _ := filepath.Glob(r.path("/proc/[0-9]*/comm"))
	for _, file := range matches {
		comm, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		cmdline, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline"))
		all[strings.TrimSpace(string(comm))] = strings.Split(strings.TrimRight(string(cmdline), "\x00"), "\x00")
	}
	return all
}

// primaryLink is the link of the primary ENI, and its driver.
func (r root) primaryLink(primary net.HardwareAddr) (name, driver string) {
	matches, _ := filepath.Glob(r.path("/sys/class/net/*/address"))
	for _, file := range matches {
		address, _ := os.ReadFile(file)
		mac, err := net.ParseMAC(strings.TrimSpace(string(address)))
		if err != nil || !bytes.Equal(mac, primary) {
			continue
		}
		target, err := os.Readlink(filepath.Join(filepath.Dir(file), "device", "driver"))
		if err != nil {
			continue // a VLAN or a bridge with the same MAC
		}
		return filepath.Base(filepath.Dir(file)), filepath.Base(target)
	}
	return "ens5", "ena"
}

// nextLinks are the names that come after the primary link's, but for those that
// are taken.
func (r root) nextLinks(primary string) []string {
	stem := strings.TrimRight(primary, "0123456789")
	number, err := strconv.Atoi(primary[len(stem):])
	if err != nil {
		return []string{primary}
	}
	var names []string
	for len(names) < 2 {
		number++
		if name := fmt.Sprintf("%s%d", stem, number); !r.exists("/sys/class/net/" + name) {
			names = append(names, name)
		}
	}
	return names
}

// netUtils is the udev rule by which amazon-ec2-net-utils (Amazon Linux) takes
// every ENI, or "" when there is none or it is masked, as EKS and kOps do.
func (r root) netUtils() string {
	for _, name := range []string{"99-vpc-policy-routes.rules", "53-ec2-network-interfaces.rules"} {
		file, ok := r.first([]string{"/etc/udev/rules.d", "/run/udev/rules.d", "/usr/lib/udev/rules.d", "/lib/udev/rules.d"}, name)
		if ok && !r.masked(file) {
			return file
		}
	}
	return ""
}

// cloudSetup is the unit of nm-cloud-setup that is enabled, or "".
func (r root) cloudSetup() string {
	units := []string{"/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"}
	for _, unit := range []string{"nm-cloud-setup.timer", "nm-cloud-setup.service"} {
		file, ok := r.first(units, unit)
		if !ok || r.masked(file) {
			continue
		}
		for _, target := range []string{"timers.target", "multi-user.target", "NetworkManager.service"} {
			if _, wanted := r.first(under(units, target+".wants"), unit); wanted {
				return path.Base(file)
			}
		}
	}
	return ""
}
