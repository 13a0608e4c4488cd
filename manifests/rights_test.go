package manifests

import (
	"context"
	"maps"
	"slices"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"

	"github.com/aws-multi-eni/aws-multi-eni/internal/controlplane"
)

var (
	subjectRulesReviews = schema.GroupVersionResource{Group: "authorization.k8s.io", Version: "v1", Resource: "selfsubjectrulesreviews"}

	readOnly = []string{"get", "list", "watch"}
)

// TestRights asks a real API server for everything that a ServiceAccount may do:
// not a right more than the design's table, and not one less.
func TestRights(t *testing.T) {
	cp := installed.Get(t)
	unbound := []byte("{apiVersion: v1, kind: ServiceAccount, metadata: {name: unbound, namespace: eni-system}}")
	if err := cp.Apply(t.Context(), unbound); err != nil {
		t.Fatal(err)
	}
	everybodys := rights(t, clientOf(t, cp, "unbound"), namespace)

	everywhere := map[string]map[string][]string{
		"eni-agent": {
			"nodeenis.networking.k8s.aws":      readOnly,
			"nodeenistates.networking.k8s.aws": {"create", "get", "list", "update", "watch"},
			"nodes":                            readOnly,
			"events":                           {"create"},
			"namespaces/kube-system":           {"get"},
			"daemonsets/aws-node.apps":         {"get"},
		},
		"eni-coordinator": {
			"nodeenis.networking.k8s.aws":        {"get", "list", "patch", "watch"},
			"nodeenis/status.networking.k8s.aws": {"update"},
			"nodeenistates.networking.k8s.aws":   readOnly,
			"nodes":                              readOnly,
			"events":                             {"create"},
			"namespaces/kube-system":             {"get"},
		},
	}
	atHome := map[string]map[string][]string{
		"eni-agent": {},
		"eni-coordinator": {
			"leases.coordination.k8s.io":                 {"create"},
			"leases/eni-coordinator.coordination.k8s.io": {"get", "update"},
		},
	}
	for account, want := range everywhere {
		t.Run(account, func(t *testing.T) {
			client := clientOf(t, cp, account)
			maps.Copy(want, everybodys)
			awaitRights(t, client, "default", want)
			maps.Copy(want, atHome[account])
			awaitRights(t, client, namespace, want)
		})
	}
}

func clientOf(t *testing.T, cp *controlplane.ControlPlane, account string) dynamic.Interface {
	t.Helper()
	cfg, err := cp.ServiceAccountConfig(t.Context(), namespace, account, "")
	if err != nil {
		t.Fatal(err)
	}
	return controlplane.Client(t, cfg)
}

// awaitRights gives the API server a moment: its authorizer hears of new roles
// through a watch.
func awaitRights(t *testing.T, client dynamic.Interface, namespace string, want map[string][]string) {
	t.Helper()
	var got map[string][]string
	err := wait.PollUntilContextTimeout(t.Context(), 10*time.Millisecond, 10*time.Second, true, func(context.Context) (bool, error) {
		got = rights(t, client, namespace)
		return maps.EqualFunc(got, want, slices.Equal), nil
	})
	if err != nil {
		t.Errorf("in namespace %s it may use\n%v, want\n%v", namespace, got, want)
	}
}

// rights are the verbs by resource.
func rights(t *testing.T, client dynamic.Interface, namespace string) map[string][]string {
	t.Helper()
	obj, err := client.Resource(subjectRulesReviews).Create(t.Context(), &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "authorization.k8s.io/v1",
		"kind":       "SelfSubjectRulesReview",
		"spec":       map[string]any{"namespace": namespace},
	}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var review authorizationv1.SelfSubjectRulesReview
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(obj.Object, &review); err != nil {
		t.Fatal(err)
	}
	if review.Status.EvaluationError != "" {
		t.Logf("the API server's list may be incomplete: %s", review.Status.EvaluationError)
	}
	found := map[string][]string{}
	for _, rule := range review.Status.ResourceRules {
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				for _, name := range append(rule.ResourceNames, "")[:max(1, len(rule.ResourceNames))] {
					key := resourceKey(group, resource, name)
					found[key] = slices.Sorted(slices.Values(append(found[key], rule.Verbs...)))
				}
			}
		}
	}
	return found
}

func resourceKey(group, resource, name string) string {
	key := resource
	if name != "" {
		key = key + "/" + name
	}
	if group != "" {
		key += "." + group
	}
	return key
}
