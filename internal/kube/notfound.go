package kube

import (
	"context"
	"encoding/json"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// IsNotFound says whether the API server knows the resource, and has no object of
// the name. A proxy's page and an API server without the resource answer 404 too.
func IsNotFound(err error) bool {
	return apierrors.IsNotFound(err) && !apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}

// asMetadata asks for an object without its contents.
const asMetadata = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"

// UID asks for an object's UID; "" says that there is no such object.
func (c *Client) UID(ctx context.Context, resource, name string) (types.UID, error) {
	client := c.API
	if resource == Nodes {
		client = c.Core
	}
	data, err := client.Get().Resource(resource).Name(name).SetHeader("Accept", asMetadata).Timeout(10 * time.Second).Do(ctx).Raw()
	if IsNotFound(err) {
		return "", nil
	}
	var object metav1.PartialObjectMetadata
	if err == nil {
		err = json.Unmarshal(data, &object)
	}
	return object.UID, err
}
