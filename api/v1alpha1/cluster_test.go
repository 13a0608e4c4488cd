package v1alpha1_test

import (
	"context"
	"fmt"
	"os"
	"sync"
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

// sharedCluster is started by the first test that needs it.
var sharedCluster = sync.OnceValues(startCluster)

func startCluster() (*cluster, error) {
	ctx := context.Background()
	controlPlane, err := controlplane.Start(ctx, controlplane.Config{})
	if err != nil {
		return nil, err
	}
	started = controlPlane
	if err := controlPlane.ApplyFiles(ctx, "../../manifests/crds"); err != nil {
		return nil, err
	}
	config := controlPlane.AdminConfig()
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return &cluster{
		controlPlane: controlPlane,
		config:       config,
		nodeENIs:     client.Resource(v1alpha1.GroupVersion.WithResource("nodeenis")),
		states:       client.Resource(v1alpha1.GroupVersion.WithResource("nodeenistates")),
	}, nil
}

var started *controlplane.ControlPlane

func TestMain(m *testing.M) {
	code := m.Run()
	if started != nil {
		if err := started.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

func clusterOf(t *testing.T) *cluster {
	t.Helper()
	c, err := sharedCluster()
	if err != nil {
		t.Fatal(err)
	}
	return c
}
