package apiserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// nodeENIs are all NodeENIs. Only the metadata is watched, and the object is read when its
// generation has changed: their status, which changes whenever any node of the fleet does,
// then costs an agent next to nothing.
type nodeENIs struct {
	client   *kube.Client
	log      *slog.Logger
	informer cache.SharedIndexInformer // *metav1.PartialObjectMetadata
	absences *Absences
	changed  chan struct{} // of the Source
	fetch    chan struct{}

	mu    sync.Mutex
	specs map[string]v1alpha1.NodeENI // by name
}

// handler has specs fetched when one may be another. A write of a status, which is
// sent to every node of the fleet, ends here.
func (n *nodeENIs) handler() cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { signal(n.fetch) },
		UpdateFunc: func(old, now any) {
			if before, after := old.(metav1.Object), now.(metav1.Object); before.GetUID() != after.GetUID() ||
				before.GetGeneration() != after.GetGeneration() || !before.GetDeletionTimestamp().Equal(after.GetDeletionTimestamp()) {
				signal(n.fetch)
			}
		},
		DeleteFunc: func(o any) {
			n.absences.onDelete(o)
			signal(n.fetch)
		},
	}
}

// list is the metadata of all NodeENIs that the watch shows.
func (n *nodeENIs) list() (all []*metav1.PartialObjectMetadata) {
	for _, o := range n.informer.GetStore().List() {
		all = append(all, o.(*metav1.PartialObjectMetadata))
	}
	return all
}

// fetchRetry is the time after which a NodeENI that could not be read is tried
// again.
const fetchRetry = 2 * time.Second

// run gets each NodeENI whose generation is another one, be it lower: etcd
// may have been restored from a backup. Only events have it look, so a watch that
// trails behind what was read costs a read more for each, and no loop.
func (n *nodeENIs) run(ctx context.Context) {
	var retry <-chan time.Time // one at most, however many events come meanwhile
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.fetch:
		case <-retry:
		}
		err := n.fetchOnce(ctx)
		switch {
		case err == nil:
			retry = nil
		case ctx.Err() == nil:
			if retry == nil {
				n.log.Warn("cannot read a NodeENI; retrying", "error", err)
			}
			retry = time.After(fetchRetry)
		}
		signal(n.changed)
	}
}

func (n *nodeENIs) fetchOnce(ctx context.Context) error {
	there := map[string]bool{}
	var failed []error
	for _, meta := range n.list() {
		there[meta.Name] = true
		if known, ok := n.spec(meta.Name); ok && known.UID == meta.UID && known.Generation == meta.Generation {
			continue
		}
		read := v1alpha1.NodeENI{}
		err := n.client.API.Get().Resource(kube.NodeENIs).Name(meta.Name).Do(ctx).Into(&read)
		if apierrors.IsNotFound(err) {
			continue // its delete event is on the way
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("NodeENI %s: %w", meta.Name, err))
			continue
		}
		read.Status, read.ManagedFields = v1alpha1.NodeENIStatus{}, nil
		n.mu.Lock()
		n.specs[read.Name] = read
		n.mu.Unlock()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	maps.DeleteFunc(n.specs, func(name string, _ v1alpha1.NodeENI) bool { return !there[name] })
	return errors.Join(failed...)
}

func (n *nodeENIs) spec(name string) (v1alpha1.NodeENI, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	known, ok := n.specs[name]
	return known, ok
}
