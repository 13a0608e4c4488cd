package testbed

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/aws-multi-eni/aws-multi-eni/internal/controlplane"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// controllers are those of kube-controller-manager that pods with claims need: claims are
// made from templates and given free, those whose pod is gone are deleted, pods of Nodes
// that are gone are deleted, and pods are admitted because they have a ServiceAccount.
const controllers = "resourceclaim-controller,garbage-collector-controller,pod-garbage-collector-controller,serviceaccount-controller"

// StartScheduler starts a kube-scheduler. It takes Nodes that have room for pods, see
// OfferRoom. There is no kubelet: a pod that is bound stays so until it is deleted, without
// a grace period.
func (tb *Testbed) StartScheduler(ctx context.Context) (*Process, error) {
	return StartScheduler(ctx, tb.ControlPlane, tb.cfg.Dir)
}

// StartControllerManager starts a kube-controller-manager with the controllers that pods
// with claims need, and others, and returns when pods are admitted to the namespace default.
func (tb *Testbed) StartControllerManager(ctx context.Context, others ...string) (*Process, error) {
	return StartControllerManager(ctx, tb.ControlPlane, tb.Client, tb.cfg.Dir, others...)
}

// StartScheduler is Testbed.StartScheduler for any control plane. dir takes the log.
func StartScheduler(_ context.Context, cp *controlplane.ControlPlane, dir string) (*Process, error) {
	return startKube(cp, dir, "kube-scheduler", nil)
}

// StartControllerManager is Testbed.StartControllerManager for any control plane.
func StartControllerManager(ctx context.Context, cp *controlplane.ControlPlane, client *kube.Client, dir string, others ...string) (*Process, error) {
	certificate, _ := cp.ServingCertificate()
	all := strings.Join(append([]string{controllers}, others...), ",")
	p, err := startKube(cp, dir, "kube-controller-manager", []string{"system:masters"}, "--controllers="+all, "--root-ca-file="+certificate)
	if err != nil {
		return nil, err
	}
	err = wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		account := client.Core.Get().Namespace("default").Resource("serviceaccounts").Name("default").Do(ctx)
		return account.Error() == nil, p.Check()
	})
	if err != nil {
		p.Kill()
		return nil, fmt.Errorf("kube-controller-manager has made no ServiceAccount: %w; its log ends with:\n%s", err, p.Tail(10))
	}
	return p, nil
}

// startKube starts a client of the API server as the user that it is in every cluster. It
// reaches the API server without the gate, which is for agents and coordinators.
func startKube(cp *controlplane.ControlPlane, dir, name string, groups []string, args ...string) (*Process, error) {
	program, err := controlplane.Program(name)
	if err != nil {
		return nil, err
	}
	cfg, err := cp.UserConfig("system:"+name, groups...)
	if err != nil {
		return nil, err
	}
	kubeconfig := filepath.Join(dir, "kubeconfig-"+name)
	if err := controlplane.WriteKubeconfig(kubeconfig, cfg); err != nil {
		return nil, err
	}
	args = append([]string{"--kubeconfig=" + kubeconfig, "--leader-elect=false", "--secure-port=0"}, args...)
	return StartProcess(name, dir, []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}, program, args...)
}

// OfferRoom makes a Node one that pods are scheduled to, as its kubelet and the controller
// of nodes do once it is ready.
func OfferRoom(ctx context.Context, client *kube.Client, node string) error {
	room := map[string]string{"cpu": "64", "memory": "256Gi", "pods": "110"}
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"capacity": room, "allocatable": room}})
	if err != nil {
		return err
	}
	if err := client.Core.Patch(types.MergePatchType).Resource(kube.Nodes).Name(node).SubResource("status").Body(patch).Do(ctx).Error(); err != nil {
		return err
	}
	// The API server gives each new Node this taint, as its first.
	ready := []byte(`[{"op":"test","path":"/spec/taints/0/key","value":"node.kubernetes.io/not-ready"},{"op":"remove","path":"/spec/taints/0"}]`)
	return client.Core.Patch(types.JSONPatchType).Resource(kube.Nodes).Name(node).Body(ready).Do(ctx).Error()
}

// InstallOnDemand applies what ENIs on demand need: a DeviceClass, roles, and policies.
func InstallOnDemand(ctx context.Context, cp *controlplane.ControlPlane) error {
	root, err := Root(ctx)
	if err != nil {
		return err
	}
	var files []string
	for _, name := range []string{"deviceclass", "policy", "rbac", "rbac-coordinator"} {
		files = append(files, filepath.Join(root, "manifests", "on-demand", name+".yaml"))
	}
	return cp.ApplyFiles(ctx, files...)
}
