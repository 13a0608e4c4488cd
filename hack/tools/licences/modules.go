package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/google/licensecheck"
)

// module is one that programs link, with what its authors ask for.
type module struct {
	path, version string
	direct        bool
	programs      []string          // that link it
	licences      []string          // SPDX identifiers
	texts         map[string]string // of licences and notices, by file within the module
}

// goModule is the part of Go itself that every program links.
const goModule = "Go's standard library"

// linked are the modules of the programs, sorted by path.
func linked(programs []string) ([]*module, error) {
	all := map[string]*module{}
	for _, program := range programs {
		if err := addStandardLibrary(all, program); err != nil {
			return nil, err
		}
		for _, arch := range []string{"amd64", "arm64"} {
			if err := addLinked(all, program, arch); err != nil {
				return nil, err
			}
		}
	}
	for _, m := range all {
		if m.licences = identify(m.texts); len(m.licences) == 0 {
			return nil, fmt.Errorf("no licence is known in the files %q of %s %s", slices.Sorted(maps.Keys(m.texts)), m.path, m.version)
		}
	}
	return slices.SortedFunc(maps.Values(all), func(a, b *module) int { return strings.Compare(a.path, b.path) }), nil
}

func goOutput(env []string, args ...string) ([]byte, error) {
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return nil, fmt.Errorf("%s: %w\n%s", cmd, err, exit.Stderr)
	}
	return out, err
}

func addStandardLibrary(all map[string]*module, program string) error {
	root, err := goOutput(nil, "env", "GOROOT")
	if err != nil {
		return err
	}
	m := find(all, goModule, "")
	m.direct = true
	return m.add(program, strings.TrimSpace(string(root)), strings.TrimSpace(string(root)))
}

func addLinked(all map[string]*module, program, arch string) error {
	out, err := goOutput([]string{"GOOS=linux", "GOARCH=" + arch, "CGO_ENABLED=0"}, "list", "-deps", "-json=ImportPath,Dir,Imports,Module", "./cmd/"+program)
	if err != nil {
		return err
	}
	packages, err := decode(out)
	if err != nil {
		return err
	}
	imported := map[string]bool{} // by our own packages
	for _, p := range packages {
		for _, path := range p.Imports {
			imported[path] = imported[path] || p.Module != nil && p.Module.Main
		}
	}
	for _, p := range packages {
		if p.Module == nil || p.Module.Main {
			continue
		}
		m := find(all, p.Module.Path, p.Module.Version)
		m.direct = m.direct || imported[p.ImportPath]
		if err := m.add(program, p.Dir, p.Module.Dir); err != nil {
			return err
		}
	}
	return nil
}

// listed is a package as go list shows it.
type listed struct {
	ImportPath, Dir string
	Imports         []string
	Module          *struct {
		Path, Version, Dir string
		Main               bool
	}
}

func decode(out []byte) (all []listed, err error) {
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
}

func find(all map[string]*module, path, version string) *module {
	if all[path] == nil {
		all[path] = &module{path: path, version: version, texts: map[string]string{}}
	}
	return all[path]
}

// legal are the names of files in which authors say what they ask for.
var legal = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|patents)([.-].*)?$`)

// add takes in a package: the files beside it, and those above it up to its
// module's root. Code that a module has from elsewhere has its licence beside it.
func (m *module) add(program, dir, root string) error {
	if !slices.Contains(m.programs, program) {
		m.programs = append(m.programs, program)
	}
	for ; ; dir = filepath.Dir(dir) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.IsDir() || !legal.MatchString(e.Name()) || strings.HasSuffix(e.Name(), ".go") {
				continue
			}
			text, err := os.ReadFile(filepath.Join(dir, e.Name()))
			if err != nil {
				return err
			}
			name, err := filepath.Rel(root, filepath.Join(dir, e.Name()))
			if err != nil {
				return err
			}
			m.texts[name] = strings.TrimSpace(strings.ReplaceAll(string(text), "\r\n", "\n"))
		}
		if dir == root || len(dir) <= len(root) {
			return nil
		}
	}
}

// identify names the licences in the texts.
func identify(texts map[string]string) []string {
	found := map[string]bool{}
	for _, text := range texts {
		for _, match := range licensecheck.Scan([]byte(text)).Match {
			if !match.IsURL && match.ID != "GooglePatentsFile" { // which grants, and asks for nothing
				found[match.ID] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}
