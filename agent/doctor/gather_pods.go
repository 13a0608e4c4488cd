package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/aws-multi-eni/aws-multi-eni/agent/cniplugin"
)

// delegates are the plugins that eni calls: static, and the one of its mode.
var delegates = []string{"static", "ipvlan", "ptp", "host-device"}

// GatherPods looks at what pods need on a host whose file system is at path: the plugins
// in a directory of the host, other directories that the agent of this version has to
// write, and the kernel.
func GatherPods(at, plugins, version string, directories ...string) *Pods {
	r := root(at)
	p := &Pods{PluginDir: plugins, Plugins: map[string]Plugin{}, Version: version, Dropping: dropping(), IPVLAN: r.ipvlan()}
	_, p.PluginDirErr = os.ReadDir(r.path(plugins))
	for _, name := range append([]string{cniplugin.Name}, delegates...) {
		if _, err := os.Stat(r.path(filepath.Join(plugins, name))); err != nil {
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
			found.About, found.AskErr = cniplugin.Ask(ctx, root(at).path(filepath.Join(p.PluginDir, name)))
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

// dropping are the IPv4 chains with the policy to drop what is forwarded. Those of
// iptables-legacy are not among them.
func dropping() []string {
	conn, err := nftables.New()
	if err != nil {
		return nil
	}
	var names []string
	for _, family := range []nftables.TableFamily{nftables.TableFamilyIPv4, nftables.TableFamilyINet} {
		chains, _ := conn.ListChainsOfTableFamily(family) // a kernel without nf_tables has none
		for _, c := range chains {
			if c.Hooknum != nil && *c.Hooknum == *nftables.ChainHookForward && c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop {
				names = append(names, c.Table.Name+" "+c.Name)
			}
		}
	}
	return names
}

// missing says whether a path is not there.
func missing(err error) bool {
	return errors.Is(err, fs.ErrNotExist)
}
