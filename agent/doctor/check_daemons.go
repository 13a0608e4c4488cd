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
		return append(results, warning("Talos", fmt.Sprintf("give each link that ENIs will have an entry in machine.network.interfaces with ignore: true (%s), or the kernel argument talos.network.interface.ignore=LINK", links),
			"takes the next ENI's link (%s) unless its machine configuration says otherwise, which cannot be seen here: it gets addresses by DHCP, and routes in main", links))
	case len(results) > 0:
		return results
	case h.Blind:
		return []Result{skipped(check, "the host's processes cannot be seen from here, so what configures links is not known; run it on the host, or in a pod of kubectl debug node/NODE --profile=sysadmin")}
	case h.Guessed:
		return []Result{skipped(check, "the primary ENI's link is not found, so the next ENI's is not known")}
	case len(h.Others) > 0:
		return []Result{skipped(check, "%s runs on this host (%s), and how it is configured is not known here: see that it leaves the next ENI's link (%s) alone", strings.Join(h.Others, ", "), orUnknown(h.OS), links)}
	case !slices.Contains(understood, h.ID):
		return []Result{skipped(check, "what configures links on this host (%s) is not known here: see that nothing takes the next ENI's link (%s)", orUnknown(h.OS), links)}
	}
	return []Result{ok(check, "none takes the next ENI's link (%s)", links)}
}

func orUnknown(text string) string {
	if text == "" {
		return "of unknown kind"
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
			"%s gives every ENI's link addresses and routes of its own", rule))
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
	action := fmt.Sprintf("install packaging/systemd/optional/networkd.network (in /usr/share/eni-agent of the deb and rpm) as /etc/systemd/network/%s, with the primary link's name in it: it keeps systemd-networkd off all ENIs but the primary one", name)
	if name == "" {
		action = fmt.Sprintf("have the [Match] section of %s name the primary ENI's link only, or mask it by a link to /dev/null in /etc/systemd/network", h.Networkd.Takes)
	}
	return []Result{warning("systemd-networkd", action, "%s takes the next ENI's link (%s): it gets addresses by DHCP, and routes in main", h.Networkd.Takes, strings.Join(h.Links, ", "))}
}

func checkNetworkManager(h *Host) []Result {
	if !h.NetworkManager.Running || h.NetworkManager.Takes == "" {
		return nil
	}
	return []Result{warning("NetworkManager", "install packaging/systemd/optional/networkmanager.conf (in /usr/share/eni-agent of the deb and rpm) as /etc/NetworkManager/conf.d/50-eni-agent.conf, with the primary link's name in it: it keeps NetworkManager off all ENIs but the primary one",
		"takes the next ENI's link (%s), for %s: it gets addresses by DHCP, and routes in main", strings.Join(h.Links, ", "), h.NetworkManager.Takes)}
}

// ourCloudConfig is where packaging/systemd/optional/cloud-init.cfg is put. Of the files
// that say when cloud-init configures links the last by name counts.
const ourCloudConfig = "99-eni-agent.cfg"

func checkCloudInit(h *Host) []Result {
	if h.CloudInit.Rule == "" {
		return nil
	}
	action := "install packaging/systemd/optional/cloud-init.cfg (in /usr/share/eni-agent of the deb and rpm) as /etc/cloud/cloud.cfg.d/" + ourCloudConfig + ": it keeps cloud-init from all ENIs but the primary one"
	if path.Base(h.CloudInit.File) >= ourCloudConfig && path.Base(h.CloudInit.File) != "cloud.cfg" {
		action = "take hotplug out of updates.network.when in " + h.CloudInit.File
	}
	return []Result{warning("cloud-init", action, "%s has it configure the next ENI's link (%s) when that is plugged in: it gets addresses by DHCP, and routes and rules of cloud-init's own", h.CloudInit.Rule, strings.Join(h.Links, ", "))}
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
			"%s is enabled: it gives ENIs addresses and rules of its own, of priority 30200 and 30400", unit))
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
		return []Result{warning(check, "take the feature gate OSManagedNoManageENIs out of the NodeConfig, and replace the node",
			"%s turns its feature gate OSManagedNoManageENIs on: systemd-networkd then configures every ENI with the tag node.k8s.amazonaws.com/no_manage, which ours have, by DHCP, with routes in tables of its own", n.OSManagedENIs)}
	case n.Err != nil:
		return []Result{skipped(check, "the user data, which may turn its feature gate OSManagedNoManageENIs on, cannot be read: %v", n.Err)}
	case n.Present:
		return []Result{ok(check, "its feature gate OSManagedNoManageENIs is off")}
	}
	return nil
}
