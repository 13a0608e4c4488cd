package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/agent/inventory"
	"github.com/aws-multi-eni/aws-multi-eni/agent/retry"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/claimnetwork"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

const (
	// republishEvery is how often the ResourceSlices are compared when nothing happens,
	// because other clients may have changed them.
	republishEvery = 10 * time.Minute
	// watchLag is how long the agent believes what it has written to a claim rather than
	// what the watch shows.
	watchLag = 5 * time.Second
	// reasonOnDemandDisabled: this agent runs without --on-demand.
	reasonOnDemandDisabled = "OnDemandDisabled"
	// reasonOnDemandUnavailable: the cluster cannot serve ENIs on demand.
	reasonOnDemandUnavailable = "OnDemandUnavailable"
)

// slicesKey is the key of writes of ResourceSlices, among the calls and their failures.
var slicesKey = retry.Key{Action: "slices"}

// claimAction is the action of the keys of writes to claims.
const claimAction = "claim"

// key is the key of writes to the claim about its device.
func (c Claim) key() retry.Key {
	return retry.Key{Action: claimAction, Of: string(c.UID), Name: c.Device}
}

// onDemand keeps which places are in use, and writes what follows from that: ResourceSlices,
// the status of claims, and the files for eni-dra. Claims become ENIs like all others: by
// wants.
type onDemand struct {
	*shared
	now      time.Time // of the reconcile
	places   places
	followed []types.NamespacedName

	pool        Pool      // as it is to be
	published   Pool      // as it was last written
	publishedAt time.Time // zero before that
	written     map[retry.Key]deviceWrite
	files       claimFiles
	pods        *pods // which knows the CIDRs of the VPC
}

// deviceWrite is what was last written to a claim, and when.
type deviceWrite struct {
	status kube.AllocatedDevice
	at     time.Time
}

func newOnDemand(s *shared, pods *pods) *onDemand {
	return &onDemand{
		shared: s, places: places{}, written: map[retry.Key]deviceWrite{}, files: claimFiles{shared: s, texts: map[types.UID]string{}}, pods: pods,
	}
}

// resolveClaims adds the wants of claims, and of ENIs that wait for the next claim.
func (a *Agent) resolveClaims() {
	if a.OnDemand == nil {
		a.desired.refuseOnDemand()
		return
	}
	o, s := a.onDemand, a.selection.snapshot
	o.places = o.places.next(observed{
		templates: a.desired.onDemand, claims: valid(s.Claims), known: s.ClaimsKnown, enis: a.inventory.All(), asked: a.mayHaveAsked, now: o.now,
	})
	for i := range a.desired.wants { // those that are kept as they were
		w := &a.desired.wants[i]
		w.claim = o.places[w.Slot].claim
	}
	a.desired.problems = append(a.desired.problems, o.problems(&a.desired, s.Claims)...)
	room := a.view(o.now).roomOnDemand(nil)
	a.desired.wants = append(a.desired.wants, o.places.wants(&a.desired, demand{idle: a.OnDemand.Idle, room: room, known: s.ClaimsKnown, now: o.now})...)
}

// valid are the claims with valid parameters. The others get no ENI, because no pod could use
// it.
func valid(claims []Claim) (all []Claim) {
	for _, c := range claims {
		if _, err := claimnetwork.ParseParameters(c.Parameters); err == nil {
			all = append(all, c)
		}
	}
	return all
}

// problems say why the cluster cannot serve ENIs on demand, for each NodeENI that is affected
// and has no other problem: if it is the ResourceSlices, all are.
func (o *onDemand) problems(d *desired, claims []Claim) (all []problem) {
	reported := map[types.UID]bool{}
	for _, p := range d.problems {
		reported[p.uid] = true
	}
	for _, t := range d.onDemand {
		err := o.unavailable(slicesKey)
		for _, c := range claims {
			if slot, known := placeOf(d.onDemand, c.Device); known && slot.UID == t.UID {
				err = cmp.Or(err, o.unavailable(c.key()))
			}
		}
		if err != nil && !reported[t.UID] {
			all = append(all, problem{t.UID, t.nodeENI, t.generation, reasonOnDemandUnavailable, err.Error()})
			reported[t.UID] = true
		}
	}
	return all
}

// unavailable is the error of what has failed repeatedly and only a person can end. Once
// alone may mean that the claim has just been allocated to another node.
func (o *onDemand) unavailable(key retry.Key) error {
	var unavailable *UnavailableError
	if f, _ := o.failures.Get(key); f.Attempts > 1 && errors.As(f.Err, &unavailable) {
		return unavailable
	}
	return nil
}

// refuseOnDemand is for agents without --on-demand: NodeENIs with attach: OnDemand keep the
// ENIs that they have, and report a problem.
func (d *desired) refuseOnDemand() {
	for _, t := range d.onDemand {
		if d.unresolved[t.UID] {
			continue
		}
		d.unresolved[t.UID] = true
		d.problems = append(d.problems, problem{t.UID, t.nodeENI, t.generation, reasonOnDemandDisabled,
			"the NodeENI has attach: OnDemand, but this agent does not offer ENIs on demand; set onDemand.enabled in the Helm chart, or start the agent with --on-demand"})
	}
}

// mayHaveAsked says whether EC2 may be creating the ENI of a place: a call is under way, or
// its answer was lost.
func (a *Agent) mayHaveAsked(s inventory.Slot) bool {
	return a.calls.creating()[s] || a.onDemand.now.Sub(a.intents[s].unanswered) < inventory.ConsistencyWindow
}

// restore starts from the last report.
func (o *onDemand) restore(last v1alpha1.NodeENIStateStatus, now time.Time) {
	if o.OnDemand != nil {
		o.places = placesIn(last, now)
		o.files.restore()
		o.follow()
	}
}

// follow has the claims watched that are in use, also after their pods have gone.
func (o *onDemand) follow() {
	var claims []types.NamespacedName
	for _, use := range o.places {
		if use.claim != nil {
			claims = append(claims, types.NamespacedName{Namespace: use.claim.Namespace, Name: use.claim.Name})
		}
	}
	slices.SortFunc(claims, func(a, b types.NamespacedName) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	if !slices.Equal(claims, o.followed) {
		o.followed = claims
		o.OnDemand.Claims.Follow(claims)
	}
}

// publish writes the ResourceSlices, the files for eni-dra, and the status of claims. Nothing
// is written before EC2 has shown the ENIs of this instance.
func (o *onDemand) publish(ctx context.Context, of offering, s Snapshot, now time.Time) {
	if o.OnDemand == nil || !of.view.synced {
		return
	}
	o.follow()
	o.publishSlices(ctx, of, s, now)
	var networks []claimnetwork.Claim
	if len(s.Claims) > 0 && o.pods.knowVPC(ctx, now) {
		networks = claimNetworks(s.Claims, of, o.pods.vpc)
	}
	o.files.save(networks, s.ClaimsKnown && (len(s.Claims) == 0 || len(networks) > 0), now)
	states, attached := map[string]int{}, attachments(nil)
	if len(s.Claims) > 0 {
		attached = o.files.attachments()
	}
	for _, c := range s.Claims {
		i := slices.IndexFunc(networks, func(n claimnetwork.Claim) bool { return n.UID == string(c.UID) })
		states[o.report(ctx, c, of, attached, i >= 0 && o.files.has(networks[i]), now)]++
	}
	o.Metrics.claimed(states)
	o.Metrics.idleENIs.Set(float64(idle(of.entries)))
	maps.DeleteFunc(o.written, func(key retry.Key, _ deviceWrite) bool {
		return !slices.ContainsFunc(s.Claims, func(c Claim) bool { return c.key() == key })
	})
}

// idle is how many attached ENIs on demand no claim has.
func idle(entries []v1alpha1.ENIState) (n int) {
	for _, e := range entries {
		if e.Place != nil && e.Claim == nil && e.Phase == v1alpha1.PhaseReady {
			n++
		}
	}
	return n
}

// publishSlices writes the ResourceSlices, unless they are written already. Nothing is
// written while subnets, security groups, and the instance type are being looked up; after
// that has failed, the devices that depend on it stay as they were published.
func (o *onDemand) publishSlices(ctx context.Context, of offering, s Snapshot, now time.Time) {
	d := of.view.desired
	resolving := slices.ContainsFunc(d.problems, func(p problem) bool { return p.reason == reasonResolving })
	if resolving && o.failures.Err(lookUpKeys...) == nil || len(d.onDemand) > 0 && len(of.view.indexes.Max) == 0 {
		return
	}
	o.pool = Pool{slicesOf(of), d.unknownDevices(s.NodeENIs)}
	if o.calls.busy(slicesKey) || o.failures.Blocks(slicesKey, now) || o.slicesPublished() && !s.SlicesLost && now.Sub(o.publishedAt) < republishEvery {
		return
	}
	write := o.pool
	o.calls.start(ctx, apiTimeout, slicesKey, call{}, func(ctx context.Context) func() {
		err := o.OnDemand.Claims.Publish(ctx, write)
		return func() {
			o.Metrics.wroteSlices(err)
			if err == nil {
				o.published, o.publishedAt = write, time.Now()
				o.failures.Reset(slicesKey)
			} else if _, repeated := o.failures.Failed(slicesKey, err, time.Now()); !repeated {
				o.Log.Warn("cannot write the ResourceSlices of this node; retrying", "error", err)
			}
		}
	})
}

// unknownDevices are the NodeENIs with attach: OnDemand, by their device attribute, that have
// not been resolved since the agent started.
func (d *desired) unknownDevices(nodeENIs []v1alpha1.NodeENI) (unknown []string) {
	for _, n := range nodeENIs {
		known := slices.ContainsFunc(d.onDemand, func(t want) bool { return t.UID == n.UID })
		if n.Spec.Attach == v1alpha1.AttachOnDemand && d.unresolved[n.UID] && !known {
			unknown = append(unknown, v1alpha1.DeviceNodeENI(n.Name))
		}
	}
	return unknown
}

func (o *onDemand) slicesPublished() bool {
	return !o.publishedAt.IsZero() && equality.Semantic.DeepEqual(o.pool, o.published)
}

// report writes how far a claim's device is to the status of the claim, and returns the
// state. told says whether the file for eni-dra has it too.
func (o *onDemand) report(ctx context.Context, c Claim, of offering, attached attachments, told bool, now time.Time) (state string) {
	before := c.Status
	if w, ok := o.written[c.key()]; ok && now.Sub(w.at) < watchLag {
		before = &w.status
	}
	status := deviceStatus(c, o.Node, o.progress(c, of, attached), before, now)
	same := before == nil && len(status.Conditions) == 0 || before != nil && equality.Semantic.DeepEqual(*before, status)
	if same {
		return stateOf(status)
	}
	switch {
	case o.calls.busy(c.key()), o.failures.Blocks(c.key(), now):
	case isAttached(status) && !told: // what the pod needs is not on the node yet
	case hasFailed(status) && !o.slicesPublished(): // or the scheduler would take the device again at once
	default:
		o.calls.start(ctx, apiTimeout, c.key(), call{}, func(ctx context.Context) func() {
			err := o.OnDemand.Claims.Report(ctx, c, status)
			return func() { o.reported(c, status, err, time.Now()) }
		})
	}
	return stateWaiting
}

func (o *onDemand) reported(c Claim, status kube.AllocatedDevice, err error, now time.Time) {
	o.Metrics.wroteClaim(err)
	if err == nil {
		o.written[c.key()] = deviceWrite{status, now}
		o.failures.Reset(c.key())
		o.Log.Info("reported the device of a ResourceClaim", "claim", c.Namespace+"/"+c.Name, "device", c.Device, "attached", isAttached(status), "failed", hasFailed(status))
		return
	}
	if _, repeated := o.failures.Failed(c.key(), err, now); !repeated {
		o.Log.Warn("cannot write the status of a ResourceClaim; retrying", "claim", c.Namespace+"/"+c.Name, "error", err)
	}
}

// progress is how far the ENI of a claim's device is.
func (o *onDemand) progress(c Claim, of offering, attached attachments) (p progress) {
	if _, err := claimnetwork.ParseParameters(c.Parameters); err != nil {
		p.entry.Phase, p.entry.Reason, p.entry.Message = v1alpha1.PhaseFailed, "InvalidParameters", err.Error()
		return p
	}
	slot, known := placeOf(of.view.desired.onDemand, c.Device)
	switch use := o.places[slot]; {
	case !known && of.view.desired.complete():
		p.entry.Phase, p.entry.Reason = v1alpha1.PhaseFailed, reasonDeviceGone
		p.entry.Message = "this node no longer has the device, because its NodeENI was deleted or no longer selects the node"
		return p
	case !known, use.claim == nil, use.claim.UID != c.UID:
		return p
	}
	p.entry = entryOf(of.entries, want{Slot: slot})
	if p.entry.Phase == "" { // its NodeENI is not as it should be
		for _, problem := range of.view.desired.problems {
			if problem.uid == slot.UID && problem.reason != reasonResolving {
				p.entry.Phase, p.entry.Reason, p.entry.Message = v1alpha1.PhaseFailed, problem.reason, problem.message
			}
		}
	}
	if pod := attached.lacks(c, p.entry.ENIID); pod != "" && p.entry.Phase == v1alpha1.PhaseReady {
		p.entry.Phase, p.entry.Reason = v1alpha1.PhaseConfiguring, reasonLinkMissing
		p.entry.Message = fmt.Sprintf("pod %s has lost the link of the ENI, which is attached again; eni-dra moves the link into the pod", pod)
	}
	p.link = attached.holder(p.entry.ENIID).link
	p.awaitsRoom = eni.IsAttachmentLimit(refusalIn(p.entry)) && slices.ContainsFunc(of.view.enis, func(e inventory.ENI) bool { return of.view.leaving(e, of.plan.release) })
	return p
}

// times are when something is due without an event.
func (o *onDemand) times() (times []time.Time) {
	if o.OnDemand == nil {
		return nil
	}
	times = o.places.times(o.OnDemand.Idle)
	for _, w := range o.written {
		times = append(times, w.at.Add(watchLag))
	}
	return append(times, o.publishedAt.Add(republishEvery))
}
