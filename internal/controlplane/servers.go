package controlplane

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"k8s.io/client-go/util/cert"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

const (
	loopback   = "127.0.0.1"
	serverName = "localhost" // in the API server's certificate
)

// Without a logger controller-runtime writes a warning and a stack to stderr.
func init() { log.SetLogger(klog.Background()) }

func (cp *ControlPlane) prepareEtcd(assets string) (err error) {
	etcd := &envtest.Etcd{
		Path:         filepath.Join(cp.dir, "etcd"),
		DataDir:      filepath.Join(cp.dir, etcdData),
		StartTimeout: startTimeout,
	}
	etcd.Configure().
		Set("unsafe-no-fsync", "true"). // nothing here outlives the machine
		Set("log-level", "warn")
	cp.servers.Etcd = etcd
	cp.etcd, err = newProcess(etcd.Path, filepath.Join(assets, "etcd"), etcd)
	return err
}

func (cp *ControlPlane) prepareAPIServer(assets string, args []string) error {
	certificate, key, err := cp.writeServingCertificate()
	if err != nil {
		return err
	}
	api := &envtest.APIServer{
		Path:         filepath.Join(cp.dir, "kube-apiserver"),
		CertDir:      cp.dir,
		StartTimeout: startTimeout,
		SecureServing: envtest.SecureServing{
			ListenAddr: envtest.ListenAddr{Address: loopback, Port: strconv.Itoa(cp.port.number)},
			CA:         certificate,
		},
	}
	flags := api.Configure().
		Set("permit-port-sharing", "true"). // with the reservation of the port
		Set("advertise-address", loopback).
		Set("endpoint-reconciler-type", "none"). // an endpoint must not be on loopback
		Set("service-account-key-file", key).
		Set("service-account-signing-key-file", key).
		Set("authorization-mode", "Node", "RBAC").
		Set("enable-admission-plugins", "NodeRestriction").
		Disable("disable-admission-plugins"). // ServiceAccount, by envtest
		Set("profiling", "false")
	for _, arg := range args {
		name, value, _ := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
		flags.AppendNoDefaults(name, value)
	}
	cp.servers.APIServer = api
	cp.api, err = newProcess(api.Path, filepath.Join(assets, "kube-apiserver"), api)
	return err
}

// writeServingCertificate makes the API server's certificate, which is also the one
// that its clients trust. To a client whose clock is slow envtest's own would not be
// valid yet.
func (cp *ControlPlane) writeServingCertificate() (certificate []byte, keyFile string, err error) {
	certificate, key, err := cert.GenerateSelfSignedCertKey(loopback, nil, []string{serverName})
	if err != nil {
		return nil, "", err
	}
	certFile, keyFile := cp.ServingCertificate()
	return certificate, keyFile, errors.Join(os.WriteFile(certFile, certificate, 0o600), os.WriteFile(keyFile, key, 0o600))
}
