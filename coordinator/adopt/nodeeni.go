package adopt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// mostAttachments is what our CRD takes; the former one takes any number.
const mostAttachments = 100

// change is what is to happen to a NodeENI.
type change struct {
	nodeENI  *v1alpha1.NodeENI
	from, to string // finalizer that is replaced, and by which
	// attachments replace the status, unless restore is false.
	restore     bool
	attachments []v1alpha1.Attachment
}

func (c change) String() string {
	text := ""
	if c.from != "" {
		text = fmt.Sprintf("replace the finalizer %s with %s", c.from, c.to)
	}
	if c.restore {
		if text != "" {
			text += "; "
		}
		text += fmt.Sprintf("write %s to status.attachments", number(len(c.attachments), "ENI"))
	}
	return text
}

// finalizers are the NodeENIs whose finalizer adopting replaces: nothing but the former
// controller would ever remove its own.
func finalizers(all []v1alpha1.NodeENI) (changes []change) {
	for i := range all {
		if n := &all[i]; n.DeletionTimestamp == nil && slices.Contains(n.Finalizers, FormerFinalizer) {
			changes = append(changes, change{nodeENI: n, from: FormerFinalizer, to: v1alpha1.CleanupFinalizer})
		}
	}
	return changes
}

// apply carries the change out. It reads the NodeENI first, and changes nothing if another
// one has its name now, or if it is being deleted.
func (c change) apply(ctx context.Context, client *kube.Client) error {
	if c.restore {
		if err := c.patch(ctx, client, "status", func(v1alpha1.NodeENI) map[string]any {
			return map[string]any{"status": map[string]any{"attachments": c.attachments, "conditions": nil, "nodes": nil, "observedGeneration": nil}}
		}); err != nil {
			if apierrors.IsInvalid(err) && len(c.attachments) > mostAttachments {
				return fmt.Errorf("writing status.attachments: the CRD of aws-multi-eni takes %d ENIs, and this NodeENI has %d; apply the former controller's CRD, and run the command again", mostAttachments, len(c.attachments))
			}
			return fmt.Errorf("writing status.attachments: %w", err)
		}
	}
	if c.from == "" {
		return nil
	}
	err := c.patch(ctx, client, "", func(n v1alpha1.NodeENI) map[string]any {
		kept := slices.DeleteFunc(n.Finalizers, func(f string) bool { return f == c.from || f == c.to })
		// A list in a merge patch replaces the list, so the patch has the resource version.
		return map[string]any{"metadata": map[string]any{"resourceVersion": n.ResourceVersion, "finalizers": append(kept, c.to)}}
	})
	if err != nil {
		return fmt.Errorf("replacing the finalizer %s: %w", c.from, err)
	}
	return nil
}

func (c change) patch(ctx context.Context, client *kube.Client, subresource string, body func(v1alpha1.NodeENI) map[string]any) error {
	return retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		var n v1alpha1.NodeENI
		err := client.API.Get().Resource(kube.NodeENIs).Name(c.nodeENI.Name).Timeout(apiTimeout).Do(ctx).Into(&n)
		switch {
		case apierrors.IsNotFound(err), err == nil && n.UID != c.nodeENI.UID:
			return errors.New("it was deleted while the command ran; run the command again")
		case err == nil && n.DeletionTimestamp != nil:
			return errors.New("someone began to delete it while the command ran; start the controller whose finalizer it has until it is gone")
		case err != nil:
			return err
		}
		data, err := json.Marshal(body(n))
		if err != nil {
			return err
		}
		request := client.API.Patch(types.MergePatchType).Resource(kube.NodeENIs).Name(n.Name)
		if subresource != "" {
			request = request.SubResource(subresource)
		}
		return request.Body(data).Timeout(apiTimeout).Do(ctx).Error()
	})
}

// attachmentOf is an ENI as the former controller has it in the status.
func attachmentOf(r Row, n *v1alpha1.NodeENI, cidr string, now time.Time) v1alpha1.Attachment {
	at := r.ENI.Attachment
	return v1alpha1.Attachment{
		NodeID: r.Node, InstanceID: at.InstanceID, ENIID: r.ID, AttachmentID: at.ID, SubnetID: r.ENI.SubnetID, SubnetCIDR: cidr,
		DeviceIndex: at.DeviceIndex, MTU: n.Spec.MTU, Status: FormerStatus, LastUpdated: metav1.NewTime(now),
	}
}
