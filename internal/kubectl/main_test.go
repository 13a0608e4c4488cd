package kubectl

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/aws-multi-eni/aws-multi-eni/internal/controlplane"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

// installed is an API server with a cluster: two nodes with an agent each, of which one has
// an ENI, and a coordinator.
var installed = controlplane.Shared{Install: func(ctx context.Context, cp *controlplane.ControlPlane) error {
	if err := testbed.Install(ctx, cp); err != nil {
		return err
	}
	if err := cp.ApplyFiles(ctx, "../../manifests/kubectl-eni/*.yaml", "testdata/cluster.yaml", "testdata/users.yaml"); err != nil {
		return err
	}
	for _, pod := range []string{"eni-agent-1", "eni-agent-2"} {
		if err := runPod(ctx, cp, pod); err != nil {
			return err
		}
	}
	return cp.Apply(ctx, fmt.Appendf(nil, lease, time.Now().UTC().Format("2006-01-02T15:04:05.000000Z07:00")))
}}

// runPod gives a pod the status of one that runs and has been restarted.
func runPod(ctx context.Context, cp *controlplane.ControlPlane, pod string) error {
	client, err := kube.NewClient(cp.AdminConfig(), "test")
	if err != nil {
		return err
	}
	const status = `{"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}],
		"containerStatuses": [{"name": "eni-agent", "ready": true, "restartCount": 1, "image": "x", "imageID": "x", "state": {"running": {}}}]}}`
	return client.Core.Patch(types.MergePatchType).Namespace("eni-system").Resource("pods").Name(pod).SubResource("status").Body([]byte(status)).Do(ctx).Error()
}

const lease = `{apiVersion: coordination.k8s.io/v1, kind: Lease, metadata: {name: eni-coordinator, namespace: eni-system},
  spec: {holderIdentity: eni-coordinator-1_x, leaseDurationSeconds: 3600, renewTime: %q}}`

func TestMain(m *testing.M) { installed.Main(m) }

// kubeconfig is that of a user, or the administrator's.
func kubeconfig(t *testing.T, user string) string {
	t.Helper()
	cp := installed.Get(t)
	cfg := cp.AdminConfig()
	if user != "admin" {
		var err error
		if cfg, err = cp.UserConfig(user, "people"); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := controlplane.WriteKubeconfig(path, cfg); err != nil {
		t.Fatal(err)
	}
	return path
}

// run runs the plugin as a user.
func run(t *testing.T, user string, args ...string) (out, errs string, code int) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	args = append([]string{args[0], "--kubeconfig", kubeconfig(t, user)}, args[1:]...)
	code = Main(t.Context(), args, IO{Out: &stdout, Err: &stderr})
	return stdout.String(), stderr.String(), code
}

// serveContainers lets the API server reach the containers of both nodes.
func serveContainers(t *testing.T) {
	t.Helper()
	k := &testbed.Kubelet{
		Log: func(pod, container string, previous bool) string {
			return fmt.Sprintf("log of %s %s previous=%v\nAWS_SECRET_ACCESS_KEY=planted-secret-1 token: planted-secret-2\n", pod, container, previous)
		},
		Exec: func(pod string, command []string, out, errOut io.Writer) int {
			fmt.Fprintf(out, "%s: %s\n\x1b[2Jodd\n", pod, strings.Join(command, " "))
			fmt.Fprintln(errOut, "eni-agent: not all is well")
			if pod == "eni-agent-1" {
				return 1
			}
			return 0
		},
	}
	k.Start()
	t.Cleanup(k.Close)
	client, err := kube.NewClient(rest.CopyConfig(installed.Get(t).AdminConfig()), "test")
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range []string{"node-1", "node-2"} {
		if err := k.Serve(t.Context(), client, node); err != nil {
			t.Fatal(err)
		}
	}
}
