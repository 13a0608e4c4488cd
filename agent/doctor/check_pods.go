package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/aws-multi-eni/aws-multi-eni/agent/cniplugin"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// checkPods: whether pods can have addresses of this node's ENIs.
func checkPods(f Facts) []Result {
	p := f.Pods
	if p == nil {
		return nil
	}
	if p.PluginDirErr != nil {
		return []Result{failure(pluginCheck, "set pods.enabled in the Helm chart, which mounts the directory, or set pods.cniBinDir in the chart or --cni-bin-dir to the directory in which the container runtime looks for CNI plugins: "+cniplugin.Dirs,
			"cannot read the directory %s: %v", p.PluginDir, p.PluginDirErr)}
	}
	return slices.Concat(p.checkPlugin(), p.checkDelegates(), p.checkDirectories(), p.checkForwarding())
}

const pluginCheck = "CNI plugin eni"

// checkPlugin: whether the container runtime finds ours.
func (p *Pods) checkPlugin() []Result {
	const install = "restart the agent's pod, whose init container installs the plugin (pods.enabled in the Helm chart), or run eni-agent install-cni on the host"
	plugin, found := p.Plugins[cniplugin.Name]
	switch {
	case !found:
		return []Result{failure(pluginCheck, install, "not installed in %s: pods that use it do not start", p.PluginDir)}
	case plugin.Foreign != nil:
		return []Result{failure(pluginCheck, "find out what installed this program, move it to another directory, and "+install, "%v", plugin.Foreign)}
	case !plugin.Asked:
		return []Result{ok(pluginCheck, "installed in %s", p.PluginDir)}
	case plugin.AskErr != nil:
		return []Result{failure(pluginCheck, install, "%v", plugin.AskErr)}
	case plugin.Version != p.Version:
		return []Result{warning(pluginCheck, install, "the version in %s is %s, but the agent is %s", p.PluginDir, plugin.Version, p.Version)}
	}
	return []Result{ok(pluginCheck, "the version in %s is %s, like the agent", p.PluginDir, plugin.Version)}
}

// checkDelegates: whether the plugins are there that eni calls.
func (p *Pods) checkDelegates() []Result {
	const (
		check   = "reference CNI plugins"
		install = "install them (https://github.com/containernetworking/plugins/releases); docs/installation.md lists the systems that include them"
	)
	var there, lacking []string
	for _, name := range delegates {
		plugin, found := p.Plugins[name]
		if !found {
			lacking = append(lacking, name)
			continue
		}
		there = append(there, strings.TrimSpace(name+" "+plugin.Version))
	}
	text := fmt.Sprintf("%s not found in %s", strings.Join(lacking, ", "), p.PluginDir)
	usual := p.defaultMode()
	switch {
	case len(lacking) == 0:
		return []Result{ok(check, "found %s", strings.Join(there, ", "))}
	case slices.Contains(lacking, "static"):
		return []Result{failure(check, install, "%s: pods that use the plugin eni do not start", text)}
	case slices.ContainsFunc(lacking, func(name string) bool { return strings.Contains(name, usual) }):
		return []Result{failure(check, install+"; or set a mode whose plugin is installed in each NetworkAttachmentDefinition", "%s: pods whose NetworkAttachmentDefinition has no mode do not start, because the default mode on this node is %s", text, usual)}
	}
	return []Result{warning(check, install, "%s: pods with that mode do not start", text)}
}

// defaultMode is the mode of a NetworkAttachmentDefinition that has none.
func (p *Pods) defaultMode() string {
	if p.IPVLAN != nil && !*p.IPVLAN {
		return "ptp"
	}
	return "ipvlan"
}

// checkDirectories: whether the agent can keep the plugin's files.
func (p *Pods) checkDirectories() []Result {
	const check = "files for pods"
	var results []Result
	for _, err := range p.Unwritable {
		action := "mount the directory read-write, and run the agent as root, as pods.enabled in the Helm chart and pods.conf of the deb and rpm do"
		if errors.Is(err, fs.ErrNotExist) {
			action = "start the agent with --pods; pods.enabled in the Helm chart mounts the directory, and pods.conf of the deb and rpm creates it"
		}
		results = append(results, failure(check, action, "the agent cannot write the network files for the CNI plugin, or cannot free addresses: %v", err))
	}
	if len(results) == 0 {
		results = append(results, ok(check, "the agent can write these files"))
	}
	return results
}

// checkForwarding: whether the host passes on what pods with mode ptp send.
func (p *Pods) checkForwarding() []Result {
	const check = "forwarding for pods"
	var results []Result
	if p.Forwarding == "0" {
		results = append(results, warning(check, "sysctl -w net.ipv4.ip_forward=1, and net.ipv4.ip_forward = 1 in /etc/sysctl.d",
			"net.ipv4.ip_forward is 0: the plugin ptp enables it for each pod, and pods with mode ptp lose connectivity when another program disables it again"))
	}
	if len(p.Dropping) > 0 {
		results = append(results, warning(check, "accept packets from and to the ranges of the NodeENI (for example with iptables -I FORWARD -s RANGE -j ACCEPT, and the same with -d RANGE), or set the policy to accept",
			"the policy of the nftables chain %s is drop: it drops the packets of pods with mode ptp unless a rule accepts them", strings.Join(p.Dropping, ", ")))
	}
	if len(results) == 0 {
		results = append(results, ok(check, "enabled, and no chain has the policy drop (chains of iptables-legacy are not checked)"))
	}
	return results
}

// ForPods says whether a NodeENI is for pods of this node.
func (w *Wanted) ForPods() bool {
	return slices.ContainsFunc(w.selecting(), func(n *v1alpha1.NodeENI) bool { return n.Spec.Pods != nil })
}
