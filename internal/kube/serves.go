package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// Serves says whether the API server has a resource of our group.
func (c *Client) Serves(ctx context.Context, resource string) (bool, error) {
	return c.ServesIn(ctx, v1alpha1.GroupVersion, resource)
}

// ServesIn says whether the API server has a resource of a group. It reads the lists
// that are always there, because "not found" may also be said by a proxy.
func (c *Client) ServesIn(ctx context.Context, gv schema.GroupVersion, resource string) (bool, error) {
	var groups metav1.APIGroupList
	if err := c.discover(ctx, "/apis", "APIGroupList", &groups); err != nil {
		return false, err
	}
	if !slices.ContainsFunc(groups.Groups, func(g metav1.APIGroup) bool {
		return g.Name == gv.Group && slices.ContainsFunc(g.Versions, func(v metav1.GroupVersionForDiscovery) bool { return v.Version == gv.Version })
	}) {
		return false, nil
	}
	var resources metav1.APIResourceList
	if err := c.discover(ctx, "/apis/"+gv.String(), "APIResourceList", &resources); err != nil {
		return false, err
	}
	return slices.ContainsFunc(resources.APIResources, func(r metav1.APIResource) bool { return r.Name == resource }), nil
}

func (c *Client) discover(ctx context.Context, path, kind string, into any) error {
	body, err := c.API.Get().AbsPath(path).SetHeader("Accept", "application/json").Timeout(10 * time.Second).Do(ctx).Raw()
	var is metav1.TypeMeta
	if err == nil {
		err = json.Unmarshal(body, &is)
	}
	if err == nil && is.Kind != kind {
		err = fmt.Errorf("the response has the kind %q instead of %s; check for a proxy on the path", is.Kind, kind)
	}
	if err == nil {
		err = json.Unmarshal(body, into)
	}
	if err != nil {
		return fmt.Errorf("get the resources that the API server serves (%s): %w", path, err)
	}
	return nil
}
