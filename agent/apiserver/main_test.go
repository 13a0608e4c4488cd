package apiserver

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/aws-multi-eni/aws-multi-eni/internal/controlplane"
)

// installed is a real API server with what an agent with ENIs on demand needs, and two Nodes.
var installed = controlplane.Shared{Install: func(ctx context.Context, cp *controlplane.ControlPlane) error {
	var files []string
	for _, name := range []string{"namespace", "crds/*", "rbac/agent", "policy/agent-own-node", "on-demand/deviceclass", "on-demand/policy", "on-demand/rbac"} {
		files = append(files, filepath.Join("..", "..", "manifests", name+".yaml"))
	}
	if err := cp.ApplyFiles(ctx, files...); err != nil {
		return err
	}
	return cp.Apply(ctx, []byte(fleet))
}}

const fleet = `
{apiVersion: v1, kind: Node, metadata: {name: node-1}, spec: {providerID: aws:///us-east-1a/i-0123456789abcdef0}}
---
{apiVersion: v1, kind: Node, metadata: {name: node-2}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: default, namespace: default}}
`

func TestMain(m *testing.M) { installed.Main(m) }
