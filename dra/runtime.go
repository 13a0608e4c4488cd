package dra

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"

	"github.com/aws-multi-eni/aws-multi-eni/internal/backoff"
	"github.com/aws-multi-eni/aws-multi-eni/internal/claimnetwork"
)

const (
	// pluginIndex is the position among the NRI plugins of a node. Plugins with a higher
	// index see the links in the pod.
	pluginIndex = "10"
	pluginName  = "eni-dra"
)

// reconnect is how long to wait before the next attempt to connect to the runtime.
var reconnect = backoff.Exponential{First: 100 * time.Millisecond, Max: 2 * time.Second}

// serveRuntime serves the NRI plugin until ctx ends. It connects again when the runtime has
// restarted, or has closed the connection because an answer took too long.
func (d *Driver) serveRuntime(ctx context.Context) error {
	for failures := 0; ; failures++ {
		p := &plugin{driver: d}
		err := p.run(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if p.synchronized {
			failures = 0
		}
		if err == nil {
			err = errors.New("the runtime closed the connection")
		}
		d.setRuntime(fmt.Errorf("%s: %w", d.NRISocket, err))
		if failures == 0 {
			d.Log.Warn("the container runtime is not connected; retrying", "socket", d.NRISocket, "error", err)
		}
		if err := reconnect.Wait(ctx, failures); err != nil {
			return err
		}
	}
}

// plugin is one connection to the runtime.
type plugin struct {
	driver       *Driver
	synchronized bool
}

func (p *plugin) run(ctx context.Context) error {
	s, err := stub.New(p,
		stub.WithSocketPath(p.driver.NRISocket), stub.WithPluginName(pluginName), stub.WithPluginIdx(pluginIndex),
		stub.WithLogger(nriLog{p.driver.Log}), stub.WithOnClose(func() {}), // by default, it ends the program
		// If this program is killed during a call, the sandbox must fail. Runtimes with an
		// NRI before 0.12.4 ignore this and start the sandbox.
		stub.WithFailurePolicy(&api.FailurePolicy{FailRequest: true}),
	)
	if err != nil {
		return err
	}
	return s.Run(ctx)
}

// Synchronize is the first call of the runtime, with all its sandboxes.
func (p *plugin) Synchronize(_ context.Context, sandboxes []*api.PodSandbox, _ []*api.Container) ([]*api.ContainerUpdate, error) {
	pods := make([]claimnetwork.Pod, len(sandboxes))
	for i, s := range sandboxes {
		pods[i] = podOf(s)
	}
	p.driver.synchronize(pods)
	p.synchronized = true
	p.driver.setRuntime(nil)
	p.driver.Log.Info("connected to the container runtime", "sandboxes", len(pods))
	return nil, nil
}

// RunPodSandbox is the call when a sandbox has its network and no containers yet.
func (p *plugin) RunPodSandbox(_ context.Context, s *api.PodSandbox) error {
	return p.driver.startPod(podOf(s))
}

// CreateContainer is the call before each container, also an init container or one that
// restarts. A sandbox that started while eni-dra was not connected gets its links here at
// the latest.
func (p *plugin) CreateContainer(_ context.Context, s *api.PodSandbox, _ *api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
	return nil, nil, p.driver.startPod(podOf(s))
}

// StopPodSandbox is the call while the sandbox still has its network.
func (p *plugin) StopPodSandbox(_ context.Context, s *api.PodSandbox) error {
	p.driver.stopPod(s.GetId())
	return nil
}

// RemovePodSandbox is the call when the sandbox does not exist any longer.
func (p *plugin) RemovePodSandbox(_ context.Context, s *api.PodSandbox) error {
	p.driver.stopPod(s.GetId())
	return nil
}

// podOf returns the pod of a sandbox. NetNS is empty if the pod uses the host's network.
func podOf(s *api.PodSandbox) claimnetwork.Pod {
	pod := claimnetwork.Pod{Namespace: s.GetNamespace(), Name: s.GetName(), UID: s.GetUid(), Sandbox: s.GetId()}
	for _, ns := range s.GetLinux().GetNamespaces() {
		if ns.GetType() == "network" {
			pod.NetNS = ns.GetPath()
		}
	}
	return pod
}

// nriLog is the log of the NRI library. Its Infof is for the library's developers.
type nriLog struct{ log *slog.Logger }

func (l nriLog) write(ctx context.Context, level slog.Level, format string, args []any) {
	l.log.Log(ctx, level, "NRI: "+fmt.Sprintf(format, args...))
}

func (l nriLog) Debugf(ctx context.Context, format string, args ...any) {
	l.write(ctx, slog.LevelDebug, format, args)
}

func (l nriLog) Infof(ctx context.Context, format string, args ...any) {
	l.write(ctx, slog.LevelDebug, format, args)
}

func (l nriLog) Warnf(ctx context.Context, format string, args ...any) {
	l.write(ctx, slog.LevelWarn, format, args)
}

func (l nriLog) Errorf(ctx context.Context, format string, args ...any) {
	l.write(ctx, slog.LevelWarn, format, args)
}
