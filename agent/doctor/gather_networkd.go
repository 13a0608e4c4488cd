package doctor

import (
	"path"
	"strings"
)

var networkDirectories = []string{"/etc/systemd/network", "/run/systemd/network", "/usr/local/lib/systemd/network", "/usr/lib/systemd/network"}

// device is the link of an ENI that may come.
type device struct {
	name, driver string
}

// networkdTakes is the .network file by which systemd-networkd would configure
// the device's link, or "". The first file that matches decides.
func (r root) networkdTakes(d device) string {
	for _, file := range r.list(networkDirectories, "*.network") {
		if r.masked(file) {
			continue
		}
		text, readable := r.read(file)
		if !readable {
			continue
		}
		for _, dropIn := range r.list(under(networkDirectories, path.Base(file)+".d"), "*.conf") {
			more, _ := r.read(dropIn)
			text += "\n" + more
		}
		unmanaged, matches := false, true
		for _, s := range parseSections(text) {
			switch s.name {
			case "Match":
				matches = matches && matchesDevice(s, d)
			case "Link":
				unmanaged = unmanaged || isTrue(s.last("unmanaged"))
			}
		}
		switch {
		case !matches:
		case unmanaged:
			return ""
		default:
			return file
		}
	}
	return ""
}

// matchesDevice says whether a [Match] section matches the link of an ENI whose
// MAC is not known yet. Of keys that say nothing about a link it is assumed that
// they match this host.
func matchesDevice(s section, d device) bool {
	for key, values := range s.values {
		patterns := strings.Join(values, " ")
		switch key {
		case "name":
			if !matchesAny(patterns, d.name) {
				return false
			}
		case "driver":
			if !matchesAny(patterns, d.driver) {
				return false
			}
		case "type":
			if !matchesAny(patterns, "ether") {
				return false
			}
		case "path":
			if !matchesAny(patterns, "pci-0000:00:06.0") && !matchesAny(patterns, "vif-6") {
				return false
			}
		case "kind":
			if !matchesAny(patterns, "") {
				return false // an ENI's link is no virtual one
			}
		case "macaddress", "permanentmacaddress", "ssid", "bssid", "wlaninterfacetype":
			return false // that of another one
		}
	}
	return true
}

// matchesAny: one of the patterns matches, or none of them when the first begins
// with an exclamation mark.
func matchesAny(patterns, text string) bool {
	patterns, inverted := strings.CutPrefix(strings.TrimSpace(patterns), "!")
	for _, pattern := range strings.Fields(patterns) {
		if glob(pattern, text) {
			return !inverted
		}
	}
	return inverted
}

func under(directories []string, name string) []string {
	all := make([]string, len(directories))
	for i, d := range directories {
		all[i] = path.Join(d, name)
	}
	return all
}

func isTrue(text string) bool {
	switch strings.ToLower(text) {
	case "1", "yes", "y", "true", "t", "on":
		return true
	}
	return false
}
