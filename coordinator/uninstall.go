package coordinator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// Uninstall deletes all NodeENIs and waits until they are gone, and their ENIs
// with them. The coordinator does the work meanwhile; this has no rights in EC2.
type Uninstall struct {
	Kube   *kube.Client
	Leases coordinationv1.LeasesGetter
	// Namespace is where the coordinators' Lease is.
	Namespace string
	// Out hears what happens, in words for people.
	Out io.Writer
	// Poll is the time between two looks, Tell that between two reports of what
	// is waited for when nothing changes.
	Poll, Tell time.Duration
}

// Run ends without an error only when no NodeENI is left, and agents report no ENI of
// one that went without a coordinator's word. An API server that cannot be reached, or
// that does not yet know of the rights that this needs, is asked again.
func (u *Uninstall) Run(ctx context.Context) error {
	began := time.Now()
	told := began
	var before map[string]bool
	var problem string
	confirmed := map[types.UID]bool{}
	var reported []string
	var leading time.Time
	for {
		left, err := u.list(ctx)
		listed := err == nil
		if listed {
			confirm(confirmed, left)
			err = u.removeAll(ctx, left, confirmed)
		}
		if listed && err == nil && len(left) == 0 {
			leading = u.leads(ctx, leading)
			reported, err = u.unconfirmed(ctx, confirmed, leading)
		}
		if ctx.Err() != nil {
			return unfinished(ctx, before, reported, problem)
		}
		if problem = u.tellNew(err, problem); listed {
			now := names(left)
			if u.changed(before, now) {
				told = time.Now()
			}
			if before = now; len(left) == 0 && err == nil && len(reported) == 0 {
				u.say("Done: there is no NodeENI, and so no ENI of one.")
				return nil
			}
		}
		if time.Since(told) >= u.Tell {
			told = time.Now()
			u.explain(ctx, left, reported, time.Since(began))
		}
		select {
		case <-ctx.Done():
		case <-time.After(u.Poll):
		}
	}
}

func (u *Uninstall) list(ctx context.Context) ([]v1alpha1.NodeENI, error) {
	var all v1alpha1.NodeENIList
	err := u.Kube.API.Get().Resource(kube.NodeENIs).Timeout(apiTimeout).Do(ctx).Into(&all)
	if apierrors.IsNotFound(err) { // the API server does not know the kind (any more)
		return nil, u.notServed(ctx, kube.NodeENIs)
	}
	if err != nil {
		return nil, fmt.Errorf("listing NodeENIs: %w", err)
	}
	return all.Items, nil
}

// removeAll deletes what is not being deleted yet; some of it may be new. It notes what
// goes with a coordinator's word.
func (u *Uninstall) removeAll(ctx context.Context, all []v1alpha1.NodeENI, confirmed map[types.UID]bool) error {
	var errs []error
	for _, n := range all {
		if n.DeletionTimestamp != nil {
			continue
		}
		if err := u.remove(ctx, n); err != nil {
			errs = append(errs, fmt.Errorf("deleting NodeENI %s: %w", n.Name, err))
			continue
		}
		confirmed[n.UID] = true // it has the finalizer now
	}
	return errors.Join(errs...)
}

// remove sees to it that the NodeENI waits for its ENIs, also when it is so new
// that no coordinator has seen it yet.
func (u *Uninstall) remove(ctx context.Context, n v1alpha1.NodeENI) error {
	if err := setFinalizer(ctx, u.Kube, n.Name, n.UID, true); err != nil {
		return err
	}
	err := u.Kube.API.Delete().Resource(kube.NodeENIs).Name(n.Name).
		Body(&metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(n.UID))}).
		Timeout(apiTimeout).Do(ctx).Error()
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil // gone, or another one by now: the next look tells
	}
	return err
}

// tellNew tells of a problem unless it was told before, and returns its words.
func (u *Uninstall) tellNew(err error, told string) string {
	if err == nil {
		return ""
	}
	if problem := err.Error(); problem != told {
		u.say("Trying again: %s", problem)
	}
	return err.Error()
}

// changed tells what has come and gone, and returns whether anything has.
func (u *Uninstall) changed(before, now map[string]bool) bool {
	for _, name := range slices.Sorted(maps.Keys(now)) {
		if !before[name] {
			u.say("Deleting NodeENI %s.", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if !now[name] {
			u.say("NodeENI %s is gone, and so are its ENIs.", name)
		}
	}
	return !maps.Equal(before, now)
}

func (u *Uninstall) say(format string, args ...any) {
	fmt.Fprintln(u.Out, v1alpha1.Printable(fmt.Sprintf(format, args...))) // others wrote parts of it
}

func names(all []v1alpha1.NodeENI) map[string]bool {
	set := map[string]bool{}
	for _, n := range all {
		set[n.Name] = true
	}
	return set
}

// unfinished is the error of an uninstall that was stopped, or not over in time.
func unfinished(ctx context.Context, left map[string]bool, reported []string, problem string) error {
	what := "not done in time"
	if errors.Is(ctx.Err(), context.Canceled) {
		what = "interrupted"
	}
	if problem != "" {
		return fmt.Errorf("%s: %s", what, problem)
	}
	if len(left) == 0 && len(reported) > 0 {
		return stillReported(what, reported)
	}
	return fmt.Errorf("%s: %d NodeENIs are still being deleted (%s), which goes on as long as a coordinator runs; "+
		"put right what holds them up, and run this again", what, len(left), sample(slices.Sorted(maps.Keys(left))))
}
