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

// The plugin is built for each system, with the licences that krew asks for, and krew's
// manifest has the checksums. It links the same modules everywhere, so that the licences
// and the bill of materials of one are those of all.
func TestKubectlPlugin(t *testing.T) {
	here := "linux-" + runtime.GOARCH
	platforms := []string{here, "darwin-arm64", "windows-amd64"}
	make := func(tree, bin string, platforms ...string) {
		t.Helper()
		_, err := run(tree, "make", "kubectl-plugin", "BIN="+bin, "VERSION="+version, "SOURCE_DATE_EPOCH=1700000000",
			"PLATFORMS="+strings.ReplaceAll(strings.Join(platforms, " "), "-", "/"))
		if err != nil {
			t.Fatal(err)
		}
	}
	make("../..", builds.here, platforms...)
	make(filepath.Join(filepath.Dir(builds.here), "tree"), builds.elsewhere, here)

	var manifest struct {
		Spec struct {
			Version   string
			Platforms []struct {
				Selector         struct{ MatchLabels map[string]string }
				URI, SHA256, Bin string
			}
		}
	}
	if err := yaml.Unmarshal(read(t, filepath.Join(builds.here, "kubectl", "krew-eni.yaml")), &manifest); err != nil {
		t.Fatal(err)
	}
	if manifest.Spec.Version != version || len(manifest.Spec.Platforms) != 5 {
		t.Errorf("krew's manifest has the version %s and %d platforms", manifest.Spec.Version, len(manifest.Spec.Platforms))
	}
	modules := map[string]string{}
	for _, name := range platforms {
		file := filepath.Join("kubectl", "kubectl-eni-"+name+".tar.gz")
		content := read(t, filepath.Join(builds.here, file))
		if name == here && !bytes.Equal(content, read(t, filepath.Join(builds.elsewhere, file))) {
			t.Errorf("%s: another directory, without git, gives other bytes", name)
		}
		files := archive(t, filepath.Join(builds.here, file))
		found := false
		for _, p := range manifest.Spec.Platforms {
			if p.Selector.MatchLabels["os"]+"-"+p.Selector.MatchLabels["arch"] != name {
				continue
			}
			found = true
			if p.SHA256 != fmt.Sprintf("%x", sha256.Sum256(content)) || !strings.HasSuffix(p.URI, "/"+version+"/"+filepath.Base(file)) {
				t.Errorf("krew's manifest has %+v for %s", p, name)
			}
			if len(files) != 3 || len(files[p.Bin]) == 0 || !bytes.Equal(files["LICENSE"], read(t, "../../LICENSE")) || !bytes.Contains(files["THIRD-PARTY-LICENSES"], []byte("k8s.io/client-go v")) {
				t.Errorf("%s has %d files", file, len(files))
			}
		}
		if !found {
			t.Errorf("krew's manifest does not have %s", name)
		}
		system, arch, _ := strings.Cut(name, "-")
		list, err := run("../..", "env", "GOOS="+system, "GOARCH="+arch, "CGO_ENABLED=0", "go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", "./cmd/kubectl-eni")
		if err != nil {
			t.Fatal(err)
		}
		all := map[string]bool{}
		for path := range strings.FieldsSeq(list) {
			all[path] = true
		}
		modules[name] = fmt.Sprint(all)
	}
	for name, all := range modules {
		if all != modules[here] {
			t.Errorf("%s links other modules than %s:\n%s\n%s", name, here, all, modules[here])
		}
	}
	out, err := run("../..", filepath.Join(builds.here, "kubectl", here, "kubectl-eni"), "version")
	if err != nil || out != version {
		t.Errorf("version: %q, %v", out, err)
	}
}
