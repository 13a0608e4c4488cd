package coordinator

import (
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// unconfirmed are the ENIs that agents report and that no coordinator has said to be
// gone: their NodeENIs went before this began, perhaps without a finalizer, because no
// coordinator ever led.
func (u *Uninstall) unconfirmed(ctx context.Context, confirmed map[types.UID]bool) ([]string, error) {
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
			if entry.ENIID != "" && !confirmed[entry.NodeENIUID] {
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
	return fmt.Errorf("%s: there is no NodeENI any more, but agents still report ENIs, which nobody has said to be deleted: %s. "+
		"Let a coordinator and the agents run, which delete them, and run this again; or delete those that exist in EC2, and their NodeENIStates", what, sample(enis))
}
