package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

// Reports follows what agents and coordinator report, by watches of all NodeENIStates
// and NodeENIs.
type Reports struct {
	wake chan struct{}

	mu      sync.Mutex
	since   time.Time
	wanted  int                      // ENIs per node
	ready   map[string]time.Duration // since, by node
	largest map[string]int           // bytes, by resource
}

// Follow begins to follow.
func (c *Cluster) Follow(ctx context.Context) (*Reports, error) {
	r := &Reports{wake: make(chan struct{}, 1), ready: map[string]time.Duration{}, largest: map[string]int{}}
	err := testbed.Watch(ctx, c.Client, kube.NodeENIStates, &v1alpha1.NodeENIState{}, r.saw)
	if err == nil {
		err = testbed.Watch(ctx, c.Client, kube.NodeENIs, &v1alpha1.NodeENI{}, func(o *v1alpha1.NodeENI) { r.weigh(kube.NodeENIs, o) })
	}
	return r, err
}

// Begin starts the clock: from now on a node is ready once it reports so many
// ENIs, all Ready. What nodes have reported before does not count.
func (r *Reports) Begin(enisPerNode int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.since, r.wanted = time.Now(), enisPerNode
	clear(r.ready)
}

func (r *Reports) weigh(resource string, object any) {
	data, err := json.Marshal(object)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		r.largest[resource] = max(r.largest[resource], len(data))
	}
}

func (r *Reports) saw(state *v1alpha1.NodeENIState) {
	r.weigh(kube.NodeENIStates, state)
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, done := r.ready[state.Name]; done || !isReady(state, r.wanted) {
		return
	}
	r.ready[state.Name] = time.Since(r.since)
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func isReady(state *v1alpha1.NodeENIState, wanted int) bool {
	n := 0
	for _, e := range state.Status.ENIs {
		if e.Phase == v1alpha1.PhaseReady {
			n++
		}
	}
	return n == wanted && len(state.Status.ENIs) == wanted
}

// Ready are the times that nodes took, in order.
func (r *Reports) Ready() []time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	var times []time.Duration
	for _, t := range r.ready {
		times = append(times, t)
	}
	slices.Sort(times)
	return times
}

// Await waits until all the nodes are ready.
func (r *Reports) Await(ctx context.Context, nodes []string) error {
	for {
		for len(nodes) > 0 && r.isReady(nodes[0]) {
			nodes = nodes[1:]
		}
		if len(nodes) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d nodes are not ready, %s among them: %w", len(nodes), nodes[0], ctx.Err())
		case <-r.wake:
		}
	}
}

func (r *Reports) isReady(node string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.ready[node]
	return ok
}

// Largest is the size in bytes of the largest object of a resource so far.
func (r *Reports) Largest(resource string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.largest[resource]
}
