package apiserver

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aws-multi-eni/aws-multi-eni/internal/driver"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// triedSlice is the number of a ResourceSlice that no agent has.
const triedSlice = 1_000_000

// CheckOnDemand returns an error if the API server cannot take the ResourceSlices of a
// node. It tries that with a dry run, because an API server whose feature gates are off
// drops fields without an error.
func CheckOnDemand(ctx context.Context, client *kube.Client, nodeName string) error {
	served, err := client.ServesIn(ctx, kube.ResourceGroupVersion, kube.ResourceClaims)
	if err != nil {
		return err
	}
	if !served {
		return errNotServed
	}
	var node kube.Node
	if err := client.Core.Get().Resource(kube.Nodes).Name(nodeName).Do(ctx).Into(&node); err != nil {
		return fmt.Errorf("get Node %s: %w", nodeName, err)
	}
	const card, counter = "card-0", "places"
	one := map[string]kube.Counter{counter: {Value: "1"}}
	device := kube.Device{
		Name: "dry-run", BindsToNode: new(true), BindingConditions: []string{driver.ConditionAttached}, BindingFailureConditions: []string{driver.ConditionAttachFailed},
		ConsumesCounters: []kube.CounterConsumption{{CounterSet: card, Counters: one}},
		Taints:           []kube.DeviceTaint{{Key: "networking.k8s.aws/DryRun", Effect: "NoSchedule"}},
	}
	for _, spec := range []kube.ResourceSliceSpec{{Devices: []kube.Device{device}}, {SharedCounters: []kube.CounterSet{{Name: card, Counters: one}}}} {
		slice := wantedSlices(node, nil, []kube.ResourceSliceSpec{spec}, 1)[0]
		slice.Name = sliceName(nodeName, triedSlice)
		if _, err := writeSlice(ctx, client, &slice, metav1.DryRunAll); err != nil {
			return classify(err)
		}
	}
	return nil
}
