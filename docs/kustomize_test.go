package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

var remoteBase = regexp.MustCompile(`https://github\.com/aws-multi-eni/aws-multi-eni//([\w/-]+)\?ref=v[0-9.]+`)

// What kustomize makes of an overlay in the pages is accepted by an API server. What
// the overlay names of the release comes from this tree, and a file of the user's own
// from the samples.
func TestOverlays(t *testing.T) {
	if err := testbed.ReadTree("../manifests", ".yaml"); err != nil {
		t.Fatal(err)
	}
	sample := read(t, "manifests/samples/data.yaml")
	tree, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	cp := start(t)
	count := 0
	for _, p := range pages(t) {
		for _, m := range p.manifests() {
			if !strings.Contains(m.text, "kind: Kustomization\n") {
				continue
			}
			count++
			dir := t.TempDir()
			here, err := filepath.Rel(dir, tree)
			if err != nil {
				t.Fatal(err)
			}
			overlay := remoteBase.ReplaceAllString(m.text, filepath.ToSlash(here)+"/$1")
			write(t, filepath.Join(dir, "kustomization.yaml"), overlay)
			write(t, filepath.Join(dir, "nodeenis.yaml"), sample)
			out, err := testbed.Kustomize(dir)
			if err != nil {
				t.Errorf("%s:%d: %v", p.path, m.line, err)
				continue
			}
			if err := cp.Apply(t.Context(), out); err != nil {
				t.Errorf("%s:%d: %v", p.path, m.line, err)
			}
		}
	}
	if count == 0 {
		t.Error("no overlay found")
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
