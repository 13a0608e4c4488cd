package apiserver

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/client-go/tools/cache"
)

func informer(lw cache.ListerWatcher, object runtime.Object) cache.SharedIndexInformer {
	return slimInformer(lw, object, withoutManagedFields)
}

func slimInformer(lw cache.ListerWatcher, object runtime.Object, slim cache.TransformFunc) cache.SharedIndexInformer {
	i := cache.NewSharedIndexInformer(lw, object, 0, nil)
	if err := i.SetTransform(slim); err != nil {
		panic(err) // a programming error: the informer has been started
	}
	return i
}

func withoutManagedFields(o any) (any, error) {
	if object, ok := o.(metav1.Object); ok {
		object.SetManagedFields(nil)
	}
	return o, nil
}

// newer says whether the API server has written a after b.
func newer(a, b metav1.Object) bool {
	order, err := resourceversion.CompareResourceVersion(a.GetResourceVersion(), b.GetResourceVersion())
	return err == nil && order > 0
}

// signal wakes whoever reads c, once however often.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
