package release

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// archive are the files of an archive of the kubectl plugin, by name.
func archive(t *testing.T, file string) map[string][]byte {
	t.Helper()
	zip, err := gzip.NewReader(bytes.NewReader(read(t, file)))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for r := tar.NewReader(zip); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[header.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
		if program := strings.HasPrefix(header.Name, "kubectl-eni"); program != (header.Mode&0o111 != 0) {
			t.Errorf("%s has the mode %o", header.Name, header.Mode)
		}
	}
}

// krewManifest is what krew reads.
type krewManifest struct {
	Spec struct {
		Version   string
		Platforms []krewPlatform
	}
}

type krewPlatform struct {
	Selector         struct{ MatchLabels map[string]string }
	URI, SHA256, Bin string
}

func (p krewPlatform) name() string {
	return p.Selector.MatchLabels["os"] + "-" + p.Selector.MatchLabels["arch"]
}

// The plugin is built for each system, with the licences that krew asks for, and krew's
// manifest has the checksums. It links the same modules everywhere, so that the licences
// and the bill of materials of one are those of all.
func TestKubectlPlugin(t *testing.T) {
	here := "linux-" + runtime.GOARCH
	platforms := []string{here, "darwin-arm64", "windows-amd64"}
	buildPlugin(t, "../..", builds.here, platforms...)
	buildPlugin(t, filepath.Join(filepath.Dir(builds.here), "tree"), builds.elsewhere, here)
	file := filepath.Join("kubectl", "kubectl-eni-"+here+".tar.gz")
	if !bytes.Equal(read(t, filepath.Join(builds.here, file)), read(t, filepath.Join(builds.elsewhere, file))) {
		t.Error("another directory, without git, gives other bytes")
	}
	var manifest krewManifest
	if err := yaml.Unmarshal(read(t, filepath.Join(builds.here, "kubectl", "krew-eni.yaml")), &manifest); err != nil {
		t.Fatal(err)
	}
	if manifest.Spec.Version != version || len(manifest.Spec.Platforms) != 5 {
		t.Errorf("krew's manifest has the version %s and %d platforms", manifest.Spec.Version, len(manifest.Spec.Platforms))
	}
	checked := 0
	for _, p := range manifest.Spec.Platforms {
		if slices.Contains(platforms, p.name()) {
			checked++
			checkArchive(t, p)
		}
		if got, want := linkedFor(t, p.name()), linkedFor(t, here); got != want {
			t.Errorf("%s links other modules than %s:\n%s\n%s", p.name(), here, got, want)
		}
	}
	if checked != len(platforms) {
		t.Errorf("krew's manifest has only %d of the platforms %q", checked, platforms)
	}
	out, err := run("../..", filepath.Join(builds.here, "kubectl", here, "kubectl-eni"), "version")
	if err != nil || out != version {
		t.Errorf("version: %q, %v", out, err)
	}
}

func buildPlugin(t *testing.T, tree, bin string, platforms ...string) {
	t.Helper()
	_, err := run(tree, "make", "kubectl-plugin", "BIN="+bin, "VERSION="+version, "SOURCE_DATE_EPOCH=1700000000",
		"PLATFORMS="+strings.ReplaceAll(strings.Join(platforms, " "), "-", "/"))
	if err != nil {
		t.Fatal(err)
	}
}

// checkArchive compares an archive with krew's manifest.
func checkArchive(t *testing.T, p krewPlatform) {
	t.Helper()
	file := filepath.Join(builds.here, "kubectl", "kubectl-eni-"+p.name()+".tar.gz")
	if sum := sha256.Sum256(read(t, file)); p.SHA256 != fmt.Sprintf("%x", sum) || !strings.HasSuffix(p.URI, "/"+version+"/"+filepath.Base(file)) {
		t.Errorf("krew's manifest has %+v, and %s has %x", p, file, sum)
	}
	files := archive(t, file)
	if len(files) != 3 || len(files[p.Bin]) == 0 || !bytes.Equal(files["LICENSE"], read(t, "../../LICENSE")) || !bytes.Contains(files["THIRD-PARTY-LICENSES"], []byte("k8s.io/client-go v")) {
		t.Errorf("%s has %d files, and not %s with the licences", file, len(files), p.Bin)
	}
}

// linkedFor are the modules that the plugin links on a platform.
func linkedFor(t *testing.T, platform string) string {
	t.Helper()
	system, arch, _ := strings.Cut(platform, "-")
	list, err := run("../..", "env", "GOOS="+system, "GOARCH="+arch, "CGO_ENABLED=0", "go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", "./cmd/kubectl-eni")
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Fields(list)
	slices.Sort(all)
	return strings.Join(slices.Compact(all), " ")
}
