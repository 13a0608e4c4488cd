package dra

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"google.golang.org/grpc/stats"
)

// connections knows whether the kubelet and the container runtime are connected.
type connections struct {
	mu sync.Mutex
	// runtime is why the runtime does not call the plugin; nil while it does.
	runtime error
	// kubelets is the number of connections to the DRA plugin. The kubelet keeps one open
	// from when it registers the plugin.
	kubelets int
	// refused is why the kubelet has not registered the plugin.
	refused error
}

func newConnections() *connections {
	return &connections{runtime: errors.New("not connected yet")}
}

func (c *connections) setRuntime(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.runtime = err
}

// Runtime returns why the container runtime does not call the plugin when a pod starts,
// and nil if it does.
func (c *connections) Runtime() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.runtime != nil {
		return fmt.Errorf("the container runtime is not connected: %w; check that NRI is enabled in containerd, as it is by default since version 2.0", c.runtime)
	}
	return nil
}

func (c *connections) setRefused(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refused = err
}

// Kubelet returns why the kubelet does not call the plugin, and nil if it does.
func (c *connections) Kubelet() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.refused != nil:
		return fmt.Errorf("the kubelet has refused the plugin: %w", c.refused)
	case c.kubelets == 0:
		return errors.New("the kubelet is not connected; check that --kubelet-dir is the kubelet's root directory")
	}
	return nil
}

// HandleConn counts the connections of the kubelet. It is part of [stats.Handler].
func (c *connections) HandleConn(_ context.Context, s stats.ConnStats) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch s.(type) {
	case *stats.ConnBegin:
		c.kubelets++
	case *stats.ConnEnd:
		c.kubelets--
	}
}

// TagConn, TagRPC, and HandleRPC are the rest of [stats.Handler].
func (c *connections) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

func (c *connections) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

func (c *connections) HandleRPC(context.Context, stats.RPCStats) {}
