package kube

import (
	"context"
	"encoding/json"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
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
	object, err := metadata(ctx, client.Get().Resource(resource).Name(name))
	if object == nil {
		return "", err
	}
	return object.UID, nil
}

// Metadata reads an object of any kind, by its path on the API server, without its
// contents; nil says that there is no such object.
func (c *Client) Metadata(ctx context.Context, path ...string) (*metav1.PartialObjectMetadata, error) {
	return metadata(ctx, c.Core.Get().AbsPath(path...))
}

func metadata(ctx context.Context, request *rest.Request) (*metav1.PartialObjectMetadata, error) {
	answer := request.SetHeader("Accept", asMetadata).Timeout(10 * time.Second).Do(ctx)
	if err := answer.Error(); IsNotFound(err) { // Raw has not read the Status
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	data, err := answer.Raw()
	if err != nil {
		return nil, err
	}
	object := new(metav1.PartialObjectMetadata)
	if err := json.Unmarshal(data, object); err != nil {
		return nil, err
	}
	return object, nil
}
