package apiserver

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/flowcontrol"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// report is the node's NodeENIState: as the agent last saved it, and what others make of it.
type report struct {
	client   *kube.Client
	log      *slog.Logger
	node     string
	informer cache.SharedIndexInformer // *v1alpha1.NodeENIState, one
	limiter  flowcontrol.RateLimiter   // of saves
	changed  chan struct{}             // of the Source

	mu    sync.Mutex
	state *v1alpha1.NodeENIState // as it was last saved or loaded
	lost  bool                   // the state is not what was saved: there is none, or another client has changed it
	check bool                   // it is looked at soon
	// pruned: the API server does not keep all of it.
	pruned bool
}

// A node whose links do not come to rest must not become the API server's
// trouble; each ENI of one that starts comes to four reports within two seconds, and
// a large instance takes 15 ENIs.
const (
	savesPerSecond = 2
	savesAtOnce    = 4 * 15
)

// load is the report of the agent before this one.
func (r *report) load() (v1alpha1.NodeENIStateStatus, error) {
	o, ok, err := r.informer.GetStore().GetByKey(r.node)
	if err != nil || !ok {
		return v1alpha1.NodeENIStateStatus{}, err
	}
	state := o.(*v1alpha1.NodeENIState).DeepCopy()
	r.mu.Lock()
	r.state = state
	r.mu.Unlock()
	return state.Status, nil
}

// save writes the report. The NodeENIState is owned by the Node; where there is
// no Node, there is none to create, and the report is lost until the Node is back.
func (r *report) save(ctx context.Context, status v1alpha1.NodeENIStateStatus, owner *kube.Node) error {
	r.mu.Lock()
	state := r.state
	r.lost = r.lost || state == nil && owner == nil
	r.mu.Unlock()
	if state == nil {
		if owner == nil {
			return nil
		}
		state = &v1alpha1.NodeENIState{ObjectMeta: metav1.ObjectMeta{Name: r.node}}
	}
	state = state.DeepCopy()
	status.DeepCopyInto(&state.Status)
	state.Status.Clip() // or the schema refuses all of it
	if owner != nil {
		state.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: owner.Name, UID: types.UID(owner.UID)}}
	}
	if err := r.limiter.Wait(ctx); err != nil {
		return err
	}
	saved, err := r.write(ctx, state, owner != nil)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state, r.lost = saved, saved == nil
	if saved != nil && !r.pruned && !sameText(saved.Status, state.Status) {
		r.pruned = true
		r.log.Warn("the API server has dropped fields of this node's report, because the CRD nodeenistates.networking.k8s.aws is older than the agent; apply the CRDs of the agent's version, then restart the agent",
			"nodeENIState", r.node)
	}
	return nil
}

// sameText compares what is sent, where times have no fractions of a second.
func sameText(a, b v1alpha1.NodeENIStateStatus) bool {
	x, err := json.Marshal(a)
	y, otherErr := json.Marshal(b)
	return err == nil && otherErr == nil && bytes.Equal(x, y)
}

// isLost says whether there is no report, or not the one that was saved.
func (r *report) isLost() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lost
}

// write updates or creates. An update that comes too late reads the object and
// writes over it: the agent is its only writer.
func (r *report) write(ctx context.Context, state *v1alpha1.NodeENIState, mayCreate bool) (*v1alpha1.NodeENIState, error) {
	var out v1alpha1.NodeENIState
	req := r.client.API.Put().Resource(kube.NodeENIStates).Name(state.Name)
	if state.ResourceVersion == "" {
		req = r.client.API.Post().Resource(kube.NodeENIStates)
	}
	err := req.Body(state).Do(ctx).Into(&out)
	switch {
	case err == nil:
		return &out, nil
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err):
		if getErr := r.client.API.Get().Resource(kube.NodeENIStates).Name(state.Name).Do(ctx).Into(&out); getErr != nil {
			return nil, getErr
		}
		state.ResourceVersion, state.UID = out.ResourceVersion, out.UID
		err = r.client.API.Put().Resource(kube.NodeENIStates).Name(state.Name).Body(state).Do(ctx).Into(&out)
		return &out, err
	case apierrors.IsNotFound(err) && state.ResourceVersion != "" && mayCreate:
		state.ResourceVersion, state.UID = "", ""
		err = r.client.API.Post().Resource(kube.NodeENIStates).Body(state).Do(ctx).Into(&out)
		return &out, err
	case apierrors.IsNotFound(err) && state.ResourceVersion != "":
		return nil, nil // collected together with its Node
	}
	return nil, err
}

func (r *report) handler() cache.ResourceEventHandler {
	written := func(any) { r.written() }
	return cache.ResourceEventHandlerFuncs{AddFunc: written, UpdateFunc: func(_, o any) { written(o) }, DeleteFunc: func(any) { r.deleted() }}
}

// deleted notes that the report is gone, unless the agent has none.
func (r *report) deleted() {
	r.mu.Lock()
	r.lost = r.lost || r.state != nil
	r.state = nil
	r.mu.Unlock()
	signal(r.changed)
}

// stateCheck is when the report is looked at after it has been written. Another client
// that goes on writing is answered no more often than that.
const stateCheck = 10 * time.Second

// written notes that the report has been written, by the agent as a rule.
func (r *report) written() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.check {
		r.check = true
		time.AfterFunc(stateCheck, r.look)
	}
}

// look has the report saved again when it says what the agent has not said.
func (r *report) look() {
	o, ok, _ := r.informer.GetStore().GetByKey(r.node)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.check = false
	if !ok || r.state == nil {
		return
	}
	if shown := o.(*v1alpha1.NodeENIState); newer(shown, r.state) && !equality.Semantic.DeepEqual(shown.Status, r.state.Status) {
		r.log.Warn("another client changed the NodeENIState of this node; writing it again", "nodeENIState", r.node)
		r.lost = true
		signal(r.changed)
	}
}
