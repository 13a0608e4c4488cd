package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/aws-multi-eni/aws-multi-eni/agent/retry"
	"github.com/aws-multi-eni/aws-multi-eni/imds"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// An endpoint's URL, a proxy or credentials may lead to the EC2 of another Region or
// account. That answers, and has none of this instance's ENIs. So what it does not show
// is believed only where it knows the instance: an instance is never without its
// primary ENI.

// errWrongPlace: EC2 knows nothing of this instance.
var errWrongPlace = errors.New("nothing is created or given up")

// ofInstance lists this instance's ENIs that are ours. An answer in which none is
// attached to the instance needs proof, unless nothing is known that it could lack.
func ofInstance(ctx context.Context, client *eni.Client, cluster string, here imds.Identity, proven bool) ([]eni.ENI, error) {
	list, err := client.OfInstance(ctx, cluster, here.InstanceARN())
	if err != nil || proven || slices.ContainsFunc(list, func(e eni.ENI) bool { return e.Attachment != nil && e.Attachment.InstanceID == here.InstanceID }) {
		return list, err
	}
	all, err := client.AttachedTo(ctx, here.InstanceID)
	if err == nil && len(all) == 0 {
		err = retry.With(retry.Unknown, fmt.Errorf("EC2 shows no ENI of instance %s, not even the primary one, so it is not the EC2 of Region %s and account %s that answers, or its credentials are of another account; %w; correct AWS_ENDPOINT_URL_EC2, AWS_ENDPOINT_URL or the credentials",
			here.InstanceID, here.Region, here.AccountID, errWrongPlace))
	}
	return list, err
}
