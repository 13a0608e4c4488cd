package doctor

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/aws-multi-eni/aws-multi-eni/agent/cniplugin"
	"github.com/aws-multi-eni/aws-multi-eni/agent/hostnet"
)

// delegates are the plugins that eni calls: static, and the one of its mode.
var delegates = []string{"static", "ipvlan", "ptp", "host-device"}

// GatherPods looks at what pods need on a host whose file system is at path: the plugins
// in a directory of the host, other directories that the agent of this version has to
// write, and the kernel.
func GatherPods(at, plugins, version string, directories ...string) *Pods {
	r := root(at)
	p := &Pods{PluginDir: plugins, Plugins: map[string]Plugin{}, Version: version, Dropping: hostnet.Dropping(), IPVLAN: r.ipvlan()}
	_, p.PluginDirErr = os.ReadDir(r.path(plugins))
	for _, name := range append([]string{cniplugin.Name}, delegates...) {
		if !r.exists(filepath.Join(plugins, name)) {
			continue
		}
		var found Plugin
		if name == cniplugin.Name {
			found.Foreign = cniplugin.CheckOurs(r.path(filepath.Join(plugins, name)))
		}
		p.Plugins[name] = found
	}
	for _, directory := range directories {
		if err := unix.Access(r.path(directory), unix.W_OK|unix.X_OK); err != nil {
			p.Unwritable = append(p.Unwritable, fmt.Errorf("%s: %w", directory, err))
		}
	}
	forwarding, _ := os.ReadFile("/proc/sys/net/ipv4/ip_forward")
	p.Forwarding = strings.TrimSpace(string(forwarding))
	return p
}

// Ask has the plugins tell about themselves. It starts programs of the host.
func (p *Pods) Ask(ctx context.Context, at string) {
	for name, found := range p.Plugins {
		if found.Foreign == nil {
			found.Asked = true
			found.Version, found.AskErr = cniplugin.Ask(ctx, root(at).path(filepath.Join(p.PluginDir, name)))
			p.Plugins[name] = found
		}
	}
}

// ipvlan says whether the kernel has it, loaded or to be loaded; nil when the kernel's
// modules cannot be seen.
func (r root) ipvlan() *bool {
	if r.exists("/sys/module/ipvlan") {
		return new(true)
	}
	var release unix.Utsname
	if unix.Uname(&release) != nil {
		return nil
	}
	modules := filepath.Join("/lib/modules", unix.ByteSliceToString(release.Release[:]))
	if !r.exists(modules) {
		return nil
	}
	loadable, _ := r.read(modules + "/modules.dep")
	builtin, _ := r.read(modules + "/modules.builtin")
	return new(strings.Contains(loadable+builtin, "/ipvlan.ko"))
}
