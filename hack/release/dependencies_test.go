package release

import (
	"debug/buildinfo"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// What may be linked: licences that ask for no more than their text, and one that
// asks for the source of its own files.
var allowedLicences = []string{"Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MPL-2.0"}

// A module more needs a reason, and a line here and in docs/architecture.md.
var mostModules = map[string]int{"eni-agent": 62, "eni-coordinator": 71, "eni-cni": 9, "eni-dra": 29, "kubectl-eni": 32}

// dependency is a row of docs/dependencies.md.
type dependency struct {
	version, licences string
	direct            bool
}

func dependencies(t *testing.T) map[string]dependency {
	t.Helper()
	all := map[string]dependency{}
	for line := range strings.Lines(string(read(t, "../../docs/dependencies.md"))) {
		cells := strings.Split(line, "|")
		if len(cells) < 6 || strings.HasPrefix(cells[1], "---") || strings.TrimSpace(cells[1]) == "module" {
			continue
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		all[cells[1]] = dependency{version: cells[2], licences: cells[3], direct: cells[4] == "directly"}
	}
	return all
}

// What is in the programs is what docs/dependencies.md says, with licences that
// are agreed, and no more than is justified.
func TestDependencies(t *testing.T) {
	known := dependencies(t)
	for name, most := range mostModules {
		info, err := buildinfo.ReadFile(filepath.Join(builds.here, "linux-"+runtime.GOARCH, name))
		if err != nil {
			t.Fatal(err)
		}
		if n := len(info.Deps); n > most {
			t.Errorf("%s links %d modules, agreed are %d", name, n, most)
		}
		for _, m := range info.Deps {
			if known[m.Path].version != m.Version {
				t.Errorf("%s links %s %s, docs/dependencies.md has %q: run 'make licences'", name, m.Path, m.Version, known[m.Path].version)
			}
		}
	}
	for path, d := range known {
		for licence := range strings.SplitSeq(d.licences, ", ") {
			if !slices.Contains(allowedLicences, licence) {
				t.Errorf("%s has the licence %q, agreed are %q", path, licence, allowedLicences)
			}
		}
	}
}

// docs/architecture.md says of each module that is used directly what it is for.
func TestDependenciesAreJustified(t *testing.T) {
	_, chapter, _ := strings.Cut(string(read(t, "../../docs/architecture.md")), "\n## Dependencies\n")
	chapter, _, _ = strings.Cut(chapter, "\n## ")
	named := map[string]bool{}
	for _, row := range regexp.MustCompile(`(?m)^\| (\S+/.*?) \|`).FindAllStringSubmatch(chapter, -1) {
		for path := range strings.SplitSeq(row[1], ", ") {
			named[path] = true
		}
	}
	for path, d := range dependencies(t) {
		if d.direct != named[path] && strings.Contains(path, "/") {
			t.Errorf("%s is used directly: %v, and said what for: %v", path, d.direct, named[path])
		}
		delete(named, path)
	}
	for path := range named {
		t.Errorf("%s is not linked", path)
	}
}

// The licences of what is linked come with the programs.
func TestLicencesComeWithThePrograms(t *testing.T) {
	for name, module := range map[string]string{"eni-agent": "k8s.io/client-go v", "eni-coordinator": "k8s.io/client-go v", "eni-cni": "github.com/containernetworking/cni v", "eni-dra": "github.com/containerd/nri v", "kubectl-eni": "k8s.io/client-go v"} {
		text := string(read(t, filepath.Join(builds.here, "linux-"+runtime.GOARCH, name+".THIRD-PARTY-LICENSES")))
		if elsewhere := read(t, filepath.Join(builds.elsewhere, "linux-"+runtime.GOARCH, name+".THIRD-PARTY-LICENSES")); text != string(elsewhere) {
			t.Error("another directory gives other texts")
		}
		for _, want := range []string{"Apache License", "The Go Authors", module, "NOTICE", "Permission is hereby granted"} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: nothing of %q", name, want)
			}
		}
	}
	file := string(read(t, "../../Dockerfile"))
	if n := strings.Count(file, "THIRD-PARTY-LICENSES /licenses/"); n != len(mostModules)-1 { // the kubectl plugin is in none
		t.Errorf("the licences of %d programs of %d are in images", n, len(mostModules)-1)
	}
}
