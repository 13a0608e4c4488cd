// Package cnitest runs CNI plugins in tests as a container runtime does: the plugin eni of
// this tree, and reference plugins from their module.
package cnitest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/invoke"

	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
)

// Build builds eni and the reference plugins of hack/tools/cni-plugins into dir. It works
// in the source tree only.
func Build(ctx context.Context, dir string) error {
	if err := BuildENI(ctx, dir); err != nil {
		return err
	}
	return build(ctx, "build", "-trimpath", "-modfile=hack/tools/cni-plugins/go.mod", "-o", dir+"/", "tool")
}

// BuildENI builds eni alone.
func BuildENI(ctx context.Context, dir string) error {
	// As the Makefile's go_build.
	return build(ctx, "build", "-trimpath", "-buildvcs=false", "-gcflags", "all=-l", "-ldflags", "-s -w", "-o", filepath.Join(dir, "eni"), "./cmd/eni-cni")
}

func build(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return fmt.Errorf("go env GOMOD: %w", err)
	}
	command := exec.CommandContext(ctx, "go", args...)
	command.Dir = filepath.Dir(strings.TrimSpace(string(out)))
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", args, err, out)
	}
	return nil
}

// Runtime is a node's container runtime.
type Runtime struct {
	*libcni.CNIConfig
	dir string

	mu   sync.Mutex
	pods map[string]*netns.Namespace
}

// NewRuntime is a runtime whose plugins are in bin, and run in the node's network
// namespace. What it keeps is in dir.
func NewRuntime(node *netns.Namespace, bin, dir string) *Runtime {
	plugins := &inNamespace{DefaultExec: invoke.DefaultExec{RawExec: &invoke.RawExec{Stderr: os.Stderr}}, node: node}
	return &Runtime{
		CNIConfig: libcni.NewCNIConfigWithCacheDir([]string{bin}, filepath.Join(dir, "cache"), plugins),
		dir:       dir,
		pods:      map[string]*netns.Namespace{},
	}
}

// Sandbox makes a pod's network namespace. It has a path, as if it was mounted below
// /run/netns, until RemoveSandbox.
func (r *Runtime) Sandbox(containerID string) (*netns.Namespace, string, error) {
	pod, err := netns.New()
	if err != nil {
		return nil, "", err
	}
	path := r.sandboxPath(containerID)
	err = os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.Symlink(pod.Path(), path)
	}
	if err != nil {
		return nil, "", err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pods[containerID] = pod
	return pod, path, nil
}

// RemoveSandbox removes a pod's network namespace, and with it the interfaces in it.
func (r *Runtime) RemoveSandbox(containerID string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	pod, ok := r.pods[containerID]
	if !ok {
		return nil
	}
	delete(r.pods, containerID)
	if err := os.Remove(r.sandboxPath(containerID)); err != nil {
		return err
	}
	return pod.Close()
}

// Close removes all sandboxes.
func (r *Runtime) Close() error {
	r.mu.Lock()
	var left []string
	for containerID := range r.pods {
		left = append(left, containerID)
	}
	r.mu.Unlock()
	for _, containerID := range left {
		if err := r.RemoveSandbox(containerID); err != nil {
			return err
		}
	}
	return nil
}

func (r *Runtime) sandboxPath(containerID string) string {
	return filepath.Join(r.dir, "netns", containerID)
}

// Attachment is a pod's interface, for the runtime's operations; ips are requested.
func (r *Runtime) Attachment(containerID, ifName string, ips ...string) *libcni.RuntimeConf {
	conf := &libcni.RuntimeConf{
		ContainerID: containerID, NetNS: r.sandboxPath(containerID), IfName: ifName,
		Args: [][2]string{{"IgnoreUnknown", "true"}, {"K8S_POD_NAMESPACE", "default"}, {"K8S_POD_NAME", containerID}, {"K8S_POD_INFRA_CONTAINER_ID", containerID}},
	}
	if len(ips) > 0 {
		conf.CapabilityArgs = map[string]any{"ips": ips}
	}
	return conf
}

// inNamespace runs plugins in the node's network namespace.
type inNamespace struct {
	invoke.DefaultExec
	node *netns.Namespace
}

// ExecPlugin implements [invoke.Exec].
func (e *inNamespace) ExecPlugin(ctx context.Context, plugin string, stdin []byte, environ []string) (out []byte, err error) {
	err = e.node.Do(func() error {
		out, err = e.RawExec.ExecPlugin(ctx, plugin, stdin, environ)
		return err
	})
	return out, err
}
