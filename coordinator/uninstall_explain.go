package coordinator

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// explain tells what is waited for, as far as the API server shows it.
func (u *Uninstall) explain(ctx context.Context, left []v1alpha1.NodeENI, reported []string, since time.Duration) {
	if len(left) == 0 && len(reported) > 0 {
		u.say("After %v, there is no NodeENI, but agents report ENIs that no coordinator has said to be deleted: %s", since.Round(time.Second), sample(reported))
	}
	if len(left) > 0 {
		u.say("After %v, %d NodeENIs are still there:", since.Round(time.Second), len(left))
	}
	for _, n := range left[:min(len(left), maxNamed)] {
		why := waitsFor(n)
		u.say("- %s", why)
		if event := u.lastWarning(ctx, n); event != nil && !strings.Contains(why, event.Message) {
			u.say("  %s: %s", event.Reason, event.Message)
		}
	}
	if len(left) > maxNamed {
		u.say("- and %d more", len(left)-maxNamed)
	}
	if why := u.leaderless(ctx); why != "" {
		u.say("No coordinator works on it: %s. Is there one that runs? kubectl -n %s get pods", why, u.Namespace)
	}
}

// waitsFor says what holds a NodeENI up.
func waitsFor(n v1alpha1.NodeENI) string {
	for _, f := range n.Finalizers {
		if f != v1alpha1.CleanupFinalizer {
			return fmt.Sprintf("%s has the finalizer %s, which is not ours: whoever put it there has to remove it", n.Name, f)
		}
	}
	text := fmt.Sprintf("%s waits for EC2 to show no ENI of it", n.Name)
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

// lastWarning is the newest warning about the NodeENI, by agent or coordinator. The
// API server says which that is: the other times are the writer's. Without the right
// to read Events there is none.
func (u *Uninstall) lastWarning(ctx context.Context, n v1alpha1.NodeENI) *kube.Event {
	events, err := u.Kube.Warnings(ctx, n.UID)
	if err != nil || len(events) == 0 {
		return nil
	}
	newest := slices.MaxFunc(events, func(a, b kube.Event) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) })
	return &newest
}

// leaderless says why no coordinator leads; "" when one does.
func (u *Uninstall) leaderless(ctx context.Context) string {
	name := u.Namespace + "/" + leaseName
	lease, err := u.Leases.Leases(u.Namespace).Get(ctx, leaseName, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return fmt.Sprintf("there is no Lease %s", name)
	case err != nil:
		return "" // nobody knows
	case lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity == "" || lease.Spec.RenewTime == nil:
		return fmt.Sprintf("nobody holds the Lease %s", name)
	}
	var duration time.Duration
	if seconds := lease.Spec.LeaseDurationSeconds; seconds != nil {
		duration = time.Duration(*seconds) * time.Second
	}
	if age := time.Since(lease.Spec.RenewTime.Time); age > duration {
		return fmt.Sprintf("the Lease %s was last renewed %v ago", name, age.Round(time.Second))
	}
	return ""
}
