package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/tools/cache"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// reports are the agents' reports as somebody who watches them sees them.
type reports struct {
	mu     sync.Mutex
	seen   map[string][]report // by node, in order
	change chan struct{}       // closed with the next one
}

type report struct {
	at   time.Time
	enis []v1alpha1.ENIState
}

func watchReports(ctx context.Context, client *kube.Client) (*reports, error) {
	r := &reports{seen: map[string][]report{}, change: make(chan struct{})}
	lw := cache.NewListWatchFromClient(client.API, kube.NodeENIStates, "", fields.Everything())
	informer := cache.NewSharedIndexInformer(lw, &v1alpha1.NodeENIState{}, 0, nil)
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: r.add, UpdateFunc: func(_, o any) { r.add(o) },
	})
	if err != nil {
		return nil, err
	}
	go informer.RunWithContext(ctx)
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		return nil, ctx.Err()
	}
	return r, nil
}

func (r *reports) add(o any) {
	state, ok := o.(*v1alpha1.NodeENIState)
	if !ok {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen[state.Name] = append(r.seen[state.Name], report{time.Now(), state.Status.ENIs})
	close(r.change)
	r.change = make(chan struct{})
}

// since are a node's reports from a moment on.
func (r *reports) since(node string, from time.Time) []report {
	r.mu.Lock()
	defer r.mu.Unlock()
	i, _ := slices.BinarySearchFunc(r.seen[node], from, func(seen report, t time.Time) int { return seen.at.Compare(t) })
	return slices.Clone(r.seen[node][i:])
}

// last is a node's newest report; empty when there is none.
func (r *reports) last(node string) report {
	r.mu.Lock()
	defer r.mu.Unlock()
	if all := r.seen[node]; len(all) > 0 {
		return all[len(all)-1]
	}
	return report{}
}

// await waits for the first report since a moment that is so.
func (r *reports) await(ctx context.Context, node string, from time.Time, what string, is func([]v1alpha1.ENIState) bool) (report, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		r.mu.Lock()
		change := r.change
		r.mu.Unlock()
		for _, seen := range r.since(node, from) {
			if is(seen.enis) {
				return seen, nil
			}
		}
		select {
		case <-change:
		case <-ctx.Done():
			return report{}, fmt.Errorf("%s: not %s: %w; its last report is %+v", node, what, ctx.Err(), r.last(node).enis)
		}
	}
}

// in says whether there are n ENIs, all in this phase.
func in(phase v1alpha1.Phase, n int) func([]v1alpha1.ENIState) bool {
	return func(enis []v1alpha1.ENIState) bool {
		count := 0
		for _, e := range enis {
			if e.Phase == phase && e.ENIID != "" {
				count++
			}
		}
		return count == n
	}
}
