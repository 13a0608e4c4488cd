package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// startTimeout bounds the start of one process; it takes 3 seconds on an idle
// machine with two cores.
const startTimeout = 2 * time.Minute

// ControlPlane is a running etcd and kube-apiserver.
type ControlPlane struct {
	// APIServer, while it is paused, accepts connections and answers nothing. While
	// Etcd is paused, the API server reads from its caches and cannot write.
	Etcd, APIServer *Process
	// Address of the API server. It stays the same across restarts.
	Address netip.AddrPort

	dir       string // certificates, logs and etcd's data
	stopGuard func() // nil: there is none yet
	server    *envtest.APIServer
	users     sync.Mutex // guards the server's issuer of certificates
	admin     *rest.Config
	client    client.Client // the admin's
}

// Start starts a control plane and returns when it answers and has its system
// namespaces. It runs until Stop, or until the calling process ends. Arguments of
// kube-apiserver are added as --NAME=VALUE. The error of a process that does not start
// ends with the last lines of its log.
func Start(ctx context.Context, apiServerArgs ...string) (*ControlPlane, error) {
	assets, err := findAssets()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "controlplane-")
	if err != nil {
		return nil, err
	}
	cp := &ControlPlane{dir: dir, Address: newAddress()}
	cp.configure(assets, apiServerArgs)
	if err := cp.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("starting the control plane: %w", err), cp.Stop())
	}
	return cp, nil
}

func (cp *ControlPlane) start(ctx context.Context) (err error) {
	if cp.stopGuard, err = startGuard(cp.dir); err != nil {
		return err
	}
	if err := cp.writeServingCertificate(); err != nil {
		return err
	}
	if err := cp.Etcd.start(); err != nil {
		return err
	}
	if err := cp.APIServer.start(); err != nil {
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

// Stop ends both processes and removes what Start made. Stopping twice is fine.
func (cp *ControlPlane) Stop() error {
	cp.APIServer.Kill()
	cp.Etcd.Kill()
	if cp.stopGuard != nil {
		cp.stopGuard()
	}
	return os.RemoveAll(cp.dir)
}

// StartAPIServer starts the API server after it was killed and returns when it is
// ready. Certificates, tokens, address and all objects are as before.
func (cp *ControlPlane) StartAPIServer(ctx context.Context) error {
	if err := cp.APIServer.start(); err != nil {
		return err
	}
	return cp.awaitReady(ctx)
}

// awaitReady waits until the API server reports ready and has made kube-system
// and default, which it does in the background.
func (cp *ControlPlane) awaitReady(ctx context.Context) error {
	server, err := discovery.NewDiscoveryClientForConfig(cp.admin)
	if err != nil {
		return err
	}
	var unready error
	err = wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, startTimeout, true, func(ctx context.Context) (bool, error) {
		for _, path := range []string{"/readyz", "/api/v1/namespaces/kube-system", "/api/v1/namespaces/default"} {
			if unready = server.RESTClient().Get().AbsPath(path).Do(ctx).Error(); unready != nil {
				return false, nil
			}
		}
		return true, nil
	})
	if err != nil {
		return cp.APIServer.failure(fmt.Errorf("kube-apiserver is not ready: %w", errors.Join(err, unready)))
	}
	return nil
}

const (
	etcdData   = "etcd-data"
	etcdBackup = "etcd-backup"
)

// Backup keeps etcd's present state for Restore, in place of the one before.
func (cp *ControlPlane) Backup() error {
	if err := cp.Etcd.Pause(); err != nil { // then its files are as after a crash
		return err
	}
	return errors.Join(cp.copyData(etcdData, etcdBackup), cp.Etcd.Resume())
}

// Restore brings the state of the last Backup back, resource versions included,
// as one does after a disaster. The API server is restarted with it.
func (cp *ControlPlane) Restore(ctx context.Context) error {
	cp.APIServer.Kill()
	cp.Etcd.Kill()
	if err := cp.copyData(etcdBackup, etcdData); err != nil {
		return err
	}
	if err := cp.Etcd.start(); err != nil {
		return err
	}
	return cp.StartAPIServer(ctx)
}

func (cp *ControlPlane) copyData(from, to string) error {
	to = filepath.Join(cp.dir, to)
	return errors.Join(os.RemoveAll(to), os.CopyFS(to, os.DirFS(filepath.Join(cp.dir, from))))
}
