package controlplane

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"k8s.io/client-go/util/cert"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

const (
	serverName    = "localhost"              // in the API server's certificate
	inCluster     = "kubernetes.default.svc" // for pods
	apiServerPort = 26443
	etcdPort      = "22379"
)

// Without a logger controller-runtime writes a warning and a stack to stderr.
func init() { log.SetLogger(klog.Background()) }

// newAddress is on an IP address of loopback that is this control plane's alone: no
// other program takes its ports while the API server or etcd is stopped.
func newAddress() netip.AddrPort {
	n := 1 + rand.IntN(1<<24-2)
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, byte(n >> 16), byte(n >> 8), byte(n)}), apiServerPort)
}

// findAssets returns a directory that holds etcd and kube-apiserver.
func findAssets() (string, error) {
	dir, err := assetsDir()
	if err != nil {
		return "", fmt.Errorf("cannot tell where etcd and kube-apiserver are: %w; run `make controlplane` and set KUBEBUILDER_ASSETS to the directory it prints", err)
	}
	for _, name := range []string{"etcd", "kube-apiserver"} {
		if _, err := exec.LookPath(filepath.Join(dir, name)); err != nil {
			return "", fmt.Errorf("%w: run `make controlplane`, or set KUBEBUILDER_ASSETS to a directory with etcd and kube-apiserver", err)
		}
	}
	return dir, nil
}

// Program is the path of kube-scheduler or kube-controller-manager. A directory of
// KUBEBUILDER_ASSETS that somebody else has filled often has neither.
func Program(name string) (string, error) {
	dir, err := assetsDir()
	if err != nil {
		return "", err
	}
	path, err := exec.LookPath(filepath.Join(dir, name))
	if err != nil {
		return "", fmt.Errorf("%w: unset KUBEBUILDER_ASSETS and run `make controlplane`, which builds %s", err, name)
	}
	return path, nil
}

// assetsDir is KUBEBUILDER_ASSETS, or where hack/controlplane/build.sh puts what it builds.
func assetsDir() (string, error) {
	if dir := os.Getenv("KUBEBUILDER_ASSETS"); dir != "" {
		return dir, nil
	}
	out, err := exec.Command("/bin/sh", "-c", `exec "$(dirname "$(go env GOMOD)")/hack/controlplane/build.sh" -n`).Output()
	return strings.TrimSpace(string(out)), err
}

// configure tells envtest how to run etcd and kube-apiserver.
func (cp *ControlPlane) configure(assets string, apiServerArgs []string) {
	ip := cp.Address.Addr().String()
	etcdAddress := envtest.ListenAddr{Address: ip, Port: etcdPort}
	etcd := &envtest.Etcd{
		Path:         filepath.Join(cp.dir, "etcd"),
		URL:          etcdAddress.URL("http", ""),
		DataDir:      filepath.Join(cp.dir, etcdData),
		StartTimeout: startTimeout,
	}
	etcd.Configure().
		Set("unsafe-no-fsync", "true"). // nothing here outlives the machine
		Set("log-level", "warn")
	cp.server = &envtest.APIServer{
		Path:          filepath.Join(cp.dir, "kube-apiserver"),
		EtcdURL:       etcd.URL,
		CertDir:       cp.dir,
		StartTimeout:  startTimeout,
		SecureServing: envtest.SecureServing{ListenAddr: envtest.ListenAddr{Address: ip, Port: strconv.Itoa(apiServerPort)}},
	}
	_, key := cp.ServingCertificate()
	flags := cp.server.Configure().
		Set("advertise-address", ip).
		Set("endpoint-reconciler-type", "none"). // an endpoint must not be on loopback
		Set("service-account-key-file", key).
		Set("service-account-signing-key-file", key).
		Set("authorization-mode", "Node", "RBAC").
		Set("enable-admission-plugins", "NodeRestriction").
		Disable("disable-admission-plugins"). // ServiceAccount, by envtest
		Set("profiling", "false")
	for _, arg := range apiServerArgs {
		name, value, _ := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
		flags.AppendNoDefaults(name, value)
	}
	cp.Etcd = &Process{server: etcd, path: etcd.Path, executable: filepath.Join(assets, "etcd")}
	cp.APIServer = &Process{server: cp.server, path: cp.server.Path, executable: filepath.Join(assets, "kube-apiserver")}
}

// writeServingCertificate makes the API server's certificate, which is also the one
// that its clients trust. To a client whose clock is slow envtest's own would not be
// valid yet.
func (cp *ControlPlane) writeServingCertificate() error {
	certificate, key, err := cert.GenerateSelfSignedCertKey(cp.Address.Addr().String(), nil, []string{serverName, inCluster})
	if err != nil {
		return err
	}
	cp.server.CA = certificate
	certFile, keyFile := cp.ServingCertificate()
	return errors.Join(os.WriteFile(certFile, certificate, 0o600), os.WriteFile(keyFile, key, 0o600))
}
