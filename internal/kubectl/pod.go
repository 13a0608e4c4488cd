package kubectl

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/aws-multi-eni/aws-multi-eni/internal/diagnose"
	"github.com/aws-multi-eni/aws-multi-eni/internal/driver"
)

const resourcePath = "/apis/resource.k8s.io/v1"

var slicesOfAgents = parameters{"fieldSelector": "spec.driver=" + driver.Name}

// podArgument is the pod that the arguments of why name: pod/NAME, in the namespace of the
// flag or the kubeconfig, or pod/NAMESPACE/NAME.
func podArgument(args []string, namespace string) (in, name string, err error) {
	rest, is := strings.CutPrefix(args[0], diagnose.PodPrefix)
	if !is {
		return "", "", nil
	}
	if before, after, found := strings.Cut(rest, "/"); found {
		namespace, rest = before, after
	}
	if len(args) > 1 || rest == "" || namespace == "" || strings.Contains(rest, "/") {
		return "", "", usageError{"name the pod as pod/NAME or pod/NAMESPACE/NAME, and nothing else"}
	}
	return namespace, rest, nil
}

// get reads one object.
func get[T any](ctx context.Context, c *client, path string) (object T, err error) {
	data, err := c.raw(ctx, path, nil)
	if err == nil {
		err = json.Unmarshal(data, &object)
	}
	return object, err
}

// pod reads a pod, and what decides whether it gets the ENIs that it claims.
func (r *reading) pod(ctx context.Context, namespace, name string) error {
	core := "/api/v1/namespaces/" + url.PathEscape(namespace)
	pod, err := get[corev1.Pod](ctx, r.client, core+"/pods/"+url.PathEscape(name))
	if apierrors.IsNotFound(err) {
		return usageError{fmt.Sprintf("there is no pod %s/%s; for a pod in another namespace, use -n or pod/NAMESPACE/NAME", namespace, name)}
	}
	if err != nil {
		return err
	}
	p := &diagnose.PodClaims{Pod: pod}
	r.snapshot.Pod = p
	_, err = r.raw(ctx, resourcePath, nil)
	if p.NotServed = apierrors.IsNotFound(err); p.NotServed {
		return nil
	}
	var all sync.WaitGroup
	all.Go(func() {
		into(ctx, r, diagnose.Events, core+"/events", parameters{"fieldSelector": "involvedObject.kind=Pod,involvedObject.name=" + name}, &p.Events)
	})
	all.Go(func() {
		into(ctx, r, diagnose.ResourceSlices, resourcePath+"/resourceslices", slicesOfAgents, &p.Slices)
	})
	all.Go(func() { into(ctx, r, diagnose.DeviceClasses, resourcePath+"/deviceclasses", nil, &p.Classes) })
	for _, claim := range diagnose.ClaimNames(&pod) {
		c, err := get[resourcev1.ResourceClaim](ctx, r.client, fmt.Sprintf("%s/namespaces/%s/resourceclaims/%s", resourcePath, url.PathEscape(namespace), url.PathEscape(claim)))
		switch {
		case err == nil:
			p.Claims = append(p.Claims, c)
		case !apierrors.IsNotFound(err):
			r.unread(diagnose.ResourceClaims, err)
		}
	}
	all.Wait()
	return nil
}

// podNamespace is where a pod is that is named without a namespace.
func (a *access) podNamespace() string {
	namespace, _, err := a.config().Namespace()
	if err != nil {
		return ""
	}
	return cmp.Or(namespace, corev1.NamespaceDefault)
}
