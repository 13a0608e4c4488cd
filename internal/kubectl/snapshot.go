package kubectl

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/diagnose"
)

// Paths of what is read.
const (
	nodeENIsPath = "/apis/networking.k8s.aws/v1alpha1/nodeenis"
	statesPath   = "/apis/networking.k8s.aws/v1alpha1/nodeenistates"
	nodesPath    = "/api/v1/nodes"
)

// ours selects the workloads of aws-multi-eni.
var ours = parameters{"labelSelector": diagnose.NameLabel + "=" + diagnose.NameValue + "," + diagnose.ComponentLabel + " in (" + diagnose.AgentComponent + "," + diagnose.CoordinatorComponent + ")"}

// reading is a Snapshot that is being read.
type reading struct {
	*client
	mu       sync.Mutex
	snapshot diagnose.Snapshot
	versions map[string]string // of the lists that --watch follows, by path
}

// read reads a Snapshot. What cannot be read is noted in it; only without NodeENIs there is
// nothing to tell.
func (c *client) read(ctx context.Context) (*reading, error) {
	r := &reading{client: c, versions: map[string]string{}}
	r.snapshot.Time, r.snapshot.Unread = time.Now(), map[diagnose.Resource]string{}
	var unreadable error
	var all sync.WaitGroup
	all.Go(func() { unreadable = r.nodeENIs(ctx) })
	all.Go(func() { into(ctx, r, diagnose.NodeENIStates, statesPath, nil, &r.snapshot.States) })
	all.Go(func() { into(ctx, r, diagnose.Nodes, nodesPath, nil, &r.snapshot.Nodes) })
	all.Go(func() {
		into(ctx, r, diagnose.Events, "/api/v1/namespaces/default/events", parameters{"fieldSelector": "type=Warning"}, &r.snapshot.Events)
	})
	all.Go(func() { everywhere(ctx, r, diagnose.DaemonSets, "/apis/apps/v1", ours, &r.snapshot.DaemonSets) })
	all.Go(func() { everywhere(ctx, r, diagnose.Deployments, "/apis/apps/v1", ours, &r.snapshot.Deployments) })
	all.Go(func() { everywhere(ctx, r, diagnose.Pods, "/api/v1", ours, &r.snapshot.Pods) })
	all.Wait()
	if unreadable != nil {
		return r, unreadable
	}
	r.chooseNamespace()
	r.lease(ctx)
	for i := range r.snapshot.States {
		r.snapshot.States[i].Status.Clip() // it may have been stored before the schema had bounds
	}
	return r, nil
}

func (r *reading) nodeENIs(ctx context.Context) error {
	all, version, err := list[v1alpha1.NodeENI](ctx, r.client, nodeENIsPath, nil)
	if apierrors.IsNotFound(err) {
		r.absent(diagnose.NodeENIs)
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.snapshot.NodeENIs, r.versions[nodeENIsPath] = all, version
	return err
}

func (r *reading) absent(resource diagnose.Resource) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.snapshot.Absent = append(r.snapshot.Absent, resource)
}

func (r *reading) unread(resource diagnose.Resource, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.snapshot.Unread[resource] = v1alpha1.Printable(err.Error())
}

// into reads a list, if it can be read.
func into[T any](ctx context.Context, r *reading, resource diagnose.Resource, path string, p parameters, to *[]T) bool {
	all, version, err := list[T](ctx, r.client, path, p)
	switch {
	case resource == diagnose.NodeENIStates && apierrors.IsNotFound(err):
		r.absent(resource)
	case err != nil:
		r.unread(resource, err)
	default:
		r.mu.Lock()
		defer r.mu.Unlock()
		*to, r.versions[path] = all, version
	}
	return err == nil
}

// everywhere reads a list of all namespaces, or, without the right to do so, of the one
// that aws-multi-eni is usually in.
func everywhere[T any](ctx context.Context, r *reading, resource diagnose.Resource, group string, p parameters, to *[]T) {
	home := fmt.Sprintf("%s/namespaces/%s/%s", group, url.PathEscape(cmp.Or(r.namespace, diagnose.DefaultNamespace)), resource)
	if r.namespace == "" {
		all, _, err := list[T](ctx, r.client, group+"/"+string(resource), p)
		if err == nil {
			*to = all
			return
		}
		if !apierrors.IsForbidden(err) {
			r.unread(resource, err)
			return
		}
	}
	if into(ctx, r, resource, home, p, to) && r.namespace == "" && len(*to) == 0 {
		// They may be in another namespace.
		r.unread(resource, fmt.Errorf("you do not have permission to read %s/%s, and there are none in namespace %s; name the namespace with -n", group, resource, diagnose.DefaultNamespace))
	}
}

// chooseNamespace is the one that was asked for, or that workloads were found in.
func (r *reading) chooseNamespace() {
	s := &r.snapshot
	s.Namespace = r.namespace
	for i := range s.Deployments {
		s.Namespace = cmp.Or(s.Namespace, s.Deployments[i].Namespace)
	}
	for i := range s.DaemonSets {
		s.Namespace = cmp.Or(s.Namespace, s.DaemonSets[i].Namespace)
	}
	for i := range s.Pods {
		s.Namespace = cmp.Or(s.Namespace, s.Pods[i].Namespace)
	}
	s.Namespace = cmp.Or(s.Namespace, diagnose.DefaultNamespace)
}

func (r *reading) lease(ctx context.Context) {
	path := fmt.Sprintf("/apis/coordination.k8s.io/v1/namespaces/%s/leases/%s", url.PathEscape(r.snapshot.Namespace), diagnose.LeaseName)
	data, err := r.raw(ctx, path, nil)
	var lease coordinationv1.Lease
	if err == nil {
		err = json.Unmarshal(data, &lease)
	}
	switch {
	case err == nil:
		r.snapshot.Lease = &lease
	case !apierrors.IsNotFound(err):
		r.unread(diagnose.Leases, err)
	}
}

// agentOn is the pod of the agent on a node.
func (r *reading) agentOn(node string) (*corev1.Pod, error) {
	if err := diagnose.KnowsNode(&r.snapshot, node); errors.As(err, new(*diagnose.NameError)) {
		return nil, err
	}
	if why := r.snapshot.Unread[diagnose.Pods]; why != "" {
		return nil, fmt.Errorf("cannot find the agent's pod on %s: %s", node, why)
	}
	pod := diagnose.AgentOn(&r.snapshot, node)
	if pod == nil || pod.Spec.NodeName == "" {
		return nil, fmt.Errorf("no agent pod runs on %s; kubectl eni why %s shows why", node, node)
	}
	return pod, nil
}
