package coordinator

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// doubts keeps what speaks against the conclusion that an ENI does not exist because
// EC2 does not show it. The sweeper finds it, the status writer tells.
type doubts struct {
	here  place
	known bool            // EC2 here has shown an instance of the cluster
	shown map[string]bool // ENIs that reports name and that EC2 has listed as the cluster's

	mu        sync.Mutex
	place     contradiction // of all that EC2 shows
	ofNodeENI map[types.UID]contradiction
}

// of is what is to be told of a NodeENI.
func (d *doubts) of(uid types.UID) contradiction {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.place != (contradiction{}) {
		return d.place
	}
	return d.ofNodeENI[uid]
}

// setPlace and set return whether that is news.
func (d *doubts) setPlace(c contradiction) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	news := d.place != c
	d.place = c
	return news
}

func (d *doubts) set(uid types.UID, c contradiction) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	news := d.ofNodeENI[uid] != c
	if d.ofNodeENI[uid] = c; c == (contradiction{}) {
		delete(d.ofNodeENI, uid)
	}
	return news
}

// forgetGone drops what was told of NodeENIs that are gone: somebody may have taken the
// finalizer off one that was blocked.
func (d *doubts) forgetGone(find func(types.UID) *v1alpha1.NodeENI) {
	d.mu.Lock()
	defer d.mu.Unlock()
	maps.DeleteFunc(d.ofNodeENI, func(uid types.UID, _ contradiction) bool { return find(uid) == nil })
}

// counts are how many of so many NodeENIs each reason concerns.
func (d *doubts) counts(nodeENIs int) map[string]int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := map[string]int{}
	if d.place != (contradiction{}) {
		n[d.place.Reason] = max(nodeENIs, 1)
		return n
	}
	for _, c := range d.ofNodeENI {
		n[c.Reason]++
	}
	return n
}

// condition sets the condition CleanupBlocked, which is there as long as it holds.
func (d *doubts) condition(n *v1alpha1.NodeENI, status *v1alpha1.NodeENIStatus, now time.Time) {
	c := d.of(n.UID)
	if c == (contradiction{}) {
		meta.RemoveStatusCondition(&status.Conditions, v1alpha1.ConditionCleanupBlocked)
		return
	}
	meta.SetStatusCondition(&status.Conditions, metav1.Condition{
		Type: v1alpha1.ConditionCleanupBlocked, Status: metav1.ConditionTrue, Reason: c.Reason, Message: c.Message,
		ObservedGeneration: n.Generation, LastTransitionTime: metav1.NewTime(now),
	})
	if ready := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady); n.DeletionTimestamp != nil && ready != nil {
		ready.Message = c.Message // nothing is detached or deleted, whatever Deleting says
	}
}

// checkRegion says whether EC2 may be asked at all: what it shows in another Region is
// none of this cluster's.
func (s *sweeper) checkRegion() bool {
	c := wrongPlace(s.doubts.here.Region, s.caches.allNodes())
	if c == (contradiction{}) && s.doubts.of("").Reason != wrongRegion {
		return true
	}
	s.tellPlace(c)
	return c == (contradiction{})
}

// checkPlace looks whether EC2 knows this cluster's instances: in another account, or
// behind another endpoint, it shows none of them, and everything seems to be gone. One
// that was shown is proof for the life of the process.
func (s *sweeper) checkPlace(ctx context.Context, seen sight, claims []claim) error {
	d := s.doubts
	named := map[string]bool{}
	for _, c := range claims {
		named[c.ENI] = true
	}
	if seen.all {
		maps.DeleteFunc(d.shown, func(id string, _ bool) bool { return !named[id] })
	}
	for _, e := range seen.enis {
		if !s.ours(e) {
			continue
		}
		if named[e.ID] {
			d.shown[e.ID] = true
		}
		if a := e.Attachment; a != nil && s.caches.hasInstance(a.InstanceID) {
			d.known, d.here.Account = true, e.Account
		}
	}
	if d.known || !seen.all {
		if d.known {
			s.tellPlace(contradiction{})
		}
		return nil
	}
	instances := s.caches.instances(claims, eni.SelectorLimit)
	if len(instances) == 0 {
		s.tellPlace(contradiction{})
		return nil
	}
	enis, err := s.ask(ctx, eni.ByInstance, instances)
	if err != nil {
		return err
	}
	if len(enis) > 0 {
		d.known, d.here.Account = true, enis[0].Account
	}
	s.tellPlace(testimony{here: d.here, known: d.known}.ofPlace(claims, instances))
	return nil
}

// checkClaims holds reports against EC2 that name ENIs which it does not list: those
// of NodeENIs that wait for their finalizer to go, and of all with a full sweep, so
// that a report makes no calls by itself.
func (s *sweeper) checkClaims(ctx context.Context, full bool, waiting map[types.UID]bool, claims []claim) error {
	var open []claim
	for _, c := range claims {
		if !s.doubts.shown[c.ENI] && (full || waiting[c.NodeENI]) {
			open = append(open, c)
		}
	}
	found, err := s.testify(ctx, open)
	if err != nil {
		return err
	}
	verdicts := map[types.UID]contradiction{}
	for _, c := range open {
		if verdicts[c.NodeENI] == (contradiction{}) {
			verdicts[c.NodeENI] = found.dispute(c, s.cluster)
		}
	}
	for _, n := range s.caches.allNodeENIs() {
		if full || waiting[n.UID] {
			s.tell(n, verdicts[n.UID])
		}
	}
	return nil
}

func (s *sweeper) testify(ctx context.Context, claims []claim) (testimony, error) {
	t := testimony{here: s.doubts.here, enis: map[string]eni.ENI{}, instances: map[string]bool{}, known: s.doubts.known}
	ids, instances := map[string]bool{}, map[string]bool{}
	for _, c := range claims {
		ids[c.ENI], instances[c.Instance] = true, true
	}
	enis, err := s.ask(ctx, eni.ByID, slices.Sorted(maps.Keys(ids)))
	if err != nil {
		return t, err
	}
	for _, e := range enis {
		t.enis[e.ID] = e
	}
	if enis, err = s.ask(ctx, eni.ByInstance, slices.Sorted(maps.Keys(instances))); err != nil {
		return t, err
	}
	for _, e := range enis {
		t.instances[e.Attachment.InstanceID] = true
	}
	return t, nil
}

// ask lists ENIs whatever their tags.
func (s *sweeper) ask(ctx context.Context, by eni.Selector, values []string) (all []eni.ENI, err error) {
	ctx, cancel := context.WithTimeout(ctx, narrowTime)
	defer cancel()
	for part := range slices.Chunk(values, eni.SelectorLimit) {
		s.heartbeat.Beat()
		enis, err := s.ec2.Any(ctx, by, part)
		s.describes.spend(1+len(enis)/eni.PageSize, time.Now())
		if err != nil {
			return nil, err
		}
		all = append(all, enis...)
	}
	return all, nil
}

// tellPlace says that nothing of what EC2 shows counts, or that all of it does again.
func (s *sweeper) tellPlace(c contradiction) {
	all := s.caches.allNodeENIs()
	if !s.doubts.setPlace(c) {
		return
	}
	if c == (contradiction{}) {
		s.log.Info("EC2 is asked in the right place again")
	} else {
		s.log.Error("EC2 is asked in the wrong place", "reason", c.Reason, "error", c.Message)
	}
	for _, n := range all {
		s.tellNodeENI(n, c)
	}
}

func (s *sweeper) tell(n *v1alpha1.NodeENI, c contradiction) {
	if !s.doubts.set(n.UID, c) {
		return
	}
	if c != (contradiction{}) {
		s.log.Warn("EC2 and the reports contradict each other", "nodeENI", n.Name, "reason", c.Reason, "error", c.Message)
	}
	s.tellNodeENI(n, c)
}

// tellBlocked says of the NodeENIs that are being deleted what blocks them, again and
// again: an API server keeps an Event for an hour, and the deletion may have come after
// the contradiction.
func (s *sweeper) tellBlocked(deleting []*v1alpha1.NodeENI) {
	for _, n := range deleting {
		if c := s.doubts.of(n.UID); c != (contradiction{}) {
			s.events.Event(refOf(n), kube.EventWarning, c.Reason, "%s", c.Message)
		}
	}
}

func (s *sweeper) tellNodeENI(n *v1alpha1.NodeENI, c contradiction) {
	s.mark(n.Name)
	if c != (contradiction{}) {
		s.events.Event(refOf(n), kube.EventWarning, c.Reason, "%s", c.Message)
	}
}
