package controlplane

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// served is how soon a new kind must be served; it takes about a second.
var served = envtest.CRDInstallOptions{MaxTime: time.Minute, PollInterval: 20 * time.Millisecond}

// Apply applies every document of the manifests, as `kubectl apply --server-side
// --force-conflicts` does: Namespaces and CustomResourceDefinitions first, the
// others in the given order once the new kinds are served. Namespaced objects
// must name their namespace. The authorizer and the admission plugins hear of
// new objects (roles, policies) a moment later.
func (cp *ControlPlane) Apply(ctx context.Context, manifests ...[]byte) error {
	first, later, err := parseManifests(manifests)
	if err != nil {
		return err
	}
	if err := cp.apply(ctx, first); err != nil {
		return err
	}
	var crds []*apiextensionsv1.CustomResourceDefinition
	for _, obj := range first {
		if obj.GetKind() == "Namespace" {
			continue
		}
		crd := new(apiextensionsv1.CustomResourceDefinition)
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(obj.Object, crd); err != nil {
			return err
		}
		crds = append(crds, crd)
	}
	if err := envtest.WaitForCRDs(cp.admin, crds, served); err != nil {
		return fmt.Errorf("waiting for the kinds of CustomResourceDefinitions: %w", err)
	}
	return cp.apply(ctx, later)
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

// parseManifests returns the objects that others need, and those others.
func parseManifests(manifests [][]byte) (first, later []*unstructured.Unstructured, err error) {
	for _, manifest := range manifests {
		decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifest), 4096)
		for {
			obj := new(unstructured.Unstructured)
			err := decoder.Decode(obj)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return nil, nil, fmt.Errorf("reading a manifest: %w", err)
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
	return first, later, nil
}

func (cp *ControlPlane) apply(ctx context.Context, objects []*unstructured.Unstructured) error {
	for _, obj := range objects {
		namespaced, err := cp.client.IsObjectNamespaced(obj)
		if err == nil && namespaced && obj.GetNamespace() == "" {
			err = errors.New("it is namespaced but metadata.namespace is missing")
		}
		if err == nil {
			config := client.ApplyConfigurationFromUnstructured(obj)
			err = cp.client.Apply(ctx, config, client.FieldOwner("controlplane"), client.ForceOwnership)
		}
		if err != nil {
			return fmt.Errorf("applying %s %s: %w", obj.GetKind(), obj.GetName(), err)
		}
	}
	return nil
}
