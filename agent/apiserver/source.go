// Package apiserver tells an agent in a cluster what is wanted of its node, and keeps
// the node's report: NodeENIs, the agent's own Node, and its NodeENIState.
package apiserver

import (
	"context"
	"fmt"
	"log/slog"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/flowcontrol"

	"github.com/aws-multi-eni/aws-multi-eni/agent"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// Source is the agent.Source in a cluster. Each of its parts is watched for itself, and
// changed by its own methods only.
type Source struct {
	client     *kube.Client
	instanceID string

	nodeENIs nodeENIs
	node     node
	report   report
	absences *Absences
	reach    *kube.Reach
	onDemand *onDemand // nil without
	changed  chan struct{}
	complete bool // all NodeENIs have been read; of Snapshot
}

// New makes a Source for the node on this instance.
func New(cfg *rest.Config, client *kube.Client, nodeName, instanceID string, log *slog.Logger) (*Source, error) {
	meta, err := metadata.NewForConfig(kube.Bounded(cfg))
	if err != nil {
		return nil, err
	}
	changed := make(chan struct{}, 1)
	absences := NewAbsences(func(ctx context.Context, o Object) (types.UID, error) {
		return client.UID(ctx, o.Resource, o.Name)
	}, func() { signal(changed) }, log)
	gvr := v1alpha1.GroupVersion.WithResource(kube.NodeENIs)
	reach := kube.NewReach(log)
	all := reach.Of("NodeENIs", &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return meta.Resource(gvr).List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return meta.Resource(gvr).Watch(ctx, o)
		},
	})
	byName := fields.OneTermEqualSelector(metav1.ObjectNameField, nodeName)
	ownNode := reach.Of("the Node", cache.NewListWatchFromClient(client.Core, kube.Nodes, "", byName))
	ownState := reach.Of("the NodeENIState", cache.NewListWatchFromClient(client.API, kube.NodeENIStates, "", byName))
	return &Source{
		client: client, instanceID: instanceID, absences: absences, reach: reach, changed: changed,
		nodeENIs: nodeENIs{
			client: client, log: log, informer: informer(all, &metav1.PartialObjectMetadata{}), absences: absences,
			changed: changed, fetch: make(chan struct{}, 1), specs: map[string]v1alpha1.NodeENI{},
		},
		node: node{client: client, name: nodeName, informer: informer(ownNode, &kube.Node{}), absences: absences, changed: changed},
		report: report{
			client: client, log: log, node: nodeName, informer: informer(ownState, &v1alpha1.NodeENIState{}), changed: changed,
			limiter: flowcontrol.NewTokenBucketRateLimiter(savesPerSecond, savesAtOnce),
		},
	}, nil
}

// Run keeps up with the API server until ctx ends.
func (s *Source) Run(ctx context.Context) error {
	for i, handler := range map[cache.SharedIndexInformer]cache.ResourceEventHandler{
		s.nodeENIs.informer: s.nodeENIs.handler(), s.node.informer: s.node.handler(), s.report.informer: s.report.handler(),
	} {
		if _, err := i.AddEventHandler(handler); err != nil {
			return err
		}
		go i.RunWithContext(ctx)
	}
	if !cache.WaitForCacheSync(ctx.Done(), s.nodeENIs.informer.HasSynced, s.node.informer.HasSynced, s.report.informer.HasSynced) {
		return ctx.Err()
	}
	go s.nodeENIs.run(ctx)
	if s.onDemand != nil {
		go s.onDemand.run(ctx)
	}
	signal(s.nodeENIs.fetch)
	return nil
}

// Changed implements Source.
func (s *Source) Changed() <-chan struct{} { return s.changed }

// Snapshot implements Source.
func (s *Source) Snapshot() (agent.Snapshot, bool) {
	var snapshot agent.Snapshot
	present, terminating := map[types.UID]Object{}, map[types.UID]bool{}
	unread := false
	for _, meta := range s.nodeENIs.list() {
		present[meta.UID] = Object{kube.NodeENIs, meta.Name}
		terminating[meta.UID] = meta.DeletionTimestamp != nil
		n, ok := s.nodeENIs.spec(meta.Name)
		if !ok || n.UID != meta.UID {
			unread = true
			continue
		}
		n.DeletionTimestamp = meta.DeletionTimestamp
		snapshot.NodeENIs = append(snapshot.NodeENIs, n)
	}
	node := s.node.current()
	if node != nil {
		present[node.UID] = Object{kube.Nodes, node.Name}
	}
	if s.complete = s.complete || !unread; !s.complete {
		return agent.Snapshot{}, false
	}
	snapshot.Incomplete, snapshot.Deleted = s.absences.Observe(present, terminating)
	snapshot.Incomplete = snapshot.Incomplete || unread // one that cannot be read holds up no other
	if s.onDemand != nil {
		snapshot.Claims, snapshot.ClaimsKnown = s.onDemand.snapshot()
		snapshot.SlicesLost = s.onDemand.slices.lost()
	}
	if node == nil {
		return snapshot, true
	}
	snapshot.NodeExists, snapshot.NodeUID, snapshot.Labels = true, node.UID, node.Labels
	snapshot.Taints, snapshot.Resources = node.Spec.Taints, node.Status.Capacity
	snapshot.NodeProblem = NodeProblem(node, s.instanceID)
	snapshot.ReportLost = s.report.isLost()
	return snapshot, true
}

// Counts implements Source.
func (s *Source) Counts(ctx context.Context, nodeENI string) (v1alpha1.NodeCounts, error) {
	return s.client.NodeCounts(ctx, nodeENI)
}

// Load implements Source.
func (s *Source) Load(context.Context) (v1alpha1.NodeENIStateStatus, error) {
	last, err := s.report.load()
	s.absences.Seed(last)
	return last, err
}

// Save implements Source.
func (s *Source) Save(ctx context.Context, report v1alpha1.NodeENIStateStatus) error {
	return s.report.save(ctx, report, s.node.current())
}

// Refresh implements Source: it reads the Node once more.
func (s *Source) Refresh(ctx context.Context) error {
	_, err := s.node.refresh(ctx)
	return err
}

// Confirm implements Confirmer.
func (s *Source) Confirm(ctx context.Context, uid types.UID, name string) error {
	node, err := s.node.refresh(ctx)
	if err != nil {
		return fmt.Errorf("get the Node: %w", err)
	}
	var n v1alpha1.NodeENI
	if err := s.client.API.Get().Resource(kube.NodeENIs).Name(name).Do(ctx).Into(&n); err != nil {
		return fmt.Errorf("NodeENI %s: %w", name, err)
	}
	if n.UID != uid || n.DeletionTimestamp != nil || !n.Selects(node.Labels) {
		return fmt.Errorf("NodeENI %s no longer selects this node, but the watch does not show that yet", name)
	}
	return nil
}

// PatchNode implements NodePatcher.
func (s *Source) PatchNode(ctx context.Context, patch []byte, subresources ...string) error {
	return s.node.patch(ctx, patch, subresources...)
}
