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

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// Apply applies every document of the manifests, as `kubectl apply --server-side
// --force-conflicts` does: CustomResourceDefinitions first, then Namespaces, and once
// the new kinds are served the others in the given order. Namespaced objects must name
// their namespace. The authorizer and the admission plugins learn of new objects
// (roles, policies) a moment later.
func (cp *ControlPlane) Apply(ctx context.Context, manifests ...[]byte) error {
	crds, objects, err := parseManifests(manifests)
	if err != nil {
		return fmt.Errorf("reading a manifest: %w", err)
	}
	// A new kind is served after about a second.
	if _, err := envtest.InstallCRDs(cp.admin, envtest.CRDInstallOptions{CRDs: crds, MaxTime: time.Minute, PollInterval: 20 * time.Millisecond}); err != nil {
		return err
	}
	for _, obj := range objects {
		if err := cp.apply(ctx, obj); err != nil {
			return fmt.Errorf("applying %s %s: %w", obj.GetKind(), obj.GetName(), err)
		}
	}
	return nil
}

// ApplyFiles applies the files that match the patterns of filepath.Glob.
func (cp *ControlPlane) ApplyFiles(ctx context.Context, patterns ...string) error {
	var manifests [][]byte
	for _, pattern := range patterns {
		files, err := filepath.Glob(pattern)
		if err != nil {
			return err
		}
		if len(files) == 0 {
			return fmt.Errorf("no file matches %s", pattern)
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

func parseManifests(manifests [][]byte) (crds []*apiextensionsv1.CustomResourceDefinition, objects []*unstructured.Unstructured, err error) {
	var namespaces []*unstructured.Unstructured
	for _, manifest := range manifests {
		decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifest), 4096)
		for {
			obj := new(unstructured.Unstructured)
			if err := decoder.Decode(obj); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return nil, nil, err
			}
			switch obj.GetKind() {
			case "": // only comments
			case "CustomResourceDefinition":
				crd := new(apiextensionsv1.CustomResourceDefinition)
				if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(obj.Object, crd, true); err != nil {
					return nil, nil, err
				}
				crds = append(crds, crd)
			case "Namespace":
				namespaces = append(namespaces, obj)
			default:
				objects = append(objects, obj)
			}
		}
	}
	return crds, slices.Concat(namespaces, objects), nil
}

func (cp *ControlPlane) apply(ctx context.Context, obj *unstructured.Unstructured) error {
	namespaced, err := cp.client.IsObjectNamespaced(obj)
	if err != nil {
		return err
	}
	if namespaced && obj.GetNamespace() == "" {
		return errors.New("it is namespaced but metadata.namespace is missing")
	}
	return cp.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(obj), client.FieldOwner("controlplane"), client.ForceOwnership)
}
