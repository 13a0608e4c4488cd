package coordinator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
	"github.com/aws-multi-eni/aws-multi-eni/internal/program"
)

// lostPeriod is the time between two looks for Nodes that are due.
const lostPeriod = 5 * time.Second

// claimFailer ends the waiting of pods for ENIs on demand of lost nodes, whose agents cannot:
// the scheduler deallocates a claim whose device has the condition AttachFailed.
type claimFailer struct {
	caches    *caches
	nodes     *lostNodes
	log       *slog.Logger
	heartbeat *program.Heartbeat
}

func (f *claimFailer) run(ctx context.Context) {
	ticker := time.NewTicker(lostPeriod)
	defer ticker.Stop()
	defer f.heartbeat.Rest()
	for {
		f.heartbeat.Rest()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for _, node := range f.nodes.due(time.Now()) {
			f.heartbeat.Beat()
			if err := f.fail(ctx, node); err != nil && ctx.Err() == nil {
				f.log.Warn("cannot report to the ResourceClaims of pods that their node is lost; retrying", "node", node.Name, "error", err)
			}
		}
	}
}

// fail writes to the claims of the pods that wait for the node's ENIs. Nodes that offer none
// cost no request.
func (f *claimFailer) fail(ctx context.Context, last *kube.Node) error {
	if !slices.ContainsFunc(f.caches.nodeENIs.list(), func(n *v1alpha1.NodeENI) bool {
		return n.Spec.Attach == v1alpha1.AttachOnDemand && n.Selects(last.Labels)
	}) {
		return nil
	}
	client := f.caches.client
	live, err := readStrictly[kube.Node](ctx, client.Core, kube.Nodes, last.Name)
	if err != nil {
		return err
	}
	message := lossOf(last.Name, live)
	if message == "" {
		return nil // the cache is behind
	}
	var pods kube.PodList
	selector := fields.SelectorFromSet(fields.Set{"status.nominatedNodeName": last.Name, "spec.nodeName": ""})
	if err := client.Core.Get().Resource(kube.Pods).Param("fieldSelector", selector.String()).Timeout(apiTimeout).Do(ctx).Into(&pods); err != nil {
		return fmt.Errorf("list the pods that are nominated to the node: %w", err)
	}
	waiting, claims := waitingPods(pods.Items)
	var errs []error
	for name := range claims {
		errs = append(errs, f.failClaim(ctx, name, last.Name, message, waiting))
	}
	return errors.Join(errs...)
}

func (f *claimFailer) failClaim(ctx context.Context, name types.NamespacedName, node, message string, waiting map[types.UID]bool) error {
	client := f.caches.client
	var claim kube.ResourceClaim
	err := client.Resource.Get().Namespace(name.Namespace).Resource(kube.ResourceClaims).Name(name.Name).Timeout(apiTimeout).Do(ctx).Into(&claim)
	if kube.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("get ResourceClaim %s: %w", name, err)
	}
	for _, status := range failures(&claim, node, message, waiting, time.Now()) {
		if err := client.ApplyDeviceStatus(ctx, name, claim.UID, "eni-coordinator/"+status.Device, status); err != nil {
			return fmt.Errorf("write the status of ResourceClaim %s: %w", name, err)
		}
		f.log.Info("a ResourceClaim waited for an ENI of a lost node", "claim", name.String(), "device", status.Device, "node", node)
	}
	return nil
}
