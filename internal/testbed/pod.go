package testbed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/google/uuid"

	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim"
)

// NetworksDir and DataDir are where agent and CNI plugin have their files of pods on a
// node, because all nodes have this machine's file system.
func (tb *Testbed) NetworksDir(node string) string { return filepath.Join(tb.cfg.Dir, node, "run") }

// DataDir survives a reboot of the node, unlike NetworksDir.
func (tb *Testbed) DataDir(node string) string { return filepath.Join(tb.cfg.Dir, node, "lib") }

// PodsFlags make the agent of a node tell the CNI plugin what NodeENIs offer to pods.
func (tb *Testbed) PodsFlags(node string) []string {
	return []string{"--pods", "--pods-dir", tb.NetworksDir(node), "--pods-data-dir", tb.DataDir(node)}
}

// Pod is a pod's sandbox as a container runtime makes it: a network namespace that
// plugins find by a path. Nothing runs in it.
type Pod struct {
	Name      string // in the namespace default
	Node      sim.Node
	Namespace *netns.Namespace

	tb   *Testbed
	id   string // of the sandbox
	path string // of the namespace
}

// NewPod makes a pod on a node, without any interface but lo.
func (tb *Testbed) NewPod(node, name string) (*Pod, error) {
	n, err := tb.Sim.Node(node)
	if err != nil {
		return nil, err
	}
	ns, err := netns.New()
	if err != nil {
		return nil, err
	}
	p := &Pod{Name: name, Node: n, Namespace: ns, tb: tb, id: strings.ReplaceAll(uuid.NewString(), "-", "")}
	// A name that no other pod ever has, as in /run/netns.
	p.path = filepath.Join(tb.cfg.Dir, node, "netns", p.id)
	err = os.MkdirAll(filepath.Dir(p.path), 0o755)
	if err == nil {
		err = os.Symlink(ns.Path(), p.path)
	}
	if err != nil {
		return nil, errors.Join(err, ns.Close())
	}
	return p, nil
}

// Remove removes the sandbox, as a runtime does after it has detached the pod, and a
// reboot without that.
func (p *Pod) Remove() error {
	err := os.Remove(p.path)
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, p.Namespace.Close())
}

// Attach gives the pod an interface, as Multus does with the configuration of a
// NetworkAttachmentDefinition and the addresses that the pod's annotation asks for.
func (p *Pod) Attach(ctx context.Context, link, config string, ips ...string) (*types100.Result, error) {
	var result types.Result
	err := p.run(link, config, ips, func(cni *libcni.CNIConfig, list *libcni.NetworkConfigList, rt *libcni.RuntimeConf) (err error) {
		result, err = cni.AddNetworkList(ctx, list, rt)
		return err
	})
	if err != nil {
		return nil, err
	}
	return types100.GetResult(result)
}

// Detach takes the interface from the pod.
func (p *Pod) Detach(ctx context.Context, link, config string) error {
	return p.run(link, config, nil, func(cni *libcni.CNIConfig, list *libcni.NetworkConfigList, rt *libcni.RuntimeConf) error {
		return cni.DelNetworkList(ctx, list, rt)
	})
}

// Check says what is wrong with the pod's interface.
func (p *Pod) Check(ctx context.Context, link, config string) error {
	return p.run(link, config, nil, func(cni *libcni.CNIConfig, list *libcni.NetworkConfigList, rt *libcni.RuntimeConf) error {
		return cni.CheckNetworkList(ctx, list, rt)
	})
}

// run calls plugins in the node's network namespace, where a runtime has them run.
func (p *Pod) run(link, config string, ips []string, call func(*libcni.CNIConfig, *libcni.NetworkConfigList, *libcni.RuntimeConf) error) error {
	list, err := p.tb.configure(p.Node.Name, config)
	if err != nil {
		return err
	}
	rt := &libcni.RuntimeConf{
		ContainerID: p.id, NetNS: p.path, IfName: link,
		Args: [][2]string{{"IgnoreUnknown", "true"}, {"K8S_POD_NAMESPACE", "default"}, {"K8S_POD_NAME", p.Name}, {"K8S_POD_INFRA_CONTAINER_ID", p.id}},
	}
	if len(ips) > 0 {
		rt.CapabilityArgs = map[string]any{"ips": ips}
	}
	cni := libcni.NewCNIConfigWithCacheDir([]string{filepath.Join(p.tb.cfg.Programs, "cni")}, filepath.Join(p.tb.cfg.Dir, p.Node.Name, "cni"), nil)
	// libcni starts the plugins from this thread.
	return p.Node.Namespace.Do(func() error { return call(cni, list, rt) })
}

// configure reads a network configuration or a list of them, and gives the plugins the
// node's directories.
func (tb *Testbed) configure(node, config string) (*libcni.NetworkConfigList, error) {
	var conf map[string]any
	if err := json.Unmarshal([]byte(config), &conf); err != nil {
		return nil, fmt.Errorf("the network's configuration: %w", err)
	}
	if conf["plugins"] == nil {
		conf = map[string]any{"cniVersion": conf["cniVersion"], "name": conf["name"], "plugins": []any{conf}}
	}
	plugins, _ := conf["plugins"].([]any)
	for _, p := range plugins {
		if plugin, _ := p.(map[string]any); plugin["type"] == "eni" {
			plugin["networksDir"], plugin["dataDir"] = tb.NetworksDir(node), tb.DataDir(node)
		}
	}
	data, err := json.Marshal(conf)
	if err != nil {
		return nil, err
	}
	return libcni.NetworkConfFromBytes(data)
}
