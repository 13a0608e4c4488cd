package coordinator

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// liveEvidence asks the API server for what the caches may have missed: one that
// cannot list or watch any more, for want of a right or for an object that it
// cannot read, stays as it was and tells nobody. New ENIs would then be orphans,
// and those whose label came back left over, for as long as that lasts.
func (s *sweeper) liveEvidence(ctx context.Context, e eni.ENI) (evidence, error) {
	name := e.Owner.NodeENI
	if cached := s.caches.nodeENIByUID(e.Owner.NodeENIUID); cached != nil {
		name = cached.Name // a tag can be edited
	}
	nodeENI, err := read[v1alpha1.NodeENI](ctx, s.kube.API, kube.NodeENIs, name)
	if err != nil {
		return evidence{}, err
	}
	if nodeENI != nil && nodeENI.UID != e.Owner.NodeENIUID {
		nodeENI = nil
	}
	// Of the custom resources the CRDs may be gone, but no API server is without Nodes.
	nodeName := s.caches.nodeOf(e)
	node, err := readStrictly[kube.Node](ctx, s.kube.Core, kube.Nodes, nodeName)
	if err != nil {
		return evidence{}, err
	}
	report, err := read[v1alpha1.NodeENIState](ctx, s.kube.API, kube.NodeENIStates, nodeName)
	if err != nil {
		return evidence{}, err
	}
	return s.caches.combine(e, nodeENI, node, report), nil
}

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
