package docs

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/controlplane"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim"
	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

// Kinds of others that the pages have objects of. The API server is given CRDs that
// take anything.
var foreignKinds = map[string]struct {
	group, version, plural string
	scope                  string
}{
	"NetworkAttachmentDefinition": {"k8s.cni.cncf.io", "v1", "network-attachment-definitions", "Namespaced"},
	"NodeOverlay":                 {"karpenter.sh", "v1alpha1", "nodeoverlays", "Cluster"},
	"NodePool":                    {"karpenter.sh", "v1", "nodepools", "Cluster"},
}

// Every manifest in the pages is accepted by an API server, and so is what kustomize
// makes of an overlay. NodeENIs are accepted in files, too, where unknown fields are
// errors.
func TestManifests(t *testing.T) {
	found := acceptAll(t, startWithCRDs(t), pages(t))
	if found["NodeENI"] < 3 || found["Kustomization"] < 1 || len(found) < 4 {
		t.Errorf("only these found: %v", found)
	}
}

// TestExamples: an API server takes them, too. It is another one, because some have the names
// of objects in the pages.
func TestExamples(t *testing.T) {
	found := acceptAll(t, startWithCRDs(t), examples(t))
	if found["NodeENI"] < 5 || found["DaemonSet"] < 1 || len(found) < 4 {
		t.Errorf("only these found: %v", found)
	}
}

// startWithCRDs starts an API server that knows the kinds in the pages.
func startWithCRDs(t *testing.T) *controlplane.ControlPlane {
	t.Helper()
	cp := start(t)
	for kind, k := range foreignKinds {
		if err := cp.Apply(t.Context(), crd(kind, k.group, k.version, k.plural, k.scope)); err != nil {
			t.Fatal(err)
		}
	}
	if err := cp.ApplyFiles(t.Context(), filepath.Join(root, "manifests/crds/*.yaml")); err != nil {
		t.Fatal(err)
	}
	defaultAccount := []byte("{apiVersion: v1, kind: ServiceAccount, metadata: {name: default, namespace: default}}")
	if err := cp.Apply(t.Context(), defaultAccount); err != nil { // no controller makes it
		t.Fatal(err)
	}
	return cp
}

// acceptAll applies the manifests of pages, and counts them by kind.
func acceptAll(t *testing.T, cp *controlplane.ControlPlane, pages []page) map[string]int {
	t.Helper()
	found := map[string]int{}
	for _, p := range pages {
		for _, m := range p.manifests() {
			var object struct{ Kind string }
			err := yaml.Unmarshal([]byte(m.text), &object)
			if err == nil {
				err = accepted(t, cp, object.Kind, m.text)
			}
			if err != nil {
				t.Errorf("%s:%d: %v", p.path, m.line, err)
			}
			found[object.Kind]++
		}
	}
	return found
}

// examples are the manifests in examples/, each file as a page with one block.
func examples(t *testing.T) []page {
	t.Helper()
	var all []page
	for _, pattern := range []string{"*.yaml", "on-demand/*.yaml", "pods/*.yaml"} {
		files, err := filepath.Glob(filepath.Join(root, "examples", pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("examples/%s: %d files, %v", pattern, len(files), err)
		}
		for _, file := range files {
			path := "examples/" + filepath.ToSlash(strings.TrimPrefix(file, filepath.Join(root, "examples")+string(filepath.Separator)))
			all = append(all, page{path: path, blocks: []block{{lang: "yaml", text: read(t, path)}}})
		}
	}
	return all
}

func accepted(t *testing.T, cp *controlplane.ControlPlane, kind, text string) error {
	t.Helper()
	manifest := []byte(text)
	switch kind {
	case "NodeConfig": // a file of nodes
		return nil
	case "NodeENI":
		if _, err := v1alpha1.ParseNodeENIs(manifest); err != nil {
			return err
		}
	case "Kustomization":
		var err error
		if manifest, err = overlay(t, text); err != nil {
			return err
		}
	}
	return cp.Apply(t.Context(), manifest)
}

var remoteBase = regexp.MustCompile(`https://github\.com/aws-multi-eni/aws-multi-eni//([\w/-]+)\?ref=v[0-9.]+`)

// overlay builds a Kustomization. What it names of the release comes from this tree,
// and a file of the user's own from the examples.
func overlay(t *testing.T, text string) ([]byte, error) {
	t.Helper()
	if err := testbed.ReadTree("../manifests", ".yaml"); err != nil {
		t.Fatal(err)
	}
	tree, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	here, err := filepath.Rel(dir, tree)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"kustomization.yaml": remoteBase.ReplaceAllString(text, filepath.ToSlash(here)+"/$1"),
		"nodeenis.yaml":      read(t, "examples/host-addressing.yaml"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return testbed.Kustomize(dir)
}

func start(t *testing.T) *controlplane.ControlPlane {
	t.Helper()
	cp, err := controlplane.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cp.Stop(); err != nil {
			t.Error(err)
		}
	})
	return cp
}

// crd takes anything as an object of that kind.
func crd(kind, group, version, plural, scope string) []byte {
	return fmt.Appendf(nil, `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: %[4]s.%[2]s
spec:
  group: %[2]s
  scope: %[5]s
  names: {kind: %[1]s, plural: %[4]s}
  versions:
  - name: %[3]s
    served: true
    storage: true
    schema:
      openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}
    subresources: {status: {}}
`, kind, group, version, plural, scope)
}

// A NetworkAttachmentDefinition of the pages holds a CNI configuration about a NodeENI of
// the pages that is for pods or attached on demand, or about a link that one names.
func TestCNIConfigurations(t *testing.T) {
	known, named := map[string]bool{}, map[string]string{}
	for _, p := range append(pages(t), examples(t)...) {
		for _, m := range p.manifests() {
			var object struct {
				Kind     string
				Metadata struct{ Name string }
				Spec     struct {
					InterfaceName string
					Config        any // that of a NetworkAttachmentDefinition is text
					Pods          *v1alpha1.Pods
					Attach        v1alpha1.Attach
				}
			}
			if err := yaml.Unmarshal([]byte(m.text), &object); err != nil {
				t.Fatal(err)
			}
			known["link "+object.Spec.InterfaceName] = true
			if object.Spec.Pods != nil {
				known["NodeENI with pods "+object.Metadata.Name] = true
			}
			if object.Spec.Attach == v1alpha1.AttachOnDemand {
				known["NodeENI on demand "+object.Metadata.Name] = true
			}
			if object.Kind != "NetworkAttachmentDefinition" {
				continue
			}
			text, _ := object.Spec.Config.(string)
			what, err := configured(text)
			if err != nil {
				t.Errorf("%s:%d: %v", p.path, m.line, err)
			}
			named[what] = fmt.Sprintf("%s:%d", p.path, m.line)
		}
	}
	for what, where := range named {
		if !known[what] {
			t.Errorf("%s: no page has a %s", where, what)
		}
	}
	if len(named) < 3 {
		t.Errorf("only these found: %v", named)
	}
}

// configured is what a CNI configuration or list is about.
func configured(text string) (string, error) {
	type plugin struct{ Type, Mode, NodeENI, Master, Device string }
	var config struct {
		CNIVersion, Name string
		plugin
		Plugins []plugin
	}
	if err := json.Unmarshal([]byte(text), &config); err != nil {
		return "", err
	}
	if config.Plugins == nil {
		config.Plugins = []plugin{config.plugin}
	}
	first := config.Plugins[0]
	if config.CNIVersion == "" || config.Name == "" || first.Type == "" {
		return "", errors.New("cniVersion, name or type is missing")
	}
	if first.Type == "eni" && first.Mode == "claim" {
		return "NodeENI on demand " + first.NodeENI, nil
	}
	if first.Type == "eni" {
		return "NodeENI with pods " + first.NodeENI, nil
	}
	return "link " + first.Master + first.Device, nil
}

// The simulator takes the topology of its page.
func TestTopology(t *testing.T) {
	count := 0
	for _, p := range pages(t) {
		for _, b := range p.blocks {
			if b.lang != "yaml" || !strings.Contains(b.text, "\nsubnets:") {
				continue
			}
			count++
			file := filepath.Join(t.TempDir(), "topology.yaml")
			if err := os.WriteFile(file, []byte(b.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := sim.LoadTopology(file); err != nil {
				t.Errorf("%s:%d: %v", p.path, b.line, err)
			}
		}
	}
	if count == 0 {
		t.Error("no topology found")
	}
}

var nodeENIs = v1alpha1.GroupVersion.WithResource("nodeenis")

// What docs/migration.md says of objects of a former controller: its CRD is
// replaced, objects stay, fields that are not known go, and so does the finalizer.
func TestMigration(t *testing.T) {
	cp, ctx := start(t), t.Context()
	const formerFinalizer = "nodeeni.networking.k8s.aws/finalizer"
	if !strings.Contains(read(t, "docs/migration.md"), formerFinalizer) {
		t.Errorf("docs/migration.md does not name %s", formerFinalizer)
	}
	group := v1alpha1.GroupVersion
	if err := cp.Apply(ctx, crd("NodeENI", group.Group, group.Version, "nodeenis", "Cluster")); err != nil {
		t.Fatal(err)
	}
	client := controlplane.Client(t, cp.AdminConfig())
	create := func(name string, spec map[string]any) {
		object := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": group.String(), "kind": "NodeENI",
			"metadata": map[string]any{"name": name, "finalizers": []any{formerFinalizer}}, "spec": spec,
		}}
		created, err := client.Resource(nodeENIs).Create(ctx, object, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		attachment := map[string]any{"nodeID": "node-1", "instanceID": "i-0123456789abcdef0", "eniID": "eni-0123456789abcdef0", "status": "attached", "dpdkBound": true}
		created.Object["status"] = map[string]any{"attachments": []any{attachment}}
		if _, err := client.Resource(nodeENIs).UpdateStatus(ctx, created, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	dpdk := map[string]any{
		"nodeSelector": map[string]any{"ng": "multi-eni"}, "subnetID": "subnet-0f59b4f14737be9ad",
		"securityGroupIDs": []any{"sg-05da196f3314d4af8"}, "deviceIndex": int64(2),
		"enableDPDK": true, "dpdkDriver": "vfio-pci", "dpdkResourceName": "intel.com/sriov", "dpdkPCIAddress": "0000:00:06.0",
	}
	create("dpdk", dpdk)
	create("without-subnet", map[string]any{"nodeSelector": map[string]any{"ng": "multi-eni"}})

	if err := cp.ApplyFiles(ctx, filepath.Join(root, "manifests/crds/*.yaml")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"dpdk", "without-subnet"} {
		object, err := client.Resource(nodeENIs).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			t.Fatalf("after the CRD was replaced: %v", err)
		}
		if _, found, _ := unstructured.NestedString(object.Object, "spec", "dpdkDriver"); found {
			t.Errorf("%s: the field dpdkDriver is still shown", name)
		}
		// The coordinator's two ways to write.
		patched, err := client.Resource(nodeENIs).Patch(ctx, name, types.MergePatchType, []byte(`{"metadata":{"finalizers":["`+v1alpha1.CleanupFinalizer+`"]}}`), metav1.PatchOptions{})
		if err != nil {
			t.Fatalf("%s: the finalizer cannot be replaced: %v", name, err)
		}
		patched.Object["status"] = map[string]any{"nodes": map[string]any{"matching": int64(1), "ready": int64(0), "failed": int64(0)}}
		if _, err := client.Resource(nodeENIs).UpdateStatus(ctx, patched, metav1.UpdateOptions{}); err != nil {
			t.Errorf("%s: the status cannot be written: %v", name, err)
		}
	}
	migrateCommands(t, client.Resource(nodeENIs), dpdk)
}

// migrateCommands checks the patch that the page gives, and what becomes of a
// manifest with fields that are not known.
func migrateCommands(t *testing.T, client dynamic.ResourceInterface, dpdk map[string]any) {
	const noFinalizers = `{"metadata":{"finalizers":null}}`
	if !strings.Contains(read(t, "docs/migration.md"), `-p '`+noFinalizers+`'`) {
		t.Errorf("docs/migration.md does not have the patch %s", noFinalizers)
	}
	patched, err := client.Patch(t.Context(), "dpdk", types.MergePatchType, []byte(noFinalizers), metav1.PatchOptions{})
	if err != nil || len(patched.GetFinalizers()) > 0 {
		t.Errorf("finalizers %v, %v", patched.GetFinalizers(), err)
	}
	again := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(), "kind": "NodeENI", "metadata": map[string]any{"name": "again"}, "spec": dpdk,
	}}
	_, strict := client.Create(t.Context(), again, metav1.CreateOptions{FieldValidation: "Strict"})
	if strict == nil || !strings.Contains(strict.Error(), "unknown field") {
		t.Errorf("kubectl apply: %v", strict)
	}
	created, err := client.Create(t.Context(), again, metav1.CreateOptions{FieldValidation: "Warn"})
	if err != nil {
		t.Fatalf("kubectl apply --validate=warn: %v", err)
	}
	if _, found, _ := unstructured.NestedBool(created.Object, "spec", "enableDPDK"); found {
		t.Error("enableDPDK is stored")
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
