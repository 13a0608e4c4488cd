package coordinator

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// waitsFor says what the deletion of a NodeENI waits for.
func waitsFor(n v1alpha1.NodeENI) string {
	for _, f := range n.Finalizers {
		if f != v1alpha1.CleanupFinalizer {
			return fmt.Sprintf("%s has the finalizer %s of another program: use that program to remove it", n.Name, f)
		}
	}
	text := fmt.Sprintf("%s still has ENIs in EC2", n.Name)
	if c := meta.FindStatusCondition(n.Status.Conditions, v1alpha1.ConditionCleanupBlocked); c != nil {
		text = fmt.Sprintf("%s: %s: %s", n.Name, c.Reason, c.Message)
	}
	for i, a := range n.Status.Attachments {
		if i == maxNamed {
			return text + fmt.Sprintf("; and %d more", len(n.Status.Attachments)-i)
		}
		text += fmt.Sprintf("; %s of node %s is %s", a.ENIID, a.NodeID, a.Status)
		if a.Message != "" {
			text += " (" + a.Message + ")"
		}
	}
	return text
}

// lastWarning is the newest warning about the NodeENI, by the API server's time: the other
// times are the writer's. Without the right to read Events there is none.
func lastWarning(ctx context.Context, client *kube.Client, n v1alpha1.NodeENI) *kube.Event {
	events, err := client.Warnings(ctx, n.UID)
	if err != nil || len(events) == 0 {
		return nil
	}
	newest := slices.MaxFunc(events, func(a, b kube.Event) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) })
	return &newest
}

// noLeader says why no coordinator leads; "" if one does. An error means that this is not
// known.
func noLeader(ctx context.Context, leases coordinationv1.LeasesGetter, namespace string) (why string, err error) {
	name := namespace + "/" + leaseName
	lease, err := leases.Leases(namespace).Get(ctx, leaseName, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return fmt.Sprintf("the Lease %s does not exist", name), nil
	case err != nil:
		return "", fmt.Errorf("get the Lease %s: %w", name, err)
	case lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity == "" || lease.Spec.RenewTime == nil:
		return fmt.Sprintf("no coordinator holds the Lease %s", name), nil
	}
	var duration time.Duration
	if seconds := lease.Spec.LeaseDurationSeconds; seconds != nil {
		duration = time.Duration(*seconds) * time.Second
	}
	if age := time.Since(lease.Spec.RenewTime.Time); age > duration {
		return fmt.Sprintf("the Lease %s was last renewed %v ago", name, age.Round(time.Second)), nil
	}
	return "", nil
}

// releasedTime is how long a coordinator that leads has for the ENIs that reports call
// Released: it detaches and deletes them at once. If a report still has them then, the node
// has no agent any more, as when it has lost the label.
const releasedTime = 20 * time.Second

// unconfirmed are the ENIs in reports whose deletion no coordinator has confirmed: their
// NodeENIs went before this began, perhaps without a finalizer, because no coordinator ever
// led. Those that are Released do not count once a coordinator has led for long enough to
// delete them.
func unconfirmed(ctx context.Context, client *kube.Client, confirmed map[types.UID]bool, leading time.Time) ([]string, error) {
	collected := !leading.IsZero() && time.Since(leading) >= releasedTime
	var reports v1alpha1.NodeENIStateList
	err := client.API.Get().Resource(kube.NodeENIStates).Timeout(apiTimeout).Do(ctx).Into(&reports)
	if apierrors.IsNotFound(err) {
		return nil, notServed(ctx, client, kube.NodeENIStates)
	}
	if err != nil {
		return nil, fmt.Errorf("list NodeENIStates, which show the existing ENIs: %w", err)
	}
	var all []string
	for _, report := range reports.Items {
		report.Status.Clip()
		at := location{cmp.Or(report.Status.Region, kube.RegionOf(report.Status.Zone)), report.Status.Account}
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

// notServed returns an error unless the API server has no such resource. A proxy's page is
// also "not found".
func notServed(ctx context.Context, client *kube.Client, resource string) error {
	served, err := client.Serves(ctx, resource)
	if err == nil && served {
		err = fmt.Errorf("the API server serves %s, but returned NotFound for it", resource)
	}
	return err
}
