package doctor

import (
	"strings"
)

// networkManagerTakes says for want of what NetworkManager would configure the
// device's link with a profile of its own making, or "".
func (r root) networkManagerTakes(d device) string {
	var unmanaged, noAutoDefault string
	off := false
	files := append([]string{"/etc/NetworkManager/NetworkManager.conf"},
		r.list([]string{"/etc/NetworkManager/conf.d", "/run/NetworkManager/conf.d", "/usr/lib/NetworkManager/conf.d"}, "*.conf")...)
	// NetworkManager.conf is read first but wins; the rest by name, the last one
	// wins. The device sections add up.
	for i := len(files) - 1; i >= 0; i-- {
		text, _ := r.read(files[i])
		for _, s := range parseSections(text) {
			switch {
			case s.name == "main" && noAutoDefault == "":
				noAutoDefault = s.last("no-auto-default")
			case s.name == "keyfile" && unmanaged == "":
				unmanaged = s.last("unmanaged-devices")
			case strings.HasPrefix(s.name, "device"):
				managed := s.last("managed")
				off = off || managed != "" && !isTrue(managed) && matchesSpecs(s.last("match-device"), d)
			}
		}
	}
	if off || matchesSpecs(unmanaged, d) || matchesSpecs(noAutoDefault, d) {
		return ""
	}
	return "a missing entry in unmanaged-devices or no-auto-default"
}

// matchesSpecs is NetworkManager's "device list format": any of the
// specifications, and none of those after except:.
func matchesSpecs(list string, d device) bool {
	matched, onlyExceptions := false, true
	for _, spec := range strings.FieldsFunc(list, func(c rune) bool { return c == ',' || c == ';' }) {
		spec = strings.TrimSpace(spec)
		if except, ok := strings.CutPrefix(spec, "except:"); ok {
			if matchesSpec(except, d) {
				return false
			}
			continue
		}
		onlyExceptions = false
		matched = matched || matchesSpec(spec, d)
	}
	return matched || onlyExceptions && strings.Contains(list, "except:")
}

func matchesSpec(spec string, d device) bool {
	kind, value, typed := strings.Cut(spec, ":")
	switch {
	case spec == "*":
		return true
	case typed && kind == "interface-name":
		if literal, ok := strings.CutPrefix(value, "="); ok {
			return literal == d.name
		}
		return glob(strings.TrimPrefix(value, "~"), d.name)
	case typed && kind == "driver":
		return glob(value, d.driver)
	case typed && kind == "type":
		return value == "ethernet"
	default: // a name, or a MAC, which is another's
		return spec == d.name
	}
}
