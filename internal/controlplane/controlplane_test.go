package controlplane

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

var configMaps = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}

func start(t *testing.T) *ControlPlane {
	t.Helper()
	cp, err := Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cp.Stop(); err != nil {
			t.Error(err)
		}
	})
	return cp
}

func clientFor(t *testing.T, cfg *rest.Config, err error) dynamic.Interface {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return Client(t, cfg)
}

func getKubeSystem(ctx context.Context, c dynamic.Interface) error {
	_, err := c.Resource(schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}).Get(ctx, "kube-system", metav1.GetOptions{})
	return err
}

// One control plane serves all subtests; the last ones take it down.
func TestControlPlane(t *testing.T) {
	cp := start(t)
	admin := Client(t, cp.AdminConfig())

	t.Run("kubeconfig with another server", func(t *testing.T) {
		const server = "https://192.0.2.2"
		forwarded := cp.AdminConfig()
		forwarded.Host = server
		kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
		if err := WriteKubeconfig(kubeconfig, forwarded); err != nil {
			t.Fatal(err)
		}
		cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
		if err != nil || cfg.Host != server {
			t.Fatalf("server is %v (%v), want %s", cfg, err, server)
		}
		cfg.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, cp.Address.String())
		}
		if err := getKubeSystem(t.Context(), clientFor(t, cfg, err)); err != nil {
			t.Error(err)
		}
	})

	t.Run("the certificate is valid for a slow clock", func(t *testing.T) {
		cfg, err := rest.TLSConfigFor(cp.AdminConfig())
		if err != nil {
			t.Fatal(err)
		}
		cfg.Time = func() time.Time { return time.Now().Add(-30 * time.Minute) }
		conn, err := tls.Dial("tcp", cp.Address.String(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
	})

	t.Run("users have RBAC's rights only", func(t *testing.T) {
		err := cp.Apply(t.Context(), []byte(`
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: see-namespaces}
rules: [{apiGroups: [""], resources: [namespaces], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: see-namespaces}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: see-namespaces}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: readers}]
`))
		if err != nil {
			t.Fatal(err)
		}
		cfg, err := cp.UserConfig("mallory")
		if err := getKubeSystem(t.Context(), clientFor(t, cfg, err)); !apierrors.IsForbidden(err) {
			t.Errorf("a user without a group: %v, want forbidden", err)
		}
		cfg, err = cp.UserConfig("alice", "readers")
		alice := clientFor(t, cfg, err)
		// The authorizer hears of new roles through a watch.
		err = wait.PollUntilContextTimeout(t.Context(), 10*time.Millisecond, 10*time.Second, true, func(ctx context.Context) (bool, error) {
			err := getKubeSystem(ctx, alice)
			if apierrors.IsForbidden(err) {
				return false, nil
			}
			return err == nil, err
		})
		if err != nil {
			t.Errorf("a reader: %v", err)
		}
	})

	t.Run("ServiceAccount token names its node", func(t *testing.T) {
		err := cp.Apply(t.Context(), []byte(`
apiVersion: v1
kind: ServiceAccount
metadata: {name: agent, namespace: eni-test}
---
apiVersion: v1
kind: Node
metadata: {name: node-1}
---
apiVersion: v1
kind: Namespace
metadata: {name: eni-test}
`))
		if err != nil {
			t.Fatal(err)
		}
		cfg, err := cp.ServiceAccountConfig(t.Context(), "eni-test", "agent", "node-1")
		user := whoAmI(t, clientFor(t, cfg, err))
		if name, _, _ := unstructured.NestedString(user, "username"); name != "system:serviceaccount:eni-test:agent" {
			t.Errorf("user name is %q", name)
		}
		nodes, _, _ := unstructured.NestedStringSlice(user, "extra", "authentication.kubernetes.io/node-name")
		if len(nodes) != 1 || nodes[0] != "node-1" {
			t.Errorf("node-name is %q, want node-1", nodes)
		}
		if _, err := cp.ServiceAccountConfig(t.Context(), "eni-test", "missing", ""); !apierrors.IsNotFound(err) {
			t.Errorf("token of a missing ServiceAccount: %v, want not found", err)
		}
	})

	t.Run("applied kinds are served at once", func(t *testing.T) {
		if err := cp.Apply(t.Context(), []byte(widgets)); err != nil {
			t.Fatal(err)
		}
		w, err := admin.Resource(schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "widgets"}).
			Get(t.Context(), "one", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if size, _, _ := unstructured.NestedInt64(w.Object, "size"); size != 3 {
			t.Errorf("size is %d, want 3", size)
		}
	})

	t.Run("bad manifests are refused", func(t *testing.T) {
		for manifest, want := range map[string]string{
			"kind: [": "reading a manifest",
			"{kind: ConfigMap, apiVersion: v1, metadata: {name: a}}":                                              "metadata.namespace is missing",
			"{kind: Gadget, apiVersion: v1, metadata: {name: a}}":                                                 `no matches for kind "Gadget"`,
			"{kind: ConfigMap, apiVersion: v1, metadata: {name: a, namespace: default}, dta: {}}":                 "dta",
			"{kind: CustomResourceDefinition, apiVersion: apiextensions.k8s.io/v1, metadata: {name: a}, spc: {}}": "spc",
		} {
			if err := cp.Apply(t.Context(), []byte(manifest)); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want an error about %q", manifest, err, want)
			}
		}
	})

	t.Run("pause and resume", func(t *testing.T) {
		if err := cp.APIServer.Pause(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		if err := getKubeSystem(ctx, admin); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a paused API server: %v, want no answer", err)
		}
		if err := cp.APIServer.Resume(); err != nil {
			t.Fatal(err)
		}
		if err := getKubeSystem(t.Context(), admin); err != nil {
			t.Errorf("a resumed API server: %v", err)
		}
	})

	t.Run("restart keeps everything", func(t *testing.T) {
		cfg, err := cp.ServiceAccountConfig(t.Context(), "eni-test", "agent", "node-1")
		agent := clientFor(t, cfg, err)
		if err := cp.Apply(t.Context(), []byte("{kind: ConfigMap, apiVersion: v1, metadata: {name: kept, namespace: default}}")); err != nil {
			t.Fatal(err)
		}
		cp.APIServer.Kill()
		if err := getKubeSystem(t.Context(), admin); err == nil {
			t.Error("a stopped API server answers")
		}
		if err := cp.APIServer.Pause(); err == nil {
			t.Error("a stopped API server can be paused")
		}
		if err := cp.StartAPIServer(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := admin.Resource(configMaps).Namespace("default").Get(t.Context(), "kept", metav1.GetOptions{}); err != nil {
			t.Error(err)
		}
		whoAmI(t, agent)
		if err := cp.StartAPIServer(t.Context()); err == nil {
			t.Error("it starts a second API server")
		}
	})

	t.Run("stop", func(t *testing.T) {
		if err := errors.Join(cp.Stop(), cp.Stop()); err != nil {
			t.Error(err)
		}
		if err := getKubeSystem(t.Context(), admin); err == nil {
			t.Error("a stopped control plane answers")
		}
		if _, err := os.Stat(cp.dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("its directory is left behind: %v", err)
		}
	})
}

func whoAmI(t *testing.T, c dynamic.Interface) map[string]any {
	t.Helper()
	review, err := c.Resource(schema.GroupVersionResource{Group: "authentication.k8s.io", Version: "v1", Resource: "selfsubjectreviews"}).
		Create(t.Context(), &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview",
		}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	user, _, _ := unstructured.NestedMap(review.Object, "status", "userInfo")
	return user
}

const widgets = `
# An object before its kind, in a document after a comment.
---
apiVersion: example.com/v1
kind: Widget
metadata: {name: one}
size: 3
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Cluster
  names: {kind: Widget, plural: widgets, singular: widget, listKind: WidgetList}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          size: {type: integer}
`
