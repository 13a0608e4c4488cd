// Package release tests what is released, and how: sizes, reproducibility, the
// contents of packages, version numbers, workflows.
package release

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

const version = "v0.1.0-rc.1"

// builds are two builds of what is released for this machine: one of this tree, one of a
// copy elsewhere that git knows nothing of, whose files are older and which a careful
// administrator builds (umask 077). What takes longer is left to make verify-reproducible:
// the programs for macOS, images, and an empty build cache.
var builds struct{ here, elsewhere string }

func TestMain(m *testing.M) {
	os.Exit(func() int {
		temp, err := os.MkdirTemp("", "release")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(temp)
		if err := build(temp); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

func build(temp string) error {
	here, err := filepath.Abs("../..")
	if err != nil {
		return err
	}
	elsewhere := filepath.Join(temp, "tree")
	if err := copyTree(elsewhere, here); err != nil {
		return err
	}
	builds.here, builds.elsewhere = filepath.Join(temp, "1"), filepath.Join(temp, "2")
	for _, b := range []struct{ tree, bin, umask string }{{here, builds.here, "022"}, {elsewhere, builds.elsewhere, "077"}} {
		_, err := run(b.tree, "sh", "-c", "umask "+b.umask+" && exec make release-files SYSTEMS=linux BIN="+b.bin+" ARCH="+runtime.GOARCH+" VERSION="+version+" SOURCE_DATE_EPOCH=1700000000")
		if err != nil {
			return err
		}
	}
	return nil
}

// copyTree copies the tree without what git and make keep in it.
func copyTree(to, from string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name := entry.Name()
		if name == ".git" || name == "bin" {
			continue
		}
		if entry.IsDir() {
			if err := os.CopyFS(filepath.Join(to, name), os.DirFS(filepath.Join(from, name))); err != nil {
				return err
			}
			continue
		}
		content, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, name), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// run runs a command as from a shell: without what `make test` hands on.
func run(dir, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	for _, kv := range os.Environ() {
		if key, _, _ := strings.Cut(kv, "="); key != "VERSION" && !strings.HasPrefix(key, "MAKE") && key != "MFLAGS" {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return content
}
