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
		return []Result{failure(pluginCheck, "set pods.enabled of the Helm chart, which mounts it for the agent; or name the directory in which the container runtime looks for CNI plugins, by pods.cniBinDir of the chart or --cni-bin-dir: "+cniplugin.Dirs,
			"the directory %s cannot be read: %v", p.PluginDir, p.PluginDirErr)}
	}
	return slices.Concat(p.checkPlugin(), p.checkDelegates(), p.checkDirectories(), p.checkForwarding())
}

const pluginCheck = "CNI plugin eni"

// checkPlugin: whether the container runtime finds ours.
func (p *Pods) checkPlugin() []Result {
	const install = "restart the agent's pod, whose init container installs it (pods.enabled of the Helm chart), or run eni-agent install-cni on the host"
	plugin, found := p.Plugins[cniplugin.Name]
	switch {
	case !found:
		return []Result{failure(pluginCheck, install, "is not in %s: pods that ask for it do not start", p.PluginDir)}
	case plugin.Foreign != nil:
		return []Result{failure(pluginCheck, "find out what has installed it, move it away, and "+install, "%v", plugin.Foreign)}
	case !plugin.Asked:
		return []Result{ok(pluginCheck, "is in %s", p.PluginDir)}
	case plugin.AskErr != nil:
		return []Result{failure(pluginCheck, install, "%v", plugin.AskErr)}
	case plugin.Version != p.Version:
		return []Result{warning(pluginCheck, install, "in %s is %s, and the agent %s", p.PluginDir, plugin.Version, p.Version)}
	}
	return []Result{ok(pluginCheck, "in %s is %s, as the agent", p.PluginDir, plugin.Version)}
}

// checkDelegates: whether the plugins are there that eni calls.
func (p *Pods) checkDelegates() []Result {
	const (
		check   = "reference CNI plugins"
		install = "install them (https://github.com/containernetworking/plugins/releases); docs/installation.md says which systems have them"
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
	text := fmt.Sprintf("%s lacks %s", p.PluginDir, strings.Join(lacking, " and "))
	usual := p.defaultMode()
	switch {
	case len(lacking) == 0:
		return []Result{ok(check, "there are %s", strings.Join(there, ", "))}
	case slices.Contains(lacking, "static"):
		return []Result{failure(check, install, "%s: no pod that asks for eni starts", text)}
	case slices.ContainsFunc(lacking, func(name string) bool { return strings.Contains(name, usual) }):
		return []Result{failure(check, install+"; or give each NetworkAttachmentDefinition a mode whose plugin is there", "%s: pods whose NetworkAttachmentDefinition has no mode do not start, because it is %s here", text, usual)}
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
		action := "mount it read-write, and run the agent as root: pods.enabled of the Helm chart does, and pods.conf of the deb and rpm"
		if errors.Is(err, fs.ErrNotExist) {
			action = "start the agent with --pods; pods.enabled of the Helm chart mounts it, and pods.conf of the deb and rpm makes it"
		}
		results = append(results, failure(check, action, "the agent cannot tell the CNI plugin of ENIs, or free addresses: %v", err))
	}
	if len(results) == 0 {
		results = append(results, ok(check, "the agent can write them"))
	}
	return results
}

// checkForwarding: whether the host passes on what pods with mode ptp send.
func (p *Pods) checkForwarding() []Result {
	const check = "forwarding for pods"
	var results []Result
	if p.Forwarding == "0" {
		results = append(results, warning(check, "sysctl -w net.ipv4.ip_forward=1, and net.ipv4.ip_forward = 1 in /etc/sysctl.d",
			"net.ipv4.ip_forward is 0: the plugin ptp switches it on for each pod, and pods with mode ptp reach nothing once something switches it off again"))
	}
	if len(p.Dropping) > 0 {
		results = append(results, warning(check, "accept what comes from and goes to the ranges of the NodeENI, such as by iptables -I FORWARD -s RANGE -j ACCEPT and -d RANGE, or set the policy to accept",
			"the policy of the nftables chain %s is drop: it drops what pods with mode ptp send and get, unless a rule accepts it", strings.Join(p.Dropping, ", ")))
	}
	if len(results) == 0 {
		results = append(results, ok(check, "is on, and no chain drops by policy (those of iptables-legacy are not looked at)"))
	}
	return results
}

// ForPods says whether a NodeENI is for pods of this node.
func (w *Wanted) ForPods() bool {
	return slices.ContainsFunc(w.selecting(), func(n *v1alpha1.NodeENI) bool { return n.Spec.Pods != nil })
}
