package coordinator

import (
	"context"
	"errors"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// errWrongLocation is the error of a sweep that has done nothing. The verifier has logged why.
var errWrongLocation = errors.New("the coordinator uses EC2 in the wrong Region or account")

// verifier compares what EC2 shows with the Nodes and the agents' reports: in the wrong
// Region or account all ENIs seem to be gone.
type verifier struct {
	caches         *caches
	ec2            *describer
	contradictions *contradictions
	recorder       *recorder
	statuses       *statusQueue

	here         location
	asked        bool            // EC2 here has been asked for the cluster's instances
	instanceSeen bool            // and has shown one
	listed       map[string]bool // ENIs in reports that EC2 has listed as the cluster's
}

// region says whether EC2 may be asked at all. What it shows in another Region is not this
// cluster's.
func (v *verifier) region() bool {
	v.contradictions.forgetGone(v.caches.nodeENIByUID)
	c := regionMismatch(v.here.Region, v.caches.nodes.list())
	if c != (contradiction{}) || v.contradictions.of(allNodeENIs).Reason == wrongRegion {
		v.setLocation(c)
	}
	return c == (contradiction{})
}

// account returns errWrongLocation unless EC2 shows one of the cluster's instances: in
// another account, or behind another endpoint, it shows none of them. One that was shown is
// proof for the life of the process. Until then every full sweep asks again.
func (v *verifier) account(ctx context.Context, seen listing, reported []reportedENI) error {
	v.note(seen, reported)
	switch {
	case v.instanceSeen:
		v.setLocation(contradiction{})
	case seen.all, !v.asked:
		if err := v.askForInstances(ctx, reported); err != nil {
			return err
		}
	}
	if v.contradictions.of(allNodeENIs) != (contradiction{}) {
		return errWrongLocation
	}
	return nil
}

// note notes which ENIs in reports EC2 has listed, and whether it has shown an instance of
// the cluster.
func (v *verifier) note(seen listing, reported []reportedENI) {
	named := map[string]bool{}
	for _, r := range reported {
		named[r.ENI] = true
	}
	if seen.all {
		maps.DeleteFunc(v.listed, func(id string, _ bool) bool { return !named[id] })
	}
	for _, e := range seen.enis {
		if named[e.ID] {
			v.listed[e.ID] = true
		}
		if a := e.Attachment; a != nil && v.caches.hasInstance(a.InstanceID) {
			v.instanceSeen, v.here.Account = true, e.Account
		}
	}
}

func (v *verifier) askForInstances(ctx context.Context, reported []reportedENI) error {
	instances := v.caches.instances(reported, eni.SelectorLimit)
	if len(instances) > 0 {
		enis, err := v.ec2.describeAny(ctx, eni.ByInstance, instances)
		if err != nil {
			return err
		}
		if len(enis) > 0 {
			v.instanceSeen, v.here.Account = true, enis[0].Account
		}
	}
	v.asked = true
	v.setLocation(observation{here: v.here, instanceSeen: v.instanceSeen}.ofLocation(reported, instances))
	return nil
}

// reports asks EC2 for the ENIs in reports that it does not list: for those of NodeENIs that
// seem to have no ENI left, which wait for that, and with a full sweep for all, so that no
// report makes calls by itself.
func (v *verifier) reports(ctx context.Context, full bool, empty map[types.UID]bool, reported []reportedENI) error {
	missing := slices.DeleteFunc(slices.Clone(reported), func(r reportedENI) bool {
		return v.listed[r.ENI] || !full && !empty[r.NodeENI]
	})
	observed, err := v.observe(ctx, missing)
	if err != nil {
		return err
	}
	found := map[types.UID]contradiction{}
	for _, r := range missing {
		if found[r.NodeENI] == (contradiction{}) {
			found[r.NodeENI] = observed.contradicts(r, v.ec2.cluster)
		}
	}
	for _, n := range v.caches.nodeENIs.list() {
		if full || empty[n.UID] {
			v.set(n, found[n.UID])
		}
	}
	return nil
}

func (v *verifier) observe(ctx context.Context, reported []reportedENI) (observation, error) {
	o := observation{here: v.here, enis: map[string]eni.ENI{}, instances: map[string]bool{}, instanceSeen: v.instanceSeen}
	ids, instances := map[string]bool{}, map[string]bool{}
	for _, r := range reported {
		ids[r.ENI], instances[r.Instance] = true, true
	}
	enis, err := v.ec2.describeAny(ctx, eni.ByID, slices.Sorted(maps.Keys(ids)))
	if err != nil {
		return o, err
	}
	for _, e := range enis {
		o.enis[e.ID] = e
	}
	if enis, err = v.ec2.describeAny(ctx, eni.ByInstance, slices.Sorted(maps.Keys(instances))); err != nil {
		return o, err
	}
	for _, e := range enis {
		o.instances[e.Attachment.InstanceID] = true
	}
	return o, nil
}

// unseen are the NodeENIs with an ENI in a report that EC2 has never shown.
func (v *verifier) unseen(reported []reportedENI) map[types.UID]bool {
	unseen := map[types.UID]bool{}
	for _, r := range reported {
		if !v.listed[r.ENI] {
			unseen[r.NodeENI] = true
		}
	}
	return unseen
}

// setLocation notes that nothing that EC2 shows counts, or that all of it counts again.
func (v *verifier) setLocation(c contradiction) {
	all := v.caches.nodeENIs.list()
	if !v.contradictions.set(allNodeENIs, c) {
		return
	}
	if c == (contradiction{}) {
		v.recorder.log.Info("the coordinator uses EC2 in the right Region and account again")
	} else {
		v.recorder.log.Error("the coordinator uses EC2 in the wrong Region or account; nothing is detached or deleted", "reason", c.Reason, "error", c.Message)
	}
	v.show(c, all...)
}

func (v *verifier) set(n *v1alpha1.NodeENI, c contradiction) {
	if !v.contradictions.set(n.UID, c) {
		return
	}
	if c != (contradiction{}) {
		v.recorder.log.Warn("EC2 and the NodeENIStates contradict each other", "nodeENI", n.Name, "reason", c.Reason, "error", c.Message)
	}
	v.show(c, n)
}

func (v *verifier) show(c contradiction, nodeENIs ...*v1alpha1.NodeENI) {
	for _, n := range nodeENIs {
		v.statuses.add(n.Name)
		v.recorder.contradicted(n, c)
	}
}

// repeat writes the Events again for NodeENIs that are being deleted: the API server keeps
// an Event for an hour, and the deletion may have come after the contradiction.
func (v *verifier) repeat(deleting []*v1alpha1.NodeENI) {
	for _, n := range deleting {
		v.recorder.contradicted(n, v.contradictions.of(n.UID))
	}
}
