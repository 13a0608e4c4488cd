package controlplane

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
)

var (
	nodes   = schema.GroupVersionResource{Version: "v1", Resource: "nodes"}
	reviews = schema.GroupVersionResource{Group: "authorization.k8s.io", Version: "v1", Resource: "selfsubjectaccessreviews"}
)

// refused reports whether an admission policy whose name begins so has refused a request
// with these words.
func refused(err error, policy, words string) bool {
	return apierrors.IsForbidden(err) && strings.Contains(err.Error(), "ValidatingAdmissionPolicy '"+policy) && strings.Contains(err.Error(), words)
}

// CheckRefusal fails the test unless the policy has refused a request with these words, or
// the request has gone through, where there are none.
func CheckRefusal(t testing.TB, what string, err error, policy, words string) {
	t.Helper()
	switch {
	case words == "" && err != nil:
		t.Errorf("%s: %v", what, err)
	case words != "" && !refused(err, policy, words):
		t.Errorf("%s: %v, want the policy to refuse it with %q", what, err, words)
	}
}

// AwaitRefusal waits until the policy refuses a request with these words. It is in force a
// moment after it is there.
func AwaitRefusal(t testing.TB, policy, words string, request func() error) {
	t.Helper()
	var last error
	err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, 30*time.Second, true, func(context.Context) (bool, error) {
		last = request()
		return refused(last, policy, words), nil
	})
	if err != nil {
		t.Fatalf("the policy is not in force: %v", last)
	}
}

// May asks the API server whether cfg's user has a right.
func May(t testing.TB, cfg *rest.Config, verb, resource, subresource string) bool {
	t.Helper()
	review := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
		"spec": map[string]any{"resourceAttributes": map[string]any{"verb": verb, "resource": resource, "subresource": subresource}},
	}}
	got, err := Client(t, cfg).Resource(reviews).Create(t.Context(), review, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	allowed, _, _ := unstructured.NestedBool(got.Object, "status", "allowed")
	return allowed
}

// PatchNode asks for a JSON patch of a Node, or of its subresource, as a dry run.
func PatchNode(t testing.TB, cfg *rest.Config, name string, operations []map[string]any, subresources ...string) error {
	t.Helper()
	patch, err := json.Marshal(operations)
	if err != nil {
		return err
	}
	_, err = Client(t, cfg).Resource(nodes).Patch(t.Context(), name, types.JSONPatchType, patch, metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}}, subresources...)
	return err
}
