// Package helm tests the chart: what it renders, and what becomes of it on a real
// API server with real agents and coordinators.
package helm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

const (
	chart     = "aws-multi-eni"
	release   = "eni"
	namespace = testbed.Namespace
)

// The tools under their names in the environment: a process that had to elevate
// itself finds no modules, because its network is its own.
const (
	helmEnv      = "TEST_HELM"
	kustomizeEnv = "TEST_KUSTOMIZE"
)

// programs is the directory of eni-agent and eni-coordinator.
var programs string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	err := errors.Join(findTool("helm", helmEnv), findTool("kustomize", kustomizeEnv))
	if err == nil {
		err = netns.Elevate(netns.Elevation{PrivateNetwork: true})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if programs, err = os.MkdirTemp("", "aws-multi-eni-helm-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(programs)
	if err := testbed.Build(context.Background(), programs, false); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// findTool builds a tool of hack/tools unless Go has it in its cache.
func findTool(name, env string) error {
	if os.Getenv(env) != "" {
		return nil
	}
	cmd := exec.Command("go", "tool", "-n", "-modfile=../../hack/tools/"+name+"/go.mod", name)
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return fmt.Errorf("%s: %w\n%s", cmd, err, exit.Stderr)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", cmd, err)
	}
	return os.Setenv(env, strings.TrimSpace(string(out)))
}

// readSources lets go test hear of what helm and kustomize read.
var readSources = sync.OnceValue(func() error {
	return errors.Join(testbed.ReadTree(".", ""), testbed.ReadTree("../../manifests", ".yaml"), testbed.ReadTree("../../hack/release", ".sh"))
})

// helmCommand is helm with files of its own in dir, and no cluster but that of the
// kubeconfig there, if any.
func helmCommand(ctx context.Context, dir string, args ...string) *exec.Cmd {
	if err := readSources(); err != nil {
		panic(err) // the sources were there when this was built
	}
	cmd := exec.CommandContext(ctx, os.Getenv(helmEnv), args...)
	cmd.Env = append(os.Environ(),
		"HELM_CACHE_HOME="+filepath.Join(dir, "cache"), "HELM_CONFIG_HOME="+filepath.Join(dir, "config"),
		"HELM_DATA_HOME="+filepath.Join(dir, "data"), "KUBECONFIG="+filepath.Join(dir, "kubeconfig"))
	return cmd
}

// render is helm template; an error is what helm says to the user.
func render(t *testing.T, args ...string) ([]*unstructured.Unstructured, error) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := helmCommand(t.Context(), t.TempDir(), append([]string{"template", release, chart, "--namespace", namespace}, args...)...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, errors.New(stderr.String())
	}
	return decode(t, stdout.Bytes()), nil
}

func mustRender(t *testing.T, args ...string) []*unstructured.Unstructured {
	t.Helper()
	objects, err := render(t, args...)
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

func decode(t *testing.T, documents []byte) []*unstructured.Unstructured {
	t.Helper()
	var all []*unstructured.Unstructured
	for decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(documents), 4096); ; {
		obj := new(unstructured.Unstructured)
		if err := decoder.Decode(obj); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		if len(obj.Object) > 0 {
			all = append(all, obj)
		}
	}
}

// key names an object.
func key(obj *unstructured.Unstructured) string {
	return strings.TrimPrefix(obj.GetNamespace()+"/"+obj.GetName(), "/") + " " + obj.GetKind()
}

func byKey(objects []*unstructured.Unstructured) map[string]*unstructured.Unstructured {
	all := map[string]*unstructured.Unstructured{}
	for _, obj := range objects {
		all[key(obj)] = obj
	}
	return all
}

// isHook says whether the object exists for a moment in a release's life only.
func isHook(obj *unstructured.Unstructured) bool {
	return obj.GetAnnotations()["helm.sh/hook"] != ""
}
