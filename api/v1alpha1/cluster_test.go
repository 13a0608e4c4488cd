package v1alpha1_test

import (
	"context"
	"testing"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/controlplane"
)

// cluster is a real API server with our CRDs.
type cluster struct {
	controlPlane *controlplane.ControlPlane
	config       *rest.Config
	nodeENIs     dynamic.ResourceInterface
	states       dynamic.ResourceInterface
}

// shared is the API server, started by the first test that needs it.
var shared = controlplane.Shared{Install: func(ctx context.Context, cp *controlplane.ControlPlane) error {
	return cp.ApplyFiles(ctx, "../../manifests/crds/*.yaml")
}}

func TestMain(m *testing.M) { shared.Main(m) }

func clusterOf(t *testing.T) *cluster {
	t.Helper()
	cp := shared.Get(t)
	config := cp.AdminConfig()
	client := controlplane.Client(t, config)
	return &cluster{
		controlPlane: cp,
		config:       config,
		nodeENIs:     client.Resource(v1alpha1.GroupVersion.WithResource("nodeenis")),
		states:       client.Resource(v1alpha1.GroupVersion.WithResource("nodeenistates")),
	}
}
