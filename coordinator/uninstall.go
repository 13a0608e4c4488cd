package coordinator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// Uninstall deletes all NodeENIs and waits until they and their ENIs are gone. A coordinator
// that leads does the work; this has no rights in EC2.
type Uninstall struct {
	Kube   *kube.Client
	Leases coordinationv1.LeasesGetter
	// Namespace is where the coordinators' Lease is.
	Namespace string
	// Out gets messages about the progress.
	Out io.Writer
	// Poll is the time between two tries, Explain the time between two messages about
	// what is missing when nothing changes.
	Poll, Explain time.Duration
}

// progress is that of an uninstall.
type progress struct {
	began, explained time.Time
	listed           bool // the last try has listed the NodeENIs that are left
	left             []v1alpha1.NodeENI
	names            map[string]bool    // of those, in the last message
	confirmed        map[types.UID]bool // NodeENIs with the finalizer: they go when EC2 shows no ENI
	leading          time.Time          // since when a coordinator has led without a break
	reported         []string           // ENIs in reports whose deletion no coordinator has confirmed
	problem          string             // in the last message
}

// Run returns nil only when no NodeENI is left, and agents report no ENI of one that went
// without a coordinator. It tries again while the API server cannot be reached, or does not
// know the rights yet that this needs.
func (u *Uninstall) Run(ctx context.Context) error {
	p := &progress{began: time.Now(), explained: time.Now(), confirmed: map[types.UID]bool{}}
	for {
		err := u.advance(ctx, p)
		if ctx.Err() != nil {
			return p.unfinished(ctx)
		}
		if p.problem = u.sayProblem(err, p.problem); u.sayChanges(p) {
			p.explained = time.Now()
		}
		if err == nil && len(p.left)+len(p.reported) == 0 {
			u.say("Done: no NodeENIs exist, so no ENIs exist either.")
			return nil
		}
		if time.Since(p.explained) >= u.Explain {
			p.explained = time.Now()
			u.explain(ctx, p)
		}
		select {
		case <-ctx.Done():
		case <-time.After(u.Poll):
		}
	}
}

// advance deletes the NodeENIs that are not being deleted yet, and checks what is left.
func (u *Uninstall) advance(ctx context.Context, p *progress) (err error) {
	p.left, err = u.list(ctx)
	if p.listed = err == nil; !p.listed {
		return err
	}
	if err = u.removeAll(ctx, p); err != nil || len(p.left) > 0 {
		return err
	}
	switch why, unknown := noLeader(ctx, u.Leases, u.Namespace); {
	case why != "", unknown != nil:
		p.leading = time.Time{}
	case p.leading.IsZero():
		p.leading = time.Now()
	}
	reported, err := unconfirmed(ctx, u.Kube, p.confirmed, p.leading)
	if err == nil { // or the last look still tells what there is to do
		p.reported = reported
	}
	return err
}

func (u *Uninstall) list(ctx context.Context) ([]v1alpha1.NodeENI, error) {
	var all v1alpha1.NodeENIList
	err := u.Kube.API.Get().Resource(kube.NodeENIs).Timeout(apiTimeout).Do(ctx).Into(&all)
	if apierrors.IsNotFound(err) { // the CRD may be gone
		return nil, notServed(ctx, u.Kube, kube.NodeENIs)
	}
	if err != nil {
		return nil, fmt.Errorf("list NodeENIs: %w", err)
	}
	return all.Items, nil
}

// removeAll deletes the NodeENIs that are not being deleted yet. It notes which of them have
// the finalizer.
func (u *Uninstall) removeAll(ctx context.Context, p *progress) error {
	var errs []error
	for _, n := range p.left {
		if hasFinalizer(&n) {
			p.confirmed[n.UID] = true
		}
		if n.DeletionTimestamp != nil {
			continue
		}
		if err := u.remove(ctx, n); err != nil {
			errs = append(errs, fmt.Errorf("delete NodeENI %s: %w", n.Name, err))
			continue
		}
		p.confirmed[n.UID] = true
	}
	return errors.Join(errs...)
}

// remove deletes a NodeENI. It adds the finalizer first, so that the NodeENI waits for its
// ENIs even if no coordinator has seen it yet.
func (u *Uninstall) remove(ctx context.Context, n v1alpha1.NodeENI) error {
	if _, err := setFinalizer(ctx, u.Kube, n.Name, n.UID, true); err != nil {
		return err
	}
	err := u.Kube.API.Delete().Resource(kube.NodeENIs).Name(n.Name).
		Body(&metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(n.UID))}).
		Timeout(apiTimeout).Do(ctx).Error()
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil // it is gone, or another one has its name: the next try finds out
	}
	return err
}

// sayProblem says what the problem is, unless it is the last one, and returns its text.
func (u *Uninstall) sayProblem(err error, last string) string {
	if err == nil {
		return ""
	}
	if problem := err.Error(); problem != last {
		u.say("Retrying: %s", problem)
	}
	return err.Error()
}

// sayChanges says which NodeENIs have come and gone, and returns whether any has.
func (u *Uninstall) sayChanges(p *progress) bool {
	if !p.listed {
		return false
	}
	before := p.names
	p.names = map[string]bool{}
	for _, n := range p.left {
		p.names[n.Name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(p.names)) {
		if !before[name] {
			u.say("Deleting NodeENI %s.", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if !p.names[name] {
			u.say("NodeENI %s and its ENIs are deleted.", name)
		}
	}
	return !maps.Equal(before, p.names)
}

// explain says what the uninstall waits for, as far as the API server shows it.
func (u *Uninstall) explain(ctx context.Context, p *progress) {
	since := time.Since(p.began).Round(time.Second)
	if len(p.left) == 0 && len(p.reported) > 0 {
		u.say("After %v, all NodeENIs are deleted, but agents report ENIs whose deletion no coordinator has confirmed: %s", since, sample(p.reported))
	}
	if len(p.left) > 0 {
		u.say("After %v, %d NodeENIs still exist:", since, len(p.left))
	}
	for _, n := range p.left[:min(len(p.left), maxNamed)] {
		why := waitsFor(n)
		u.say("- %s", why)
		if event := lastWarning(ctx, u.Kube, n); event != nil && !strings.Contains(why, event.Message) {
			u.say("  %s: %s", event.Reason, event.Message)
		}
	}
	if len(p.left) > maxNamed {
		u.say("- and %d more", len(p.left)-maxNamed)
	}
	switch why, err := noLeader(ctx, u.Leases, u.Namespace); {
	case err != nil:
		u.say("Cannot check whether a coordinator is running: %v", err)
	case why != "":
		u.say("No coordinator is the leader: %s. Check that the coordinator is running: kubectl -n %s get pods", why, u.Namespace)
	}
}

func (u *Uninstall) say(format string, args ...any) {
	fmt.Fprintln(u.Out, v1alpha1.Printable(fmt.Sprintf(format, args...))) // it may quote agents
}

// unfinished is the error of an uninstall that was interrupted, or ran out of time.
func (p *progress) unfinished(ctx context.Context) error {
	what := "timed out"
	if errors.Is(ctx.Err(), context.Canceled) {
		what = "interrupted"
	}
	switch {
	case p.problem != "":
		return fmt.Errorf("%s: %s", what, p.problem)
	case len(p.names) == 0 && len(p.reported) > 0:
		return fmt.Errorf("%s: all NodeENIs are deleted, but agents report ENIs whose deletion no coordinator has confirmed: %s. "+
			"Start the coordinator and the agents, which delete the ENIs, and run this command again; or delete the ENIs in EC2 and then the reports of the nodes: kubectl delete nodeenistate NODE", what, sample(p.reported))
	}
	return fmt.Errorf("%s: %d NodeENIs are still being deleted (%s), which continues while a coordinator is running; "+
		"fix the problems shown above, and run this command again", what, len(p.names), sample(slices.Sorted(maps.Keys(p.names))))
}
