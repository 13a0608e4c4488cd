package controlplane

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

var (
	namespaces      = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	serviceAccounts = schema.GroupVersionResource{Version: "v1", Resource: "serviceaccounts"}
)

// URL is how the API server is reached from this network namespace.
func (cp *ControlPlane) URL() string {
	return fmt.Sprintf("https://127.0.0.1:%d", cp.port.number)
}

// ServingCertificate names the files of the API server's certificate and key, for
// something that stands in front of it.
func (cp *ControlPlane) ServingCertificate() (cert, key string) {
	return filepath.Join(cp.dir, serverCertFile), filepath.Join(cp.dir, serverKeyFile)
}

// AdminConfig is access without limits (group system:masters).
func (cp *ControlPlane) AdminConfig() *rest.Config {
	return rest.CopyConfig(cp.admin)
}

// UserConfig is access as a user of the given name and groups, by a client
// certificate. A node's kubelet is "system:node:NAME" in "system:nodes".
func (cp *ControlPlane) UserConfig(name string, groups ...string) (*rest.Config, error) {
	cert, key, err := cp.ca.issueClient(name, groups)
	if err != nil {
		return nil, err
	}
	cfg := cp.anonymous()
	cfg.CertData, cfg.KeyData = cert, key
	return cfg, nil
}

// ServiceAccountConfig is access by ServiceAccountToken.
func (cp *ControlPlane) ServiceAccountConfig(ctx context.Context, namespace, name, boundNode string) (*rest.Config, error) {
	token, err := cp.ServiceAccountToken(ctx, namespace, name, boundNode)
	if err != nil {
		return nil, err
	}
	cfg := cp.anonymous()
	cfg.BearerToken = token
	return cfg, nil
}

func (cp *ControlPlane) anonymous() *rest.Config {
	return &rest.Config{
		Host:            cp.URL(),
		TLSClientConfig: rest.TLSClientConfig{CAData: cp.ca.certPEM()},
		QPS:             -1, // the server has its own limits
	}
}

// ServiceAccountToken asks for a token of an existing ServiceAccount, valid for
// a day: nobody renews it here. With boundNode, the name of an existing Node, the token carries
// authentication.kubernetes.io/node-name, as the token of a pod on that node
// does, and dies with the Node.
func (cp *ControlPlane) ServiceAccountToken(ctx context.Context, namespace, name, boundNode string) (string, error) {
	client, err := dynamic.NewForConfig(cp.admin)
	if err != nil {
		return "", err
	}
	spec := map[string]any{"expirationSeconds": int64(24 * 60 * 60)}
	if boundNode != "" {
		spec["boundObjectRef"] = map[string]any{"apiVersion": "v1", "kind": "Node", "name": boundNode}
	}
	request := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "authentication.k8s.io/v1",
		"kind":       "TokenRequest",
		"metadata":   map[string]any{"name": name},
		"spec":       spec,
	}}
	granted, err := client.Resource(serviceAccounts).Namespace(namespace).Create(ctx, request, metav1.CreateOptions{}, "token")
	if err != nil {
		return "", fmt.Errorf("token of ServiceAccount %s/%s: %w", namespace, name, err)
	}
	token, _, err := unstructured.NestedString(granted.Object, "status", "token")
	if err == nil && token == "" {
		err = errors.New("the API server answers without a token")
	}
	if err != nil {
		return "", fmt.Errorf("token of ServiceAccount %s/%s: %w", namespace, name, err)
	}
	return token, nil
}

// Kubeconfig is a kubeconfig file with the access of cfg, which comes from this
// control plane. A server that is not empty stands in for cfg's, for clients that
// reach the API server by one of Config.ExtraIPs.
func Kubeconfig(cfg *rest.Config, server string) ([]byte, error) {
	if server == "" {
		server = cfg.Host
	}
	const name = "aws-multi-eni"
	return clientcmd.Write(clientcmdapi.Config{
		Clusters: map[string]*clientcmdapi.Cluster{name: {
			Server:                   server,
			CertificateAuthorityData: cfg.CAData,
		}},
		AuthInfos: map[string]*clientcmdapi.AuthInfo{name: {
			ClientCertificateData: cfg.CertData,
			ClientKeyData:         cfg.KeyData,
			Token:                 cfg.BearerToken,
		}},
		Contexts:       map[string]*clientcmdapi.Context{name: {Cluster: name, AuthInfo: name}},
		CurrentContext: name,
	})
}
