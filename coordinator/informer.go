package coordinator

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// store is the cache of one resource, kept by an informer. Its objects must not be changed.
type store[T any] struct{ cache.SharedIndexInformer }

// newInformer is not generic: the compiler would make code for each type. reach asks for
// the newest state. An API server that does not stream lists answers that in pages; a list
// of any resourceVersion would come in one answer, and with some thousand Nodes that is
// more than the memory that a coordinator is given.
func newInformer(reach *kube.Reach, client rest.Interface, resource string, example runtime.Object, indexers cache.Indexers) cache.SharedIndexInformer {
	lw := cache.NewListWatchFromClient(client, resource, "", fields.Everything())
	i := cache.NewSharedIndexInformer(reach.Of(resource, lw), example, 0, indexers)
	_ = i.SetTransform(trim) // it fails once the informer runs
	return i
}

// trim drops what is never read, such as a Node's annotations, and what exceeds the bounds
// of a report.
func trim(obj any) (any, error) {
	if m, err := meta.Accessor(obj); err == nil {
		m.SetManagedFields(nil)
	}
	switch o := obj.(type) {
	case *kube.Node:
		if o.Annotations = nil; !unreachable(o) {
			o.Spec.Taints = nil
		}
	case *v1alpha1.NodeENIState:
		o.Annotations, o.Labels = nil, nil
		o.Status.Clip() // it may be older than the schema that bounds it
	}
	return obj, nil
}

// get is the object of that name; nil when there is none.
func (s store[T]) get(name string) *T {
	obj, ok, err := s.GetStore().GetByKey(name)
	if err != nil || !ok {
		return nil
	}
	return obj.(*T)
}

func (s store[T]) list() []*T { return typed[T](s.GetStore().List()) }

func (s store[T]) by(index, value string) []*T {
	found, _ := s.GetIndexer().ByIndex(index, value) // an error means that there is no such index
	return typed[T](found)
}

func typed[T any](objects []any) []*T {
	all := make([]*T, len(objects))
	for n, obj := range objects {
		all[n] = obj.(*T)
	}
	return all
}

// apiTimeout is how long to wait for an answer from the API server.
const apiTimeout = 10 * time.Second

// read gets an object from the API server; nil if there is none, or no such resource.
func read[T any](ctx context.Context, client rest.Interface, resource, name string) (*T, error) {
	obj, err := readStrictly[T](ctx, client, resource, name)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return obj, err
}

// readStrictly gets an object from the API server; nil if the resource has none of this name.
func readStrictly[T any](ctx context.Context, client rest.Interface, resource, name string) (*T, error) {
	obj := new(T)
	if found, err := readInto(ctx, client, resource, name, any(obj).(runtime.Object)); !found {
		return nil, err
	}
	return obj, nil
}

func readInto(ctx context.Context, client rest.Interface, resource, name string, obj runtime.Object) (found bool, err error) {
	if name == "" || len(content.IsPathSegmentName(name)) > 0 {
		return false, nil // no object can have that name
	}
	err = client.Get().Resource(resource).Name(name).Timeout(apiTimeout).Do(ctx).Into(obj)
	if kube.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("get %s %s: %w", resource, name, err)
	}
	return true, nil
}
