// Package manifests tests what `kubectl apply -k manifests` installs, on a real
// API server.
package manifests

import (
	"context"
	"path/filepath"
	"sync"
	"testing"

	"github.com/aws-multi-eni/aws-multi-eni/internal/controlplane"
	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

const namespace = "eni-system"

// built is what kustomize makes of this directory.
var built = sync.OnceValues(func() ([]byte, error) {
	if err := testbed.ReadTree(".", ".yaml"); err != nil {
		return nil, err
	}
	return testbed.Kustomize(".")
})

// installed is an API server to which all of it has been applied.
var installed = controlplane.Shared{
	APIServerArgs: []string{"--admission-control-config-file=" + absolute("testdata/admission.yaml")},
	Install:       install,
}

func absolute(path string) string {
	path, err := filepath.Abs(path)
	if err != nil {
		panic(err)
	}
	return path
}

func install(ctx context.Context, cp *controlplane.ControlPlane) error {
	all, err := built()
	if err != nil {
		return err
	}
	return cp.Apply(ctx, all)
}

func TestMain(m *testing.M) { installed.Main(m) }
