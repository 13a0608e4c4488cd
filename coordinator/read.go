package coordinator

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"

	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// apiTimeout is how long to wait for an answer of the API server.
const apiTimeout = 10 * time.Second

// read gets an object; nil when there is none, or no such resource.
func read[T any](ctx context.Context, client rest.Interface, resource, name string) (*T, error) {
	obj, err := readStrictly[T](ctx, client, resource, name)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return obj, err
}

// readStrictly gets an object; nil when the resource has none of this name.
func readStrictly[T any](ctx context.Context, client rest.Interface, resource, name string) (*T, error) {
	if name == "" || len(content.IsPathSegmentName(name)) > 0 {
		return nil, nil // no object can have that name
	}
	obj := new(T)
	err := client.Get().Resource(resource).Name(name).Timeout(apiTimeout).Do(ctx).Into(any(obj).(runtime.Object))
	if kube.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s %s: %w", resource, name, err)
	}
	return obj, nil
}
