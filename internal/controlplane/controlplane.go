package controlplane

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
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
	// Dir holds certificates, logs and etcd's data; it is created when missing
	// and kept on Stop. By default it is a temporary directory that Stop removes.
	Dir string
	// ExtraIPs are addresses by which clients reach the API server besides
	// 127.0.0.1; they are named in its certificate. With any of them the API
	// server listens on every IPv4 address of the machine, without on
	// 127.0.0.1 only.
	ExtraIPs []net.IP
	// APIServerArgs are more arguments of kube-apiserver, such as an audit policy.
	APIServerArgs []string
	// Log hears of processes that start, stop, and end unasked. By default
	// nobody does.
	Log *slog.Logger
}

// ControlPlane is a running etcd and kube-apiserver. Its methods are safe for
// concurrent use.
type ControlPlane struct {
	dir       string
	removeDir bool
	apiserver string // path of the executable
	etcdPath  string
	log       *slog.Logger
	ca        *authority
	port      *reservedPort
	bind      net.IP
	more      []string // arguments of kube-apiserver
	admin     *rest.Config

	mu   sync.Mutex // guards the processes
	etcd *process
	api  *process // nil while the API server is stopped
}

// Start starts a control plane and returns when it answers and has its system
// namespaces. The context bounds the start only; the control plane runs until
// Stop, or until the calling process ends. A process that does not start is
// reported with the last lines of its log.
func Start(ctx context.Context, cfg Config) (*ControlPlane, error) {
	assets, err := findAssets(cfg.AssetsDir)
	if err != nil {
		return nil, err
	}
	cp := &ControlPlane{
		dir:       cfg.Dir,
		apiserver: filepath.Join(assets, "kube-apiserver"),
		etcdPath:  filepath.Join(assets, "etcd"),
		log:       cfg.Log,
		bind:      net.IPv4(127, 0, 0, 1),
		more:      cfg.APIServerArgs,
	}
	if cp.log == nil {
		cp.log = slog.New(slog.DiscardHandler)
	}
	if len(cfg.ExtraIPs) > 0 {
		cp.bind = net.IPv4zero
	}
	if err := cp.start(ctx, cfg.ExtraIPs); err != nil {
		return nil, errors.Join(fmt.Errorf("starting the control plane: %w", err), cp.Stop())
	}
	return cp, nil
}

func (cp *ControlPlane) start(ctx context.Context, extraIPs []net.IP) error {
	if err := cp.prepareDir(); err != nil {
		return err
	}
	var err error
	if cp.port, err = reservePort(cp.bind); err != nil {
		return err
	}
	if cp.ca, err = newAuthority(); err != nil {
		return err
	}
	if err := cp.ca.writeServerFiles(cp.dir, extraIPs); err != nil {
		return err
	}
	if cp.admin, err = cp.UserConfig("admin", "system:masters"); err != nil {
		return err
	}
	// The API server retries until etcd answers, so there is nothing to wait for.
	if cp.etcd, err = startProcess(cp.dir, "etcd", cp.etcdPath, etcdArgs(), cp.log); err != nil {
		return err
	}
	return cp.StartAPIServer(ctx)
}

func (cp *ControlPlane) prepareDir() error {
	if cp.dir == "" {
		dir, err := os.MkdirTemp("", "controlplane-")
		if err != nil {
			return err
		}
		cp.dir, cp.removeDir = dir, true
		return nil
	}
	if err := os.MkdirAll(cp.dir, 0o700); err != nil {
		return err
	}
	return cp.removeSockets()
}

// removeSockets removes what an etcd leaves that was killed.
func (cp *ControlPlane) removeSockets() error {
	for _, socket := range []string{etcdClientSocket, etcdPeerSocket} {
		if err := os.Remove(filepath.Join(cp.dir, socket)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Dir is the directory with the control plane's certificates, logs and data.
func (cp *ControlPlane) Dir() string { return cp.dir }

// Port is the TCP port of the API server. It stays the same across restarts.
func (cp *ControlPlane) Port() int { return cp.port.number }

// Stop ends both processes and removes what Start made. Stopping twice is fine.
func (cp *ControlPlane) Stop() error {
	cp.StopAPIServer()
	cp.mu.Lock()
	defer cp.mu.Unlock()
	cp.etcd.kill()
	cp.etcd = nil
	cp.port.release()
	if cp.removeDir {
		return os.RemoveAll(cp.dir)
	}
	return nil
}

// StopAPIServer ends the API server at once; clients find their connections
// broken and new ones refused. Stopping a stopped one is fine.
func (cp *ControlPlane) StopAPIServer() {
	cp.mu.Lock()
	defer cp.mu.Unlock()
	cp.api.kill()
	cp.api = nil
}

// StartAPIServer starts the API server after StopAPIServer and returns when it
// is ready. Certificates, tokens, port and all objects are as before.
func (cp *ControlPlane) StartAPIServer(ctx context.Context) error {
	cp.mu.Lock()
	defer cp.mu.Unlock()
	if cp.api != nil {
		return errors.New("the API server is running already")
	}
	args := append(apiserverArgs(cp.bind, cp.port.number), cp.more...)
	api, err := startProcess(cp.dir, "kube-apiserver", cp.apiserver, args, cp.log)
	if err != nil {
		return err
	}
	if err := cp.awaitReady(ctx, api); err != nil {
		api.kill()
		return err
	}
	cp.api = api
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
	return cp.signalAPIServer((*process).freeze)
}

// Resume lets a paused API server go on.
func (cp *ControlPlane) Resume() error {
	return cp.signalAPIServer((*process).thaw)
}

// PauseEtcd freezes etcd: the API server reads from its caches, and nothing can
// be written until ResumeEtcd.
func (cp *ControlPlane) PauseEtcd() error { return cp.etcd.freeze() }

// ResumeEtcd lets a paused etcd go on.
func (cp *ControlPlane) ResumeEtcd() error { return cp.etcd.thaw() }

func (cp *ControlPlane) signalAPIServer(send func(*process) error) error {
	cp.mu.Lock()
	defer cp.mu.Unlock()
	if cp.api == nil {
		return errors.New("the API server is stopped")
	}
	return send(cp.api)
}

// awaitReady waits until the API server reports ready and has made kube-system
// and default, which it does in the background.
func (cp *ControlPlane) awaitReady(ctx context.Context, api *process) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	httpClient, err := rest.HTTPClientFor(cp.admin)
	if err != nil {
		return err
	}
	defer httpClient.CloseIdleConnections()
	client, err := dynamic.NewForConfigAndClient(cp.admin, httpClient)
	if err != nil {
		return err
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ready(ctx, httpClient, client, cp.admin.Host)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-api.done:
			return api.failure("ended before it was ready")
		case <-cp.etcd.done:
			return cp.etcd.failure("ended while kube-apiserver was starting")
		case <-ctx.Done():
			return errors.Join(
				api.failure(fmt.Sprintf("was not ready in time (%v); last answer: %v", ctx.Err(), err)),
				cp.etcd.failure("was running meanwhile"),
			)
		}
	}
}

func ready(ctx context.Context, httpClient *http.Client, client dynamic.Interface, host string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, host+"/readyz", nil)
	if err != nil {
		return err
	}
	resp, err := httpClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("/readyz answers %s", resp.Status)
	}
	for _, namespace := range []string{metav1.NamespaceSystem, metav1.NamespaceDefault} {
		if _, err := client.Resource(namespaces).Get(ctx, namespace, metav1.GetOptions{}); err != nil {
			return err
		}
	}
	return nil
}
