package helm

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/aws-multi-eni/aws-multi-eni/internal/controlplane"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

var jobs = schema.GroupVersionResource{Group: "batch", Version: "v1", Resource: "jobs"}

// kubelet plays the part of job controller and kubelet, of which there are none:
// it runs what the uninstall's Job would run, with the Job's arguments and the
// rights of its ServiceAccount, and says in the Job's status how that ended.
type kubelet struct {
	t    *testing.T
	cp   *controlplane.ControlPlane
	dir  string
	args []string // besides the Job's own
	said string   // by the program
	runs int
}

// run runs the Job when helm has made it, once, and returns when ctx ends if helm
// never does.
func (k *kubelet) run(ctx context.Context) error {
	client, err := dynamic.NewForConfig(k.cp.AdminConfig())
	if err != nil {
		return err
	}
	var job *unstructured.Unstructured
	for job == nil {
		job, err = client.Resource(jobs).Namespace(namespace).Get(ctx, "eni-uninstall", metav1.GetOptions{})
		switch {
		case ctx.Err() != nil:
			return nil
		case apierrors.IsNotFound(err) || err == nil && finished(job):
			job = nil
			time.Sleep(20 * time.Millisecond)
		case err != nil:
			return err
		}
	}
	started := metav1.Now()
	k.runs++
	if err := k.execute(ctx, job); err != nil && ctx.Err() != nil {
		return err
	} else if err != nil {
		k.said += err.Error()
		setStatus(job, started, "FailureTarget", "Failed")
	} else {
		setStatus(job, started, "SuccessCriteriaMet", "Complete")
	}
	_, err = client.Resource(jobs).Namespace(namespace).UpdateStatus(ctx, job, metav1.UpdateOptions{})
	return err
}

func (k *kubelet) execute(ctx context.Context, job *unstructured.Unstructured) error {
	c := containerOf(k.t, job)
	cfg, err := k.cp.ServiceAccountConfig(ctx, namespace, c.account, "")
	if err != nil {
		return err
	}
	if err := mayTellWhy(ctx, cfg); err != nil {
		return err
	}
	path := filepath.Join(k.dir, "kubeconfig-job")
	if err := controlplane.WriteKubeconfig(path, cfg); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(programs, "eni-coordinator"), append(c.args, k.args...)...)
	cmd.Env = []string{"KUBECONFIG=" + path}
	out, err := cmd.CombinedOutput()
	k.said = string(out)
	if err != nil {
		return fmt.Errorf("%s: %w", cmd, err)
	}
	return nil
}

// mayTellWhy checks that the Job may read what tells what holds it up, which takes
// longer to show than a test waits.
func mayTellWhy(ctx context.Context, cfg *rest.Config) error {
	client, err := kube.NewClient(cfg, "test")
	if err != nil {
		return err
	}
	objects, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return err
	}
	// Rights come into force a moment after the roles are there.
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		_, events := client.Warnings(ctx, "some-uid")
		_, lease := objects.Resource(leases).Namespace(namespace).Get(ctx, "eni-coordinator", metav1.GetOptions{})
		if apierrors.IsNotFound(lease) {
			lease = nil
		}
		if err := errors.Join(events, lease); err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

func finished(job *unstructured.Unstructured) bool {
	conditions, _, _ := unstructured.NestedSlice(job.Object, "status", "conditions")
	return len(conditions) > 0
}

func setStatus(job *unstructured.Unstructured, started metav1.Time, first, last string) {
	now := metav1.Now().Format(time.RFC3339)
	condition := func(name string) map[string]any {
		return map[string]any{"type": name, "status": "True", "reason": "Test", "lastTransitionTime": now, "lastProbeTime": now}
	}
	status := map[string]any{
		"startTime": started.Format(time.RFC3339), "conditions": []any{condition(first), condition(last)},
	}
	if last == "Complete" {
		status["completionTime"], status["succeeded"] = now, int64(1)
	} else {
		status["failed"] = int64(1)
	}
	job.Object["status"] = status
}
