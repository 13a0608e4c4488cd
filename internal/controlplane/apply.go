package controlplane

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"
)

// applyTimeout bounds one Apply; a CRD is served about a second after its creation.
const applyTimeout = time.Minute

var crds = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

// Apply applies every document of the manifests, as `kubectl apply --server-side
// --force-conflicts` does: Namespaces and CustomResourceDefinitions first, the
// others in the given order once the new kinds are served. Namespaced objects
// must name their namespace. The authorizer and the admission plugins hear of
// new objects (roles, policies) a moment later.
func (cp *ControlPlane) Apply(ctx context.Context, manifests ...[]byte) error {
	ctx, cancel := context.WithTimeout(ctx, applyTimeout)
	defer cancel()
	objects, err := parseManifests(manifests)
	if err != nil {
		return err
	}
	a, err := cp.newApplier()
	if err != nil {
		return err
	}
	for _, obj := range objects {
		if err := a.apply(ctx, obj); err != nil {
			return fmt.Errorf("applying %s %s: %w", obj.GetKind(), obj.GetName(), err)
		}
	}
	return nil
}

// ApplyFiles applies files and, of directories, their *.yaml files.
func (cp *ControlPlane) ApplyFiles(ctx context.Context, paths ...string) error {
	var manifests [][]byte
	for _, path := range paths {
		files := []string{path}
		if info, err := os.Stat(path); err != nil {
			return err
		} else if info.IsDir() {
			if files, err = filepath.Glob(filepath.Join(path, "*.yaml")); err != nil {
				return err
			}
			if len(files) == 0 {
				return fmt.Errorf("there is no *.yaml file in %s", path)
			}
		}
		for _, file := range files {
			manifest, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			manifests = append(manifests, manifest)
		}
	}
	return cp.Apply(ctx, manifests...)
}

// parseManifests returns the objects in the order in which they can be applied.
func parseManifests(manifests [][]byte) ([]*unstructured.Unstructured, error) {
	var first, later []*unstructured.Unstructured
	for _, manifest := range manifests {
		decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifest), 4096)
		for {
			obj := new(unstructured.Unstructured)
			err := decoder.Decode(obj)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return nil, fmt.Errorf("reading a manifest: %w", err)
			}
			switch obj.GetKind() {
			case "": // only comments
			case "Kustomization": // lists files, is no object
			case "CustomResourceDefinition", "Namespace":
				first = append(first, obj)
			default:
				later = append(later, obj)
			}
		}
	}
	return slices.Concat(first, later), nil
}

// applier applies one object after the other.
type applier struct {
	client dynamic.Interface
	mapper *restmapper.DeferredDiscoveryRESTMapper
}

func (cp *ControlPlane) newApplier() (*applier, error) {
	client, err := dynamic.NewForConfig(cp.admin)
	if err != nil {
		return nil, err
	}
	disco, err := discovery.NewDiscoveryClientForConfig(cp.admin)
	if err != nil {
		return nil, err
	}
	return &applier{
		client: client,
		mapper: restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(disco)),
	}, nil
}

func (a *applier) apply(ctx context.Context, obj *unstructured.Unstructured) error {
	gvk := obj.GroupVersionKind()
	mapping, err := a.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		return err
	}
	resource := dynamic.ResourceInterface(a.client.Resource(mapping.Resource))
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		if obj.GetNamespace() == "" {
			return errors.New("it is namespaced but metadata.namespace is missing")
		}
		resource = a.client.Resource(mapping.Resource).Namespace(obj.GetNamespace())
	}
	options := metav1.ApplyOptions{FieldManager: "controlplane", Force: true}
	if _, err := resource.Apply(ctx, obj.GetName(), obj, options); err != nil {
		return err
	}
	if mapping.Resource == crds {
		return a.awaitServed(ctx, obj)
	}
	return nil
}

// awaitServed waits until the kind that a CRD defines can be used: it is
// Established, in discovery, and its handler answers, which come about one after
// the other.
func (a *applier) awaitServed(ctx context.Context, crd *unstructured.Unstructured) error {
	var last error
	err := wait.PollUntilContextCancel(ctx, 20*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		last = a.served(ctx, crd)
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("the kind is not served: %w", last)
	}
	return nil
}

func (a *applier) served(ctx context.Context, crd *unstructured.Unstructured) error {
	live, err := a.client.Resource(crds).Get(ctx, crd.GetName(), metav1.GetOptions{})
	if err != nil {
		return err
	}
	if err := established(live); err != nil {
		return err
	}
	group, _, _ := unstructured.NestedString(live.Object, "spec", "group")
	kind, _, _ := unstructured.NestedString(live.Object, "spec", "names", "kind")
	a.mapper.Reset()
	mapping, err := a.mapper.RESTMapping(schema.GroupKind{Group: group, Kind: kind})
	if err != nil {
		return err
	}
	_, err = a.client.Resource(mapping.Resource).List(ctx, metav1.ListOptions{Limit: 1})
	return err
}

func established(crd *unstructured.Unstructured) error {
	conditions, _, _ := unstructured.NestedSlice(crd.Object, "status", "conditions")
	why := "no condition yet"
	for _, c := range conditions {
		condition, _ := c.(map[string]any)
		switch {
		case condition["type"] == "Established" && condition["status"] == "True":
			return nil
		case condition["type"] != "Established" && condition["status"] == "False":
			why = fmt.Sprint(condition["message"])
		}
	}
	return fmt.Errorf("CustomResourceDefinition %s is not established: %s", crd.GetName(), why)
}
