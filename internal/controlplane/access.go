package controlplane

import (
	"context"
	"fmt"
	"path/filepath"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// ServingCertificate names the files of the API server's certificate and key, for
// something that stands in front of it.
func (cp *ControlPlane) ServingCertificate() (cert, key string) {
	return filepath.Join(cp.dir, "apiserver.crt"), filepath.Join(cp.dir, "apiserver.key")
}

// AdminConfig is access without limits (group system:masters).
func (cp *ControlPlane) AdminConfig() *rest.Config { return rest.CopyConfig(cp.admin) }

// UserConfig is access as a user of the given name and groups, by a client
// certificate. A node's kubelet is "system:node:NAME" in "system:nodes".
func (cp *ControlPlane) UserConfig(name string, groups ...string) (*rest.Config, error) {
	cp.users.Lock()
	defer cp.users.Unlock()
	return cp.server.AddUser(envtest.User{Name: name, Groups: groups}, cp.anonymous())
}

// ServiceAccountConfig is access by a token of an existing ServiceAccount, valid for a
// day, because it is not renewed. With boundNode, the name of an existing Node, the
// token carries authentication.kubernetes.io/node-name, as the token of a pod on that
// node does, and dies with the Node.
func (cp *ControlPlane) ServiceAccountConfig(ctx context.Context, namespace, name, boundNode string) (*rest.Config, error) {
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	request := &authenticationv1.TokenRequest{}
	request.Spec.ExpirationSeconds = new(int64(24 * 60 * 60))
	if boundNode != "" {
		request.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Node", Name: boundNode}
	}
	if err := cp.client.SubResource("token").Create(ctx, account, request); err != nil {
		return nil, fmt.Errorf("token of ServiceAccount %s/%s: %w", namespace, name, err)
	}
	cfg := cp.anonymous()
	cfg.BearerToken = request.Status.Token
	return cfg, nil
}

// anonymous names the server, so that a copy with another host, which forwards to it,
// trusts the same certificate.
func (cp *ControlPlane) anonymous() *rest.Config {
	return &rest.Config{
		Host:            "https://" + cp.Address.String(),
		TLSClientConfig: rest.TLSClientConfig{ServerName: serverName, CAData: cp.server.CA},
		QPS:             -1, // the server has its own limits
	}
}

// WriteKubeconfig writes a kubeconfig file with the access of cfg, which comes from
// this control plane.
func WriteKubeconfig(path string, cfg *rest.Config) error {
	const name = "aws-multi-eni"
	return clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters: map[string]*clientcmdapi.Cluster{name: {
			Server:                   cfg.Host,
			TLSServerName:            cfg.ServerName,
			CertificateAuthorityData: cfg.CAData,
		}},
		AuthInfos: map[string]*clientcmdapi.AuthInfo{name: {
			ClientCertificateData: cfg.CertData,
			ClientKeyData:         cfg.KeyData,
			Token:                 cfg.BearerToken,
		}},
		Contexts:       map[string]*clientcmdapi.Context{name: {Cluster: name, AuthInfo: name}},
		CurrentContext: name,
	}, path)
}
