package fleet

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// Labels are what NodeENIs select nodes by.
func Labels() map[string]string { return map[string]string{"ng": "multi-eni"} }

// NodeENIs are the names of the first n NodeENIs, at most 2; the subnets and
// security groups of each bear its name.
func NodeENIs(n int) []string { return subnetNames[1 : n+1] }

// WantENIs creates the first n NodeENIs: each gives every labelled node an ENI.
func (c *Cluster) WantENIs(ctx context.Context, n int) error {
	for i, name := range NodeENIs(n) {
		want := &v1alpha1.NodeENI{}
		want.Name = name
		want.Spec = v1alpha1.NodeENISpec{
			NodeSelector: Labels(),
			SubnetNames:  []string{name}, SecurityGroupNames: []string{name},
			DeviceIndex: int32(i + 1), Addressing: v1alpha1.AddressingHost,
			DeleteOnTermination: new(true), Description: name,
		}
		if err := c.Client.API.Post().Resource(kube.NodeENIs).Body(want).Do(ctx).Error(); err != nil {
			return err
		}
	}
	return nil
}

// Label gives the Nodes the labels.
func (c *Cluster) Label(ctx context.Context, names []string) error {
	var patch []byte
	for key, value := range Labels() {
		patch = fmt.Appendf(nil, `{"metadata":{"labels":{%q:%q}}}`, key, value)
	}
	return each(names, func(name string) error {
		return c.Client.Core.Patch(types.MergePatchType).Resource(kube.Nodes).Name(name).Body(patch).Do(ctx).Error()
	})
}

// Empty deletes the first n NodeENIs and waits until they are gone. It is an error
// when an ENI is left then.
func (c *Cluster) Empty(ctx context.Context, n int) error {
	for _, name := range NodeENIs(n) {
		if err := c.Client.API.Delete().Resource(kube.NodeENIs).Name(name).Do(ctx).Error(); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for _, name := range NodeENIs(n) {
		for {
			err := c.Client.API.Get().Resource(kube.NodeENIs).Name(name).Do(ctx).Error()
			if apierrors.IsNotFound(err) {
				break
			}
			if err != nil {
				return fmt.Errorf("%w; %d ENIs are left", err, len(c.ENIs()))
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return fmt.Errorf("NodeENI %s is still there: %w; %d ENIs are left", name, ctx.Err(), len(c.ENIs()))
			}
		}
	}
	if left := len(c.ENIs()); left > 0 {
		return fmt.Errorf("the NodeENIs are gone, and %d ENIs are left", left)
	}
	return nil
}
