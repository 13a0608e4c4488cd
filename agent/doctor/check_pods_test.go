package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// healthyPods are facts that no check objects to.
func healthyPods() *Pods {
	p := &Pods{PluginDir: "/opt/cni/bin", Version: "v0.2.0", Forwarding: "1", IPVLAN: new(true), Plugins: map[string]Plugin{}}
	for _, name := range delegates {
		p.Plugins[name] = Plugin{Asked: true, Version: "v1.9.0"}
	}
	p.Plugins["eni"] = Plugin{Asked: true, Version: "v0.2.0"}
	return p
}

func TestCheckPods(t *testing.T) {
	const reference = "reference CNI plugins"
	without := func(names ...string) func(*Pods) {
		return func(p *Pods) {
			for _, name := range names {
				delete(p.Plugins, name)
			}
		}
	}
	old := Plugin{Asked: true, Version: "v1.5.1"}
	for name, test := range map[string]struct {
		change func(*Pods)
		check  string
		status Status
		words  []string
	}{
		"no directory": {func(p *Pods) { p.PluginDirErr = fs.ErrNotExist }, pluginCheck, Failure,
			[]string{"cannot read the directory /opt/cni/bin", "pods.cniBinDir", "--cni-bin-dir", "/var/lib/rancher/k3s/data/cni with k3s"}},
		"no plugin":             {without("eni"), pluginCheck, Failure, []string{"not installed in /opt/cni/bin", "eni-agent install-cni", "pods.enabled"}},
		"a plugin of others":    {func(p *Pods) { p.Plugins["eni"] = Plugin{Foreign: errors.New("it is a script")} }, pluginCheck, Failure, []string{"it is a script", "move it to another directory"}},
		"a plugin that fails":   {func(p *Pods) { p.Plugins["eni"] = Plugin{Asked: true, AskErr: errors.New("exec format error")} }, pluginCheck, Failure, []string{"exec format error"}},
		"a former plugin":       {func(p *Pods) { p.Version = "v0.3.0" }, pluginCheck, Warning, []string{"is v0.2.0, but the agent is v0.3.0"}},
		"a plugin":              {func(*Pods) {}, pluginCheck, OK, []string{"v0.2.0"}},
		"plugins are not asked": {func(p *Pods) { p.Plugins["eni"], p.Plugins["ptp"] = Plugin{}, Plugin{} }, pluginCheck, OK, []string{"installed in /opt/cni/bin"}},

		"no static":                             {without("static"), reference, Failure, []string{"static not found in /opt/cni/bin: pods that use the plugin eni do not start"}},
		"no ipvlan":                             {without("ipvlan"), reference, Failure, []string{"ipvlan not found in /opt/cni/bin: pods whose NetworkAttachmentDefinition has no mode", "node is ipvlan", "set a mode whose plugin is installed"}},
		"no ipvlan, and not in the kernel":      {func(p *Pods) { without("ipvlan")(p); p.IPVLAN = new(false) }, reference, Warning, []string{"ipvlan not found in /opt/cni/bin: pods with that mode"}},
		"no ptp":                                {without("ptp"), reference, Warning, []string{"ptp not found"}},
		"no ptp, and no ipvlan in the kernel":   {func(p *Pods) { without("ptp")(p); p.IPVLAN = new(false) }, reference, Failure, []string{"node is ptp"}},
		"an older static":                       {func(p *Pods) { p.Plugins["static"] = old }, reference, OK, []string{"static v1.5.1"}},
		"no host-device, no ptp":                {without("host-device", "ptp"), reference, Warning, []string{"ptp, host-device not found"}},
		"all, and one that does not tell":       {func(p *Pods) { p.Plugins["ptp"] = Plugin{Asked: true, AskErr: errors.New("no")} }, reference, OK, []string{"static v1.9.0, ipvlan v1.9.0, ptp, host-device v1.9.0"}},
		"all, where the kernel is not known":    {func(p *Pods) { p.IPVLAN = nil }, reference, OK, nil},
		"no ipvlan, and the kernel is not seen": {func(p *Pods) { without("ipvlan")(p); p.IPVLAN = nil }, reference, Failure, nil},

		"a directory is not there":  {func(p *Pods) { p.Unwritable = []error{fmt.Errorf("/run/eni-agent/pods: %w", fs.ErrNotExist)} }, "files for pods", Failure, []string{"/run/eni-agent/pods", "start the agent with --pods", "pods.conf"}},
		"a directory is read-only":  {func(p *Pods) { p.Unwritable = []error{fmt.Errorf("/var/lib: %w", fs.ErrPermission)} }, "files for pods", Failure, []string{"mount the directory read-write"}},
		"directories are as needed": {func(*Pods) {}, "files for pods", OK, nil},
		"forwarding is off":         {func(p *Pods) { p.Forwarding = "0" }, "forwarding for pods", Warning, []string{"sysctl -w net.ipv4.ip_forward=1"}},
		"a chain drops":             {func(p *Pods) { p.Dropping = []string{"filter FORWARD"} }, "forwarding for pods", Warning, []string{"chain filter FORWARD is drop", "iptables -I FORWARD"}},
		"forwarding is on":          {func(*Pods) {}, "forwarding for pods", OK, nil},
		"forwarding is not known":   {func(p *Pods) { p.Forwarding = "" }, "forwarding for pods", OK, nil},
	} {
		t.Run(name, func(t *testing.T) {
			f := healthy()
			test.change(f.Pods)
			wantResult(t, f, test.check, test.status, test.words)
		})
	}
	f := healthy()
	f.Pods = nil
	for _, r := range Check(f) {
		if slices.Contains([]string{pluginCheck, reference, "files for pods", "forwarding for pods"}, r.Check) {
			t.Errorf("without pods: %+v", r)
		}
	}
}

// TestForPods: only NodeENIs count that select the node.
func TestForPods(t *testing.T) {
	f := healthy()
	if f.Wanted.ForPods() || (*Wanted)(nil).ForPods() {
		t.Error("without such a NodeENI")
	}
	f.Wanted.NodeENIs[0].Spec.Pods = &v1alpha1.Pods{}
	if !f.Wanted.ForPods() {
		t.Error("with such a NodeENI")
	}
	f.Wanted.Labels = nil
	if f.Wanted.ForPods() {
		t.Error("with such a NodeENI of other nodes")
	}
}

func TestGatherPods(t *testing.T) {
	const bin = "/var/lib/rancher/k3s/data/cni/"
	at := tree(t, map[string]string{
		bin + "eni": "#!/bin/sh\n", bin + "static": "#!/bin/sh\necho CNI static plugin v1.7.1\necho CNI protocol versions supported: 1.0.0, 1.1.0\n",
		bin + "ptp":                "-> /var/lib/rancher/k3s/data/current/bin/cni", // leads out of here
		"/run/eni-agent/pods/file": "", "/sys/module/ipvlan/version": "",
	})
	if err := os.Chmod(filepath.Join(at, bin, "static"), 0o755); err != nil {
		t.Fatal(err)
	}
	p := GatherPods(at, strings.TrimSuffix(bin, "/"), "v0.2.0", "/run/eni-agent/pods", "/var/lib/eni-agent/pods")
	if p.PluginDirErr != nil || len(p.Plugins) != 3 || p.Plugins["eni"].Foreign == nil || p.Plugins["static"].Asked {
		t.Errorf("the directory: %v; the plugins: %+v", p.PluginDirErr, p.Plugins)
	}
	if len(p.Unwritable) != 1 || !errors.Is(p.Unwritable[0], fs.ErrNotExist) || !strings.Contains(p.Unwritable[0].Error(), "/var/lib/eni-agent/pods: ") {
		t.Errorf("it cannot write %v", p.Unwritable)
	}
	if p.IPVLAN == nil || !*p.IPVLAN || p.Forwarding == "" {
		t.Errorf("ipvlan %v, forwarding %q", p.IPVLAN, p.Forwarding)
	}
	p.Ask(context.Background(), at)
	if about := p.Plugins["static"]; about.Version != "v1.7.1" || !about.Asked || about.AskErr != nil {
		t.Errorf("static: %+v", about)
	}
	if p.Plugins["ptp"].AskErr == nil || p.Plugins["eni"].Asked {
		t.Errorf("the others: %+v", p.Plugins)
	}
	if p := GatherPods(at, "/opt/cni/bin", ""); p.PluginDirErr == nil {
		t.Error("a directory that is not there")
	}
}

// TestIPVLAN: the kernel's modules tell, where they are to be seen.
func TestIPVLAN(t *testing.T) {
	release := GatherKernel().Release
	for name, test := range map[string]struct {
		files map[string]string
		want  string
	}{
		"no modules to be seen": {nil, "<nil>"},
		"loadable":              {map[string]string{"modules.dep": "kernel/drivers/net/ipvlan/ipvlan.ko.xz: kernel/net/l3mdev/l3mdev.ko\n"}, "true"},
		"built in":              {map[string]string{"modules.builtin": "kernel/drivers/net/ipvlan/ipvlan.ko\n"}, "true"},
		"neither":               {map[string]string{"modules.dep": "kernel/drivers/net/macvlan.ko:\n"}, "false"},
	} {
		files := map[string]string{}
		for file, text := range test.files {
			files["/lib/modules/"+release+"/"+file] = text
		}
		got := "<nil>"
		if has := root(tree(t, files)).ipvlan(); has != nil {
			got = fmt.Sprint(*has)
		}
		if got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
}
