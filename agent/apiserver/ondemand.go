package apiserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/flowcontrol"

	"github.com/aws-multi-eni/aws-multi-eni/agent"
	"github.com/aws-multi-eni/aws-multi-eni/agent/retry"
	"github.com/aws-multi-eni/aws-multi-eni/internal/driver"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// onDemand is the agent.Claims of a Source. Agents never watch all claims of the cluster:
// each watches the pods that are bound or nominated to its node, and by name each claim
// that these use, that it follows, or that is allocated here.
type onDemand struct {
	client  *kube.Client
	log     *slog.Logger
	reach   *kube.Reach
	node    *node
	changed chan struct{} // of the Source
	pods    []cache.SharedIndexInformer
	slices  resourceSlices
	limiter flowcontrol.RateLimiter // of reports

	mu      sync.Mutex
	ctx     context.Context // of Run; nil before
	problem error           // why there are none
	// podsHandled say whether the claims are watched that the first pods of the list name.
	podsHandled []cache.InformerSynced
	followed    map[types.NamespacedName]bool
	claims      map[types.NamespacedName]*watchedClaim
}

// A node whose ENIs do not come to rest must not become the API server's trouble. Each
// ENI that a pod asks for comes to two or three writes.
const (
	claimWritesPerSecond = 5
	claimWritesAtOnce    = 3 * 15
)

// OnDemand has the Source serve ENIs on demand. It is called before Run, if at all.
func (s *Source) OnDemand() agent.Claims {
	o := &onDemand{
		client: s.client, log: s.report.log, reach: s.reach, node: &s.node, changed: s.changed,
		limiter:  flowcontrol.NewTokenBucketRateLimiter(claimWritesPerSecond, claimWritesAtOnce),
		followed: map[types.NamespacedName]bool{}, claims: map[types.NamespacedName]*watchedClaim{},
	}
	for what, field := range map[string]string{"the Pods bound to the node": "spec.nodeName", "the Pods nominated to the node": "status.nominatedNodeName"} {
		selected := fields.OneTermEqualSelector(field, s.node.name)
		lw := cache.NewListWatchFromClient(s.client.Core, kube.Pods, metav1.NamespaceAll, selected)
		o.pods = append(o.pods, slimInformer(s.reach.Of(what, lw), &kube.Pod{}, slimPod))
	}
	o.slices = newResourceSlices(s.client, s.reach, s.node.name, s.changed)
	s.onDemand = o
	return o
}

// servedRetry is the time after which an API server that does not serve claims is asked
// again: the control plane may have been upgraded.
const servedRetry = 5 * time.Minute

// run keeps up with the API server until ctx ends. Nothing else waits for it.
func (o *onDemand) run(ctx context.Context) {
	for !o.served(ctx) {
		select {
		case <-ctx.Done():
			return
		case <-time.After(servedRetry):
		}
	}
	var named []cache.InformerSynced
	for _, pods := range o.pods {
		update := func(any) { o.update() }
		handled, err := pods.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: update, UpdateFunc: func(_, p any) { update(p) }, DeleteFunc: update})
		if err != nil {
			panic(err) // a programming error: the informer has been stopped
		}
		named = append(named, handled.HasSynced)
	}
	o.mu.Lock()
	o.ctx, o.podsHandled = ctx, named
	o.watchClaims()
	o.mu.Unlock()
	for _, pods := range o.pods {
		go pods.RunWithContext(ctx)
	}
	o.slices.run(ctx)
	cache.WaitForCacheSync(ctx.Done(), named...)
	signal(o.changed)
}

// errNotServed is what users of older clusters read.
var errNotServed = errors.New("ENIs on demand need Kubernetes 1.36 or later: the API server does not serve resource.k8s.io/v1; upgrade the cluster, or remove --on-demand and use attach: Always")

// served asks the API server whether it has claims, until it answers.
func (o *onDemand) served(ctx context.Context) bool {
	served, err := o.client.ServesIn(ctx, kube.ResourceGroupVersion, kube.ResourceClaims)
	for ; err != nil && ctx.Err() == nil; served, err = o.client.ServesIn(ctx, kube.ResourceGroupVersion, kube.ResourceClaims) {
		o.log.Warn("cannot find out whether the API server serves ResourceClaims; retrying", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(fetchRetry):
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if served {
		o.problem = nil
	} else if err == nil && o.problem == nil {
		o.problem = errNotServed
		o.log.Error("cannot serve ENIs on demand", "error", o.problem)
	}
	return served
}

// Follow implements agent.Claims. The claims replace those of the call before.
func (o *onDemand) Follow(claims []types.NamespacedName) {
	o.mu.Lock()
	defer o.mu.Unlock()
	clear(o.followed)
	for _, c := range claims {
		o.followed[c] = true
	}
	o.watchClaims()
}

func (o *onDemand) update() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.watchClaims()
}

// watchClaims watches the claims that concern this node, and no others; o.mu is held.
func (o *onDemand) watchClaims() {
	named := o.named()
	for name := range o.followed {
		named[name] = true
	}
	for name, claim := range o.claims {
		mayBecomeOurs, isNamed := named[name]
		switch {
		case !isNamed && !claim.here(o.node.name), claim.stopped && mayBecomeOurs:
			claim.stop()
			delete(o.claims, name)
		case !mayBecomeOurs && claim.elsewhere(o.node.name):
			claim.stop()
		}
	}
	for name := range named {
		if o.claims[name] == nil && o.ctx != nil {
			o.claims[name] = o.watch(name)
		}
	}
}

// named are the claims that pods of this node name, and of each whether it may still be
// allocated to a device of this node: one of a bound pod is what it is.
func (o *onDemand) named() map[types.NamespacedName]bool {
	named := map[types.NamespacedName]bool{}
	for _, informer := range o.pods {
		for _, object := range informer.GetStore().List() {
			pod := object.(*kube.Pod)
			for _, name := range pod.ClaimNames() {
				key := types.NamespacedName{Namespace: pod.Namespace, Name: name}
				named[key] = named[key] || pod.Spec.NodeName == ""
			}
		}
	}
	return named
}

// snapshot are the claims that are allocated to devices of this node, and whether that is
// all of them.
func (o *onDemand) snapshot() (claims []agent.Claim, known bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	known = o.ctx != nil
	for _, handled := range o.podsHandled {
		known = known && handled()
	}
	for _, claim := range o.claims {
		known = known && claim.known
		claims = append(claims, allocatedHere(claim.object, o.node.name)...)
	}
	slices.SortFunc(claims, func(a, b agent.Claim) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Device, b.Device))
	})
	return claims, known
}

// ready fails where there are no claims, and where the rights of ENIs on demand are missing.
func (o *onDemand) ready() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.problem != nil:
		return classify(o.problem)
	case o.ctx == nil:
		return errors.New("the API server has not been asked yet whether it serves ResourceClaims")
	}
	return nil
}

// Publish implements agent.Claims.
func (o *onDemand) Publish(ctx context.Context, pool agent.Pool) error {
	if err := o.ready(); err != nil {
		return err
	}
	return classify(o.slices.publish(ctx, pool, o.node.current()))
}

// Report implements agent.Claims, by server-side apply: each device has a field manager of
// its own, so that the entries of a claim's devices are independent of each other.
func (o *onDemand) Report(ctx context.Context, claim agent.Claim, status kube.AllocatedDevice) error {
	if err := o.ready(); err != nil {
		return err
	}
	if err := o.limiter.Wait(ctx); err != nil {
		return err
	}
	status.Driver, status.Pool, status.Device = driver.Name, o.node.name, claim.Device
	err := o.client.ApplyDeviceStatus(ctx, types.NamespacedName{Namespace: claim.Namespace, Name: claim.Name}, claim.UID, "eni-agent/"+claim.Device, status)
	if err != nil {
		return classify(fmt.Errorf("write the status of ResourceClaim %s/%s: %w", claim.Namespace, claim.Name, err))
	}
	return nil
}

// unavailableBackoff is how soon it is tried again what a person has to make possible.
var unavailableBackoff = retry.Backoff{First: 5 * time.Second, Max: 2 * time.Minute}

// classify marks the errors that only people can end, and adds what to do about missing
// permissions.
func classify(err error) error {
	switch {
	case apierrors.IsForbidden(err):
		err = fmt.Errorf("%w; install the component manifests/on-demand, or set onDemand.enabled in the Helm chart", err)
	case !errors.Is(err, errNotServed) && !errors.Is(err, errNotKept):
		return err
	}
	return retry.With(unavailableBackoff, &agent.UnavailableError{Err: err})
}
