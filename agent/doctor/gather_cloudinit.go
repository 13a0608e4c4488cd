package doctor

import (
	"path"
	"slices"

	"sigs.k8s.io/yaml"
)

// CloudInit is how cloud-init configures links that are plugged in.
type CloudInit struct {
	// Rule is the udev rule that starts it; "" when it does nothing.
	Rule string
	// File is the configuration that says so; "" when it is by default.
	File string
}

// cloudInitTakes: cloud-init makes its rule where it is to configure what is plugged
// in, which is the default on EC2 since its version 24.1 (canonical/cloud-init#4799). It
// reads its configuration again each time.
func (r root) cloudInitTakes() CloudInit {
	var c CloudInit
	for _, name := range []string{"10-cloud-init-hook-hotplug.rules", "90-cloud-init-hook-hotplug.rules", "99-cloud-init-hook-hotplug.rules"} {
		if file := path.Join(rulesDirectory, name); r.exists(file) && !r.masked(file) {
			c.Rule = file
		}
	}
	on := true
	for _, file := range append([]string{"/etc/cloud/cloud.cfg"}, r.list([]string{"/etc/cloud/cloud.cfg.d"}, "*.cfg")...) {
		var config struct {
			Updates struct{ Network struct{ When *[]string } }
		}
		text, _ := r.read(file)
		if yaml.Unmarshal([]byte(text), &config) == nil && config.Updates.Network.When != nil {
			c.File, on = file, slices.Contains(*config.Updates.Network.When, "hotplug")
		}
	}
	if c.Rule == "" || !on {
		return CloudInit{}
	}
	return c
}
