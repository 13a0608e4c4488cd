package apiserver

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// Load implements Source.
func (s *Source) Load(context.Context) (v1alpha1.NodeENIStateStatus, error) {
	o, ok, err := s.states.GetStore().GetByKey(s.node)
	if err != nil || !ok {
		return v1alpha1.NodeENIStateStatus{}, err
	}
	state := o.(*v1alpha1.NodeENIState).DeepCopy()
	s.mu.Lock()
	s.state = state
	s.mu.Unlock()
	s.absences.Seed(state.Status)
	return state.Status, nil
}

// Save implements Source. The NodeENIState is owned by the Node; where there is
// no Node, there is none to create, and the report is lost until the Node is back.
func (s *Source) Save(ctx context.Context, report v1alpha1.NodeENIStateStatus) error {
	s.mu.Lock()
	state := s.state
	s.mu.Unlock()
	owner := s.currentNode()
	if state == nil {
		if owner == nil {
			s.mu.Lock()
			s.lost = true
			s.mu.Unlock()
			return nil
		}
		state = &v1alpha1.NodeENIState{ObjectMeta: metav1.ObjectMeta{Name: s.node}}
	}
	state = state.DeepCopy()
	report.DeepCopyInto(&state.Status)
	state.Status.Clip() // or the schema refuses all of it
	if owner != nil {
		state.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: owner.Name, UID: types.UID(owner.UID)}}
	}
	if err := s.limiter.Wait(ctx); err != nil {
		return err
	}
	saved, err := s.write(ctx, state, owner != nil)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.state, s.lost = saved, saved == nil
	s.mu.Unlock()
	return nil
}

// write updates or creates. An update that comes too late reads the object and
// writes over it: the agent is its only writer.
func (s *Source) write(ctx context.Context, state *v1alpha1.NodeENIState, mayCreate bool) (*v1alpha1.NodeENIState, error) {
	var out v1alpha1.NodeENIState
	req := s.client.API.Put().Resource(kube.NodeENIStates).Name(state.Name)
	if state.ResourceVersion == "" {
		req = s.client.API.Post().Resource(kube.NodeENIStates)
	}
	err := req.Body(state).Do(ctx).Into(&out)
	switch {
	case err == nil:
		return &out, nil
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err):
		if getErr := s.client.API.Get().Resource(kube.NodeENIStates).Name(state.Name).Do(ctx).Into(&out); getErr != nil {
			return nil, getErr
		}
		state.ResourceVersion, state.UID = out.ResourceVersion, out.UID
		err = s.client.API.Put().Resource(kube.NodeENIStates).Name(state.Name).Body(state).Do(ctx).Into(&out)
		return &out, err
	case apierrors.IsNotFound(err) && state.ResourceVersion != "" && mayCreate:
		state.ResourceVersion, state.UID = "", ""
		err = s.client.API.Post().Resource(kube.NodeENIStates).Body(state).Do(ctx).Into(&out)
		return &out, err
	case apierrors.IsNotFound(err) && state.ResourceVersion != "":
		return nil, nil // collected together with its Node
	}
	return nil, err
}

func (s *Source) onState() cache.ResourceEventHandler {
	written := func(any) { s.stateWritten() }
	return cache.ResourceEventHandlerFuncs{AddFunc: written, UpdateFunc: func(_, o any) { written(o) }, DeleteFunc: func(any) { s.stateDeleted() }}
}

// stateDeleted notes that the report is gone, unless the agent has none.
func (s *Source) stateDeleted() {
	s.mu.Lock()
	s.lost = s.lost || s.state != nil
	s.state = nil
	s.mu.Unlock()
	signal(s.changed)
}

// stateCheck is when the report is looked at after it has been written. Another client
// that goes on writing is answered no more often than that.
const stateCheck = 10 * time.Second

// stateWritten notes that the report has been written, by the agent as a rule.
func (s *Source) stateWritten() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.check {
		s.check = true
		time.AfterFunc(stateCheck, s.checkState)
	}
}

// checkState has the report saved again when it says what the agent has not said.
func (s *Source) checkState() {
	o, ok, _ := s.states.GetStore().GetByKey(s.node)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.check = false
	if !ok || s.state == nil {
		return
	}
	if shown := o.(*v1alpha1.NodeENIState); newer(shown, s.state) && !equality.Semantic.DeepEqual(shown.Status, s.state.Status) {
		s.log.Warn("another client has written this node's report; the agent writes it again", "nodeENIState", s.node)
		s.lost = true
		signal(s.changed)
	}
}
