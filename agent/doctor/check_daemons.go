package doctor

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// understood are the hosts, by the ID of os-release, on which nothing configures
// links but what the doctor reads: udev's rules, cloud-init, systemd-networkd,
// NetworkManager and nm-cloud-setup.
var understood = []string{
	"amzn", "ubuntu", "debian", "rhel", "centos", "rocky", "almalinux", "ol", "fedora", "flatcar",
}

// checkHost: whether something on the host would configure the next ENI's link.
func checkHost(f Facts) []Result {
	const check = "host daemons"
	h := f.Host
	if h == nil {
		if f.HostHidden == "" {
			return nil
		}
		return []Result{skipped(check, "%s", f.HostHidden)}
	}
	results := slices.Concat(checkRules(h), checkNetworkd(h), checkNetworkManager(h), checkCloudSetup(h), checkCloudInit(h))
	links := strings.Join(h.Links, ", ")
	switch {
	case h.ID == "talos":
		return append(results, warning("Talos", fmt.Sprintf("for each link of an ENI (%s), add an entry with ignore: true to machine.network.interfaces, or add the kernel argument talos.network.interface.ignore=LINK", links),
			"configures the link of the next ENI (%s) unless the machine configuration, which the doctor cannot read, excludes it: the link then gets addresses from DHCP and routes in the main table", links))
	case len(results) > 0:
		return results
	case h.Blind:
		return []Result{skipped(check, "the host's processes are not visible here, so the doctor cannot find out what configures links; run the doctor on the host, or with kubectl debug node/NODE --profile=sysadmin")}
	case h.Guessed:
		return []Result{skipped(check, "cannot find the link of the primary ENI, so the name of the next ENI's link is unknown")}
	case len(h.Others) > 0:
		return []Result{skipped(check, "%s runs on this host (%s), and the doctor cannot read its configuration: make sure that it does not configure the link of the next ENI (%s)", strings.Join(h.Others, ", "), orUnknown(h.OS), links)}
	case !slices.Contains(understood, h.ID):
		return []Result{skipped(check, "the doctor does not know what configures links on this host (%s): make sure that nothing configures the link of the next ENI (%s)", orUnknown(h.OS), links)}
	}
	return []Result{ok(check, "none of them configures the link of the next ENI (%s)", links)}
}

func orUnknown(text string) string {
	if text == "" {
		return "unknown operating system"
	}
	return text
}

func checkRules(h *Host) []Result {
	var results []Result
	for _, rule := range h.Rules {
		check := "amazon-ec2-net-utils"
		if path.Base(rule) == "75-cloud-ifupdown.rules" {
			check = "cloud-ifupdown"
		}
		results = append(results, warning(check, fmt.Sprintf("mask the rule: ln -sf /dev/null %s && udevadm control --reload-rules", path.Join(rulesDirectory, path.Base(rule))),
			"%s configures addresses and routes on the link of every ENI", rule))
	}
	return results
}

// ourNetwork is where packaging/systemd/optional/networkd.network is put. Of the
// files that match a link the first by name counts.
const ourNetwork = "10-eni-agent.network"

func checkNetworkd(h *Host) []Result {
	if !h.Networkd.Running || h.Networkd.Takes == "" {
		return nil
	}
	name := ourNetwork
	if taking := path.Base(h.Networkd.Takes); taking <= name {
		name = "00-" + name
		if taking <= name {
			name = "" // nothing comes before it for certain
		}
	}
	action := fmt.Sprintf("install packaging/systemd/optional/networkd.network (in /usr/share/eni-agent of the deb and rpm) as /etc/systemd/network/%s, with the name of the primary link in it, so that systemd-networkd configures only the primary ENI", name)
	if name == "" {
		action = fmt.Sprintf("make the [Match] section of %s name the primary ENI's link only, or mask the file with a symbolic link to /dev/null in /etc/systemd/network", h.Networkd.Takes)
	}
	return []Result{warning("systemd-networkd", action, "%s matches the link of the next ENI (%s): the link gets addresses from DHCP and routes in the main table", h.Networkd.Takes, strings.Join(h.Links, ", "))}
}

func checkNetworkManager(h *Host) []Result {
	if !h.NetworkManager.Running || h.NetworkManager.Takes == "" {
		return nil
	}
	return []Result{warning("NetworkManager", "install packaging/systemd/optional/networkmanager.conf (in /usr/share/eni-agent of the deb and rpm) as /etc/NetworkManager/conf.d/50-eni-agent.conf, with the name of the primary link in it, so that NetworkManager configures only the primary ENI",
		"configures the link of the next ENI (%s) because of %s: the link gets addresses from DHCP and routes in the main table", strings.Join(h.Links, ", "), h.NetworkManager.Takes)}
}

// ourCloudConfig is where packaging/systemd/optional/cloud-init.cfg is put. Of the files
// that say when cloud-init configures links the last by name counts.
const ourCloudConfig = "99-eni-agent.cfg"

func checkCloudInit(h *Host) []Result {
	if h.CloudInit.Rule == "" {
		return nil
	}
	action := "install packaging/systemd/optional/cloud-init.cfg (in /usr/share/eni-agent of the deb and rpm) as /etc/cloud/cloud.cfg.d/" + ourCloudConfig + ", so that cloud-init configures only the primary ENI"
	if path.Base(h.CloudInit.File) >= ourCloudConfig && path.Base(h.CloudInit.File) != "cloud.cfg" {
		action = "remove hotplug from updates.network.when in " + h.CloudInit.File
	}
	return []Result{warning("cloud-init", action, "%s makes cloud-init configure the link of the next ENI (%s) when it appears: the link gets addresses from DHCP, and cloud-init adds its own routes and rules", h.CloudInit.Rule, strings.Join(h.Links, ", "))}
}

// checkCloudSetup: a unit that is masked starts by nothing; systemctl masks none that
// is in /etc itself.
func checkCloudSetup(h *Host) []Result {
	var results []Result
	for _, file := range h.CloudSetup {
		unit, verb := path.Base(file), "mask"
		if path.Dir(file) == "/etc/systemd/system" {
			verb = "disable"
		}
		results = append(results, warning("nm-cloud-setup", fmt.Sprintf("systemctl %s --now %s", verb, unit),
			"%s is enabled: it adds its own addresses and rules (priorities 30200 and 30400) for ENIs", unit))
	}
	return results
}

// checkNodeadm: whether nodeadm has systemd-networkd configure ENIs that have the tag
// no_manage, as all of ours do.
func checkNodeadm(f Facts) []Result {
	const check = "nodeadm"
	n := f.Nodeadm
	switch {
	case n == nil:
		return nil
	case n.OSManagedENIs != "":
		return []Result{warning(check, "remove the feature gate OSManagedNoManageENIs from the NodeConfig, and replace the node",
			"%s enables the feature gate OSManagedNoManageENIs: systemd-networkd then configures every ENI with the tag node.k8s.amazonaws.com/no_manage, which the agent sets, with DHCP and its own route tables", n.OSManagedENIs)}
	case n.Err != nil:
		return []Result{skipped(check, "cannot read the user data, which may enable the feature gate OSManagedNoManageENIs: %v", n.Err)}
	case n.Present:
		return []Result{ok(check, "the feature gate OSManagedNoManageENIs is disabled")}
	}
	return nil
}
