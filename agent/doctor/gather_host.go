package doctor

import (
	"bytes"
	"cmp"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/aws-multi-eni/aws-multi-eni/agent/hostnet"
)

// GatherKernel asks the kernel that this process runs on.
func GatherKernel() *Kernel {
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return &Kernel{
		Release: strings.TrimSpace(string(release)), NetAdmin: hasNetAdmin(), RulesErr: hostnet.CheckRules(), NFTablesErr: hostnet.CheckNFTables(),
		Routers: routers(), StrictPaths: strictPaths("/proc/sys/net/ipv4/conf"),
	}
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

// strictPaths asks the kernel for the links whose reverse path filter is strict. The
// higher of a link's value and that of all links counts.
func strictPaths(conf string) map[string]string {
	byMAC := map[string]string{}
	links, _ := net.Interfaces() // none: then nothing is known
	value := func(link string) int {
		text, _ := os.ReadFile(filepath.Join(conf, link, "rp_filter"))
		n, _ := strconv.Atoi(strings.TrimSpace(string(text)))
		return n
	}
	for _, l := range links {
		if max(value("all"), value(l.Name)) == 1 {
			byMAC[l.HardwareAddr.String()] = l.Name
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
		return nil, nil, "the host's files and processes are not visible here; run the doctor on the host, or with --host-root /host in kubectl debug node/NODE --profile=sysadmin"
	}
	name, driver, found := r.primaryLink(primary)
	h := &Host{Links: r.nextLinks(name), Guessed: !found, CloudSetup: r.cloudSetup(), CloudInit: r.cloudInitTakes(), Rules: r.takingRules()}
	h.OS, h.ID = r.operatingSystem()
	processes := r.processes()
	h.Blind = len(processes) == 0
	for _, other := range unreadable {
		if processes[other] != nil {
			h.Others = append(h.Others, other)
		}
	}
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

// primaryLink is the link of the primary ENI, and its driver; or what they are most
// often.
func (r root) primaryLink(primary net.HardwareAddr) (name, driver string, found bool) {
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
		return filepath.Base(filepath.Dir(file)), filepath.Base(target), true
	}
	return "ens5", "ena", false
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

// unreadable are the processes of daemons that configure links, whose configuration
// is not looked at: wicked (SUSE), ConnMan, dhcpcd.
var unreadable = []string{"wickedd", "connmand", "dhcpcd"}

// operatingSystem is what os-release says: a name for people, and its word.
func (r root) operatingSystem() (name, id string) {
	text, readable := r.read("/etc/os-release")
	if !readable { // a link that leads out of a root that is not "/"
		text, _ = r.read("/usr/lib/os-release")
	}
	values := map[string]string{}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		values[key] = strings.Trim(value, `"'`)
	}
	return cmp.Or(values["PRETTY_NAME"], values["NAME"], values["ID"]), values["ID"]
}

// takingRules are the udev rules by which something takes every ENI: of
// amazon-ec2-net-utils (Amazon Linux 2023), of ec2-net-utils (Amazon Linux 2), and of
// Debian's cloud images. Those that are masked, as on EKS and by kOps, do not count.
func (r root) takingRules() []string {
	var rules []string
	for _, name := range []string{"99-vpc-policy-routes.rules", "53-ec2-network-interfaces.rules", "75-cloud-ifupdown.rules"} {
		file, ok := r.first([]string{rulesDirectory, "/run/udev/rules.d", "/usr/lib/udev/rules.d", "/lib/udev/rules.d"}, name)
		if ok && !r.masked(file) {
			rules = append(rules, file)
		}
	}
	return rules
}

// rulesDirectory is where a rule of the same name stands for one elsewhere.
const rulesDirectory = "/etc/udev/rules.d"

// cloudSetup are the units of nm-cloud-setup that are enabled.
func (r root) cloudSetup() []string {
	directories := []string{"/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"}
	var units []string
	for _, unit := range []string{"nm-cloud-setup.timer", "nm-cloud-setup.service"} {
		file, ok := r.first(directories, unit)
		if !ok || r.masked(file) {
			continue
		}
		for _, target := range []string{"timers.target", "multi-user.target", "NetworkManager.service"} {
			if _, wanted := r.first(under(directories, target+".wants"), unit); wanted {
				units = append(units, file)
				break
			}
		}
	}
	return units
}
