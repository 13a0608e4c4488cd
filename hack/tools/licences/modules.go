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
	programs      map[string]bool   // that link it
	licences      []string          // SPDX identifiers
	texts         map[string]string // of licences and notices, by file within the module
}

// listed is a package as go list shows it.
type listed struct {
	ImportPath, Dir, Root string
	Standard              bool
	Imports               []string
	Module                struct {
		Path, Version, Dir string
		Main               bool
	}
}

// linked are the modules of the programs, sorted by path.
func linked(programs []string) ([]*module, error) {
	all := map[string]*module{}
	for _, program := range programs {
		for _, arch := range []string{"amd64", "arm64"} {
			packages, err := list(program, arch)
			if err == nil {
				err = addLinked(all, program, packages)
			}
			if err != nil {
				return nil, err
			}
		}
	}
	for _, m := range all {
		if m.licences = identify(m.texts); len(m.licences) == 0 {
			return nil, fmt.Errorf("no license is known in the files %q of %s %s", slices.Sorted(maps.Keys(m.texts)), m.path, m.version)
		}
	}
	return slices.SortedFunc(maps.Values(all), func(a, b *module) int { return strings.Compare(a.path, b.path) }), nil
}

// list lists the packages of a program.
func list(program, arch string) (packages []listed, err error) {
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Dir,Root,Standard,Imports,Module", "./cmd/"+program)
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+arch, "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", cmd, err)
	}
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return packages, nil
		} else if err != nil {
			return nil, err
		}
		packages = append(packages, p)
	}
}

func addLinked(all map[string]*module, program string, packages []listed) error {
	imported := map[string]bool{} // by our own packages
	for _, p := range packages {
		for _, path := range p.Imports {
			imported[path] = imported[path] || p.Module.Main
		}
	}
	for _, p := range packages {
		path, root := p.Module.Path, p.Module.Dir
		switch {
		case p.Module.Main:
			continue
		case p.Standard: // as a whole
			path, root, p.Dir = "Go's standard library", p.Root, p.Root
		}
		m := all[path]
		if m == nil {
			m = &module{path: path, version: p.Module.Version, programs: map[string]bool{}, texts: map[string]string{}}
			all[path] = m
		}
		m.direct = m.direct || imported[p.ImportPath]
		m.programs[program] = true
		if err := m.read(p.Dir, root); err != nil {
			return err
		}
	}
	return nil
}

// legal are the names of files in which authors say what they ask for.
var legal = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|patents)([.-].*)?$`)

// read reads what is beside a package, and above it up to its module's root. Code that
// a module has from elsewhere has its licence beside it.
func (m *module) read(dir, root string) error {
	for ; ; dir = filepath.Dir(dir) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.IsDir() || !legal.MatchString(e.Name()) || strings.HasSuffix(e.Name(), ".go") {
				continue
			}
			file := filepath.Join(dir, e.Name())
			text, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			m.texts[strings.TrimPrefix(file, root+"/")] = strings.TrimSpace(strings.ReplaceAll(string(text), "\r\n", "\n"))
		}
		if len(dir) <= len(root) {
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
