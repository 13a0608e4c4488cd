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

// errWrongPlace is the error of a sweep that has done nothing. Why is said elsewhere.
var errWrongPlace = errors.New("EC2 is asked in the wrong place")

// verifier compares what EC2 shows with the Nodes and the agents' reports: in a wrong
// place everything seems to be gone.
type verifier struct {
	caches  *caches
	ec2     *describer
	found   *contradictions
	report  *reporter
	changed *marks

	here  place
	known bool            // EC2 here has shown an instance of the cluster
	shown map[string]bool // ENIs that reports name and that EC2 has listed as the cluster's
}

// region says whether EC2 may be asked at all: what it shows in another Region is
// none of this cluster's.
func (v *verifier) region() bool {
	v.found.forgetGone(v.caches.nodeENIByUID)
	c := wrongPlace(v.here.Region, v.caches.nodes.list())
	if c != (contradiction{}) || v.found.of(allNodeENIs).Reason == wrongRegion {
		v.setPlace(c)
	}
	return c == (contradiction{})
}

// place returns errWrongPlace unless EC2 knows this cluster's instances: in another
// account, or behind another endpoint, it shows none of them, and everything seems to be
// gone. One that was shown is proof for the life of the process.
func (v *verifier) place(ctx context.Context, seen listing, reported []reportedENI) error {
	v.note(seen, reported)
	switch {
	case v.known:
		v.setPlace(contradiction{})
	case seen.all:
		if err := v.askForInstances(ctx, reported); err != nil {
			return err
		}
	}
	if v.found.of(allNodeENIs) != (contradiction{}) {
		return errWrongPlace
	}
	return nil
}

// note takes in which of the ENIs that reports name EC2 has listed, and whether it knows
// an instance of the cluster.
func (v *verifier) note(seen listing, reported []reportedENI) {
	named := map[string]bool{}
	for _, r := range reported {
		named[r.ENI] = true
	}
	if seen.all {
		maps.DeleteFunc(v.shown, func(id string, _ bool) bool { return !named[id] })
	}
	for _, e := range seen.enis {
		if named[e.ID] {
			v.shown[e.ID] = true
		}
		if a := e.Attachment; a != nil && v.caches.hasInstance(a.InstanceID) {
			v.known, v.here.Account = true, e.Account
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
			v.known, v.here.Account = true, enis[0].Account
		}
	}
	v.setPlace(observation{here: v.here, known: v.known}.ofPlace(reported, instances))
	return nil
}

// reports asks EC2 for the ENIs that reports name and that it does not list: those of
// NodeENIs without ENIs, which wait for their finalizer to go, and of all with a full
// sweep, so that a report makes no calls by itself.
func (v *verifier) reports(ctx context.Context, full bool, empty map[types.UID]bool, reported []reportedENI) error {
	open := slices.DeleteFunc(slices.Clone(reported), func(r reportedENI) bool {
		return v.shown[r.ENI] || !full && !empty[r.NodeENI]
	})
	observed, err := v.observe(ctx, open)
	if err != nil {
		return err
	}
	is := map[types.UID]contradiction{}
	for _, r := range open {
		if is[r.NodeENI] == (contradiction{}) {
			is[r.NodeENI] = observed.contradicts(r, v.ec2.cluster)
		}
	}
	for _, n := range v.caches.nodeENIs.list() {
		if full || empty[n.UID] {
			v.set(n, is[n.UID])
		}
	}
	return nil
}

func (v *verifier) observe(ctx context.Context, reported []reportedENI) (observation, error) {
	o := observation{here: v.here, enis: map[string]eni.ENI{}, instances: map[string]bool{}, known: v.known}
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

// unseen are the NodeENIs with an ENI that a report names and EC2 has never shown.
func (v *verifier) unseen(reported []reportedENI) map[types.UID]bool {
	unseen := map[types.UID]bool{}
	for _, r := range reported {
		if !v.shown[r.ENI] {
			unseen[r.NodeENI] = true
		}
	}
	return unseen
}

// setPlace says that nothing of what EC2 shows counts, or that all of it does again.
func (v *verifier) setPlace(c contradiction) {
	all := v.caches.nodeENIs.list()
	if !v.found.set(allNodeENIs, c) {
		return
	}
	if c == (contradiction{}) {
		v.report.log.Info("EC2 is asked in the right place again")
	} else {
		v.report.log.Error("EC2 is asked in the wrong place", "reason", c.Reason, "error", c.Message)
	}
	v.show(c, all...)
}

func (v *verifier) set(n *v1alpha1.NodeENI, c contradiction) {
	if !v.found.set(n.UID, c) {
		return
	}
	if c != (contradiction{}) {
		v.report.log.Warn("EC2 and the reports contradict each other", "nodeENI", n.Name, "reason", c.Reason, "error", c.Message)
	}
	v.show(c, n)
}

func (v *verifier) show(c contradiction, nodeENIs ...*v1alpha1.NodeENI) {
	for _, n := range nodeENIs {
		v.changed.add(n.Name)
		v.report.contradicted(n, c)
	}
}

// repeat says again what blocks NodeENIs that are being deleted: an API server keeps an
// Event for an hour, and the deletion may have come after the contradiction.
func (v *verifier) repeat(deleting []*v1alpha1.NodeENI) {
	for _, n := range deleting {
		v.report.contradicted(n, v.found.of(n.UID))
	}
}
