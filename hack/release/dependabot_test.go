package release

import (
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// notUpdated are the modules that stay as they are: the oldest kube-apiserver that is
// supported must not become a newer one.
var notUpdated = []string{"/hack/controlplane/kube-apiserver-oldest"}

// Every Go module, the actions, and the Dockerfile get updates.
func TestDependabot(t *testing.T) {
	var config struct {
		Updates []struct {
			Ecosystem   string `json:"package-ecosystem"`
			Directory   string
			Directories []string
			Groups      map[string]struct{ Patterns []string }
		}
	}
	if err := yaml.Unmarshal(read(t, "../../.github/dependabot.yml"), &config); err != nil {
		t.Fatal(err)
	}
	updated := map[string][]string{}
	for _, u := range config.Updates {
		updated[u.Ecosystem] = append(updated[u.Ecosystem], u.Directories...)
		if u.Directory != "" {
			updated[u.Ecosystem] = append(updated[u.Ecosystem], u.Directory)
		}
		if u.Ecosystem != "docker" && len(u.Groups) == 0 {
			t.Errorf("%s %s%v is not grouped", u.Ecosystem, u.Directory, u.Directories)
		}
	}
	for _, ecosystem := range []string{"github-actions", "docker"} {
		if !slices.Equal(updated[ecosystem], []string{"/"}) {
			t.Errorf("%s: %v, want /", ecosystem, updated[ecosystem])
		}
	}
	want := modules(t)
	slices.Sort(updated["gomod"])
	if got := updated["gomod"]; !slices.Equal(got, want) {
		t.Errorf("gomod: %v, want %v", got, want)
	}
}

// modules are the directories of the tree's modules, from its root, but for notUpdated.
func modules(t *testing.T) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == "go.mod" {
			if dir := "/" + strings.Trim(strings.TrimPrefix(filepath.Dir(path), "../.."), "/"); !slices.Contains(notUpdated, dir) {
				all = append(all, dir)
			}
		}
		return err
	})
	if err != nil || len(all) < 2 {
		t.Fatalf("modules: %v, %v", all, err)
	}
	slices.Sort(all)
	return all
}
