// Package kube is the slim Kubernetes client that agent and coordinator share:
// client-go's REST client and caches with a scheme of just the types in use. A
// typed clientset would bring all of k8s.io/api into every agent.
package kube

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// Resource names in URLs.
const (
	NodeENIs      = "nodeenis"
	NodeENIStates = "nodeenistates"
	Nodes         = "nodes"

	Pods           = "pods"
	ResourceClaims = "resourceclaims"
	ResourceSlices = "resourceslices"
)

// ResourceGroupVersion is that of ResourceClaims and ResourceSlices.
var ResourceGroupVersion = schema.GroupVersion{Group: "resource.k8s.io", Version: "v1"}

// NewScheme makes a scheme of the types in use, Events' references included.
func NewScheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		panic(err) // a programming error: two types of one name
	}
	core := schema.GroupVersion{Version: "v1"}
	scheme.AddKnownTypes(core, &Node{}, &NodeList{}, &Namespace{}, &Event{}, &Pod{}, &PodList{})
	metav1.AddToGroupVersion(scheme, core)
	scheme.AddKnownTypes(ResourceGroupVersion, &ResourceClaim{}, &ResourceClaimList{}, &ResourceSlice{}, &ResourceSliceList{})
	metav1.AddToGroupVersion(scheme, ResourceGroupVersion)
	return scheme
}

// Config finds the API server: the kubeconfig file when one is named, otherwise
// the pod's service account.
func Config(kubeconfig string) (*rest.Config, error) {
	if kubeconfig == "" {
		cfg, err := rest.InClusterConfig()
		if err != nil {
			return nil, fmt.Errorf("cannot find the Kubernetes API: %w; run in a pod with a service account, or set --kubeconfig", err)
		}
		return cfg, nil
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig %s: %w; set --kubeconfig to a valid file", kubeconfig, err)
	}
	return cfg, nil
}

// Client talks to the API server about the few types of its scheme.
type Client struct {
	Scheme *runtime.Scheme
	// API serves NodeENIs and NodeENIStates, Core serves Nodes, Namespaces, Events and
	// Pods, Resource serves ResourceClaims and ResourceSlices.
	API      rest.Interface
	Core     rest.Interface
	Resource rest.Interface
}

// NewClient makes a client; userAgent, such as eni-agent/v0.1.0, names the program in
// audit logs and in managedFields.
func NewClient(cfg *rest.Config, userAgent string) (*Client, error) {
	cfg = rest.CopyConfig(cfg)
	cfg.UserAgent = userAgent // before the HTTP client is made, which sends it
	scheme := NewScheme()
	codecs := serializer.NewCodecFactory(scheme).WithoutConversion()
	cfg = Bounded(cfg)
	httpClient, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", err)
	}
	client := func(gv schema.GroupVersion, path string) (rest.Interface, error) {
		c := rest.CopyConfig(cfg)
		c.GroupVersion = &gv
		c.APIPath = path
		c.NegotiatedSerializer = codecs
		return rest.RESTClientForConfigAndClient(c, httpClient)
	}
	api, err := client(v1alpha1.GroupVersion, "/apis")
	if err != nil {
		return nil, err
	}
	core, err := client(schema.GroupVersion{Version: "v1"}, "/api")
	if err != nil {
		return nil, err
	}
	resource, err := client(ResourceGroupVersion, "/apis")
	if err != nil {
		return nil, err
	}
	return &Client{Scheme: scheme, API: api, Core: core, Resource: resource}, nil
}

// ClusterID is the UID of the namespace kube-system, which no two clusters
// share and which lives as long as the cluster.
func (c *Client) ClusterID(ctx context.Context) (string, error) {
	var ns Namespace
	if err := c.Core.Get().Resource("namespaces").Name("kube-system").Do(ctx).Into(&ns); err != nil {
		return "", fmt.Errorf("get the namespace kube-system, whose UID is the cluster name: %w; %s; this is not necessary if --cluster-name is set", err, readAdvice(err))
	}
	return string(ns.UID), nil
}

// readAdvice says what to do about a read that failed.
func readAdvice(err error) string {
	switch {
	case apierrors.IsUnauthorized(err):
		return "the API server does not accept the token or certificate, which may have expired or belong to another cluster; check the ServiceAccount or the kubeconfig"
	case apierrors.IsForbidden(err):
		return "bind the ClusterRole of this program to the ServiceAccount or user"
	case apierrors.IsNotFound(err):
		return "install the CustomResourceDefinitions of this release; if they are installed, check server in the kubeconfig"
	case errors.As(err, new(x509.UnknownAuthorityError)), errors.As(err, new(x509.HostnameError)):
		return "the API server's certificate is not signed by the trusted CA or is for another name; check certificate-authority-data and server in the kubeconfig, or ca.crt of the ServiceAccount"
	}
	return "check the network connection to the API server"
}

// InstanceID is the EC2 instance that a Node's providerID names, as
// aws:///us-east-1a/i-0123456789abcdef0 does; "" when it names none.
func InstanceID(providerID string) string {
	rest, ok := strings.CutPrefix(providerID, "aws://")
	if !ok {
		return ""
	}
	id := rest[strings.LastIndexByte(rest, '/')+1:]
	if !strings.HasPrefix(id, "i-") {
		return ""
	}
	return id
}

// NodeENIs lists all NodeENIs.
func (c *Client) NodeENIs(ctx context.Context) ([]v1alpha1.NodeENI, error) {
	var list v1alpha1.NodeENIList
	if err := c.API.Get().Resource(NodeENIs).Do(ctx).Into(&list); err != nil {
		return nil, err
	}
	return list.Items, nil
}
