// Package manifests tests what `kubectl apply -k manifests` installs, on a real
// API server.
package manifests

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
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
	cmd := exec.Command("go", "tool", "-modfile=../hack/tools/kustomize/go.mod", "kustomize", "build", ".")
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return nil, fmt.Errorf("kustomize build: %w\n%s", err, exit.Stderr)
	}
	return out, err
})

// started is the shared control plane, when there is one.
var started *controlplane.ControlPlane

// installed is an API server to which all of it has been applied.
var installed = sync.OnceValues(func() (*controlplane.ControlPlane, error) {
	all, err := built()
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "manifests-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	admission := filepath.Join(dir, "admission.yaml")
	if err := os.WriteFile(admission, []byte(strictAdmission), 0o600); err != nil {
		return nil, err
	}
	started, err = controlplane.Start(ctx, controlplane.Config{APIServerArgs: []string{"--admission-control-config-file=" + admission}})
	if err != nil {
		return nil, err
	}
	return started, started.Apply(ctx, all)
})

// strictAdmission is that of a hardened cluster: what a namespace does not ask for
// it does not get.
const strictAdmission = `
apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
- name: PodSecurity
  configuration:
    apiVersion: pod-security.admission.config.k8s.io/v1
    kind: PodSecurityConfiguration
    defaults: {enforce: restricted, enforce-version: latest, audit: restricted, audit-version: latest, warn: restricted, warn-version: latest}
`

func install(t *testing.T) *controlplane.ControlPlane {
	t.Helper()
	cp, err := installed()
	if err != nil {
		t.Fatal(err)
	}
	return cp
}

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
