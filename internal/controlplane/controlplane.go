package controlplane

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// startTimeout bounds the start of one process; it takes 3 seconds on an idle
// machine with two cores.
const startTimeout = 2 * time.Minute

// Config says how to run a control plane. The zero value is usable.
type Config struct {
	// AssetsDir holds the executables etcd and kube-apiserver. By default it is
	// $KUBEBUILDER_ASSETS, and without that the directory that `make
	// controlplane` fills.
	AssetsDir string
	// APIServerArgs are more arguments of kube-apiserver, as --NAME=VALUE.
	APIServerArgs []string
}

// ControlPlane is a running etcd and kube-apiserver. Its methods are safe for
// concurrent use.
type ControlPlane struct {
	dir       string // certificates, logs and etcd's data
	guard     *guard
	port      *reservedPort
	etcd, api *process
	admin     *rest.Config
	client    client.Client // the admin's

	mu      sync.Mutex // guards the start and end of processes, and the issuer of certificates
	servers envtest.ControlPlane
}

// Start starts a control plane and returns when it answers and has its system
// namespaces. It runs until Stop, or until the calling process ends. A process that
// does not start is reported with the last lines of its log.
func Start(ctx context.Context, cfg Config) (*ControlPlane, error) {
	assets, err := findAssets(cfg.AssetsDir)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "controlplane-")
	if err != nil {
		return nil, err
	}
	cp := &ControlPlane{dir: dir}
	if err := cp.start(ctx, assets, cfg.APIServerArgs); err != nil {
		return nil, errors.Join(fmt.Errorf("starting the control plane: %w", err), cp.Stop())
	}
	return cp, nil
}

func (cp *ControlPlane) start(ctx context.Context, assets string, apiServerArgs []string) (err error) {
	if cp.guard, err = startGuard(cp.dir); err != nil {
		return err
	}
	if cp.port, err = reservePort(); err != nil {
		return err
	}
	if err := cp.prepareEtcd(assets); err != nil {
		return err
	}
	if err := cp.prepareAPIServer(assets, apiServerArgs); err != nil {
		return err
	}
	if err := cp.etcd.start(); err != nil {
		return err
	}
	cp.servers.APIServer.EtcdURL = cp.servers.Etcd.URL
	if err := cp.api.start(); err != nil {
		return err
	}
	if cp.admin, err = cp.UserConfig("admin", "system:masters"); err != nil {
		return err
	}
	if cp.client, err = client.New(cp.admin, client.Options{}); err != nil {
		return err
	}
	return cp.awaitReady(ctx)
}

// Port is the TCP port of the API server. It stays the same across restarts.
func (cp *ControlPlane) Port() int { return cp.port.number }

// Stop ends both processes and removes what Start made. Stopping twice is fine.
func (cp *ControlPlane) Stop() error {
	cp.mu.Lock()
	defer cp.mu.Unlock()
	cp.api.kill()
	cp.etcd.kill()
	cp.guard.dismiss()
	cp.port.release()
	return os.RemoveAll(cp.dir)
}

// StopAPIServer ends the API server at once; clients find their connections
// broken and new ones refused. Stopping a stopped one is fine.
func (cp *ControlPlane) StopAPIServer() {
	cp.mu.Lock()
	defer cp.mu.Unlock()
	cp.api.kill()
}

// StartAPIServer starts the API server after StopAPIServer and returns when it
// is ready. Certificates, tokens, port and all objects are as before.
func (cp *ControlPlane) StartAPIServer(ctx context.Context) error {
	cp.mu.Lock()
	defer cp.mu.Unlock()
	if err := cp.api.start(); err != nil {
		return err
	}
	if err := cp.awaitReady(ctx); err != nil {
		cp.api.kill()
		return err
	}
	return nil
}

// RestartAPIServer is StopAPIServer and StartAPIServer.
func (cp *ControlPlane) RestartAPIServer(ctx context.Context) error {
	cp.StopAPIServer()
	return cp.StartAPIServer(ctx)
}

// Pause freezes the API server: connections stay open and are accepted, but
// nothing is answered until Resume.
func (cp *ControlPlane) Pause() error {
	cp.mu.Lock()
	defer cp.mu.Unlock()
	return cp.api.freeze()
}

// Resume lets a paused API server go on.
func (cp *ControlPlane) Resume() error {
	cp.mu.Lock()
	defer cp.mu.Unlock()
	return cp.api.thaw()
}

// PauseEtcd freezes etcd: the API server reads from its caches, and nothing can
// be written until ResumeEtcd.
func (cp *ControlPlane) PauseEtcd() error { return cp.etcd.freeze() }

// ResumeEtcd lets a paused etcd go on. An API server that is starting waits for it.
func (cp *ControlPlane) ResumeEtcd() error { return cp.etcd.thaw() }

// awaitReady waits until the API server reports ready and has made kube-system
// and default, which it does in the background.
func (cp *ControlPlane) awaitReady(ctx context.Context) error {
	disco, err := discovery.NewDiscoveryClientForConfig(cp.admin)
	if err != nil {
		return err
	}
	ready := func(ctx context.Context) error {
		if err := disco.RESTClient().Get().AbsPath("/readyz").Do(ctx).Error(); err != nil {
			return err
		}
		for _, namespace := range []string{metav1.NamespaceSystem, metav1.NamespaceDefault} {
			if err := cp.client.Get(ctx, client.ObjectKey{Name: namespace}, new(corev1.Namespace)); err != nil {
				return err
			}
		}
		return nil
	}
	var last error
	err = wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, startTimeout, true, func(ctx context.Context) (bool, error) {
		last = ready(ctx)
		return last == nil, nil
	})
	if err != nil {
		return cp.api.failure(fmt.Errorf("kube-apiserver is not ready: %w", errors.Join(err, last)))
	}
	return nil
}
