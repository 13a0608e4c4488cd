package coordinator

import (
	"context"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// releasedTime is how long a leading coordinator gets for ENIs that reports call
// Released: it detaches and deletes them at once. A report that still names them then is
// one of a node without an agent, as when the node has lost the label.
const releasedTime = 20 * time.Second

// leads notes since when a coordinator has led without a break.
func (u *Uninstall) leads(ctx context.Context, since time.Time) time.Time {
	if u.leaderless(ctx) != "" {
		return time.Time{}
	}
	if since.IsZero() {
		return time.Now()
	}
	return since
}

// unconfirmed are the ENIs that agents report and that no coordinator has said to be
// gone: their NodeENIs went before this began, perhaps without a finalizer, because no
// coordinator ever led. Those that are Released do not count once a coordinator, leading
// since then, has had the time to delete them.
func (u *Uninstall) unconfirmed(ctx context.Context, confirmed map[types.UID]bool, leading time.Time) ([]string, error) {
	collected := !leading.IsZero() && time.Since(leading) >= releasedTime
	var reports v1alpha1.NodeENIStateList
	err := u.Kube.API.Get().Resource(kube.NodeENIStates).Timeout(apiTimeout).Do(ctx).Into(&reports)
	if apierrors.IsNotFound(err) {
		return nil, u.notServed(ctx, kube.NodeENIStates)
	}
	if err != nil {
		return nil, fmt.Errorf("listing NodeENIStates, which tell what ENIs there are: %w", err)
	}
	var all []string
	for _, report := range reports.Items {
		report.Status.Clip()
		at := place{report.Status.Region, report.Status.Account}
		if at.Region == "" {
			at.Region = kube.RegionOf(report.Status.Zone)
		}
		for _, entry := range report.Status.ENIs {
			done := confirmed[entry.NodeENIUID] || collected && entry.Phase == v1alpha1.PhaseReleased
			if entry.ENIID != "" && !done {
				all = append(all, fmt.Sprintf("%s of node %s in %s (%s)", entry.ENIID, report.Name, at, entry.Phase))
			}
		}
	}
	slices.Sort(all)
	return all, nil
}

// notServed makes sure that the API server has no such kind. A proxy's page is also
// "not found".
func (u *Uninstall) notServed(ctx context.Context, resource string) error {
	served, err := u.Kube.Serves(ctx, resource)
	if err == nil && served {
		err = fmt.Errorf("the API server serves %s, and answers that there are none such", resource)
	}
	return err
}

// confirm notes the NodeENIs that wait for a coordinator's word.
func confirm(confirmed map[types.UID]bool, all []v1alpha1.NodeENI) {
	for _, n := range all {
		if slices.Contains(n.Finalizers, v1alpha1.CleanupFinalizer) {
			confirmed[n.UID] = true
		}
	}
}

// stillReported is the error when ENIs may be left.
func stillReported(what string, enis []string) error {
	return fmt.Errorf("%s: there is no NodeENI any more, but agents report ENIs that no coordinator has said to be deleted: %s. "+
		"Let a coordinator and the agents run, which delete them, and run this again; or delete those that exist in EC2, and then the nodes' reports: kubectl delete nodeenistate NODE", what, sample(enis))
}
