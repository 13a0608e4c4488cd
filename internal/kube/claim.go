package kube

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// ClaimNames are the names of the ResourceClaims that a pod uses. A pod that has ended uses
// none.
func (p *Pod) ClaimNames() (names []string) {
	if p.Status.Phase == "Succeeded" || p.Status.Phase == "Failed" {
		return nil
	}
	for _, claim := range slices.Concat(p.Spec.ResourceClaims, p.Status.ResourceClaimStatuses) {
		if claim.ResourceClaimName != nil {
			names = append(names, *claim.ResourceClaimName)
		}
	}
	if extended := p.Status.ExtendedResourceClaimStatus; extended != nil {
		names = append(names, extended.ResourceClaimName)
	}
	return names
}

// AllocatedFrom are the devices of a driver's pool that are allocated to the claim. A claim
// with admin access only looks at them.
func (c *ResourceClaim) AllocatedFrom(driver, pool string) (results []AllocationResult) {
	if c.Status.Allocation == nil {
		return nil
	}
	for _, r := range c.Status.Allocation.Devices.Results {
		if r.Driver == driver && r.Pool == pool && !r.AdminAccess {
			results = append(results, r)
		}
	}
	return results
}

// DeviceStatus is what the claim reports of an allocated device; nil if it reports nothing.
func (c *ResourceClaim) DeviceStatus(r AllocationResult) *AllocatedDevice {
	i := slices.IndexFunc(c.Status.Devices, func(d AllocatedDevice) bool {
		return d.Driver == r.Driver && d.Pool == r.Pool && d.Device == r.Device
	})
	if i < 0 {
		return nil
	}
	return &c.Status.Devices[i]
}

// ApplyDeviceStatus writes the entry of a device in the status of the claim by server-side
// apply. A claim that has been deleted meanwhile, or replaced by one of the same name, needs
// no entry.
func (c *Client) ApplyDeviceStatus(ctx context.Context, claim types.NamespacedName, uid types.UID, fieldManager string, status AllocatedDevice) error {
	entry, err := json.Marshal(ResourceClaim{
		TypeMeta:   metav1.TypeMeta{APIVersion: ResourceGroupVersion.String(), Kind: "ResourceClaim"},
		ObjectMeta: metav1.ObjectMeta{Namespace: claim.Namespace, Name: claim.Name, UID: uid},
		Status:     ResourceClaimStatus{Devices: []AllocatedDevice{status}},
	})
	if err != nil {
		return err
	}
	err = c.Resource.Patch(types.ApplyPatchType).Namespace(claim.Namespace).Resource(ResourceClaims).Name(claim.Name).
		SubResource("status").Param("fieldManager", fieldManager).Param("force", "true").Body(entry).Do(ctx).Error()
	if IsNotFound(err) || isAnother(err) {
		return nil
	}
	return err
}

// isAnother recognizes the answer to a patch of an object that has the name, but not the UID.
func isAnother(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Details == nil {
		return false
	}
	return slices.ContainsFunc(status.Status().Details.Causes, func(c metav1.StatusCause) bool { return c.Field == "metadata.uid" })
}
