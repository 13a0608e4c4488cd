package release

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

const version = "v0.0.0-test"

// Megabytes, as container registries count them.
const mb = 1e6

// buildah compresses a layer in blocks that do not know each other, which makes
// it this much larger than gzip does.
const blocks = 1.04

// TestBinaries builds what is released twice, in two directories, and holds it to
// its size. Each program is nearly all of its image.
func TestBinaries(t *testing.T) {
	budgets := map[string]struct{ binary, image float64 }{
		"eni-agent":       {binary: 22 * mb, image: 8.5 * mb},
		"eni-coordinator": {image: 11 * mb},
	}
	here := root(t)
	elsewhere := copyTree(t, here)
	first, second := binaries(t, here), binaries(t, elsewhere)
	for name, budget := range budgets {
		t.Run(name, func(t *testing.T) {
			program := read(t, filepath.Join(first, name))
			if !bytes.Equal(program, read(t, filepath.Join(second, name))) {
				t.Error("another directory, without git, gives other bytes")
			}
			binary, image := float64(len(program)), blocks*compressed(t, program)
			t.Logf("%.1f MB, %.1f MB compressed", binary/mb, image/mb)
			if budget.binary > 0 && binary > budget.binary {
				t.Errorf("the program has %.1f MB, its budget is %.1f MB", binary/mb, budget.binary/mb)
			}
			if image > budget.image {
				t.Errorf("the compressed image has %.2f MB, its budget is %.1f MB", image/mb, budget.image/mb)
			}
			out, err := exec.Command(filepath.Join(first, name), "version").Output()
			if err != nil || strings.TrimSpace(string(out)) != version {
				t.Errorf("version: %q, %v; want %s", out, err, version)
			}
		})
	}
}

// binaries runs `make binaries` for this machine in dir and returns where they are.
func binaries(t *testing.T, dir string) string {
	t.Helper()
	bin := t.TempDir()
	run(t, dir, "make", "binaries", "BIN="+bin, "ARCH="+runtime.GOARCH, "VERSION="+version)
	return filepath.Join(bin, "linux-"+runtime.GOARCH)
}

// run runs a command as from a shell: without what `make test` hands on.
func run(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	for _, kv := range os.Environ() {
		if key, _, _ := strings.Cut(kv, "="); key != "VERSION" && !strings.HasPrefix(key, "MAKE") && key != "MFLAGS" {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return string(out)
}

func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// copyTree copies the tree without what git and make keep in it.
func copyTree(t *testing.T, from string) string {
	t.Helper()
	to := t.TempDir()
	entries, err := os.ReadDir(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		name := entry.Name()
		switch {
		case name == ".git" || name == "bin":
		case entry.IsDir():
			err = os.CopyFS(filepath.Join(to, name), os.DirFS(filepath.Join(from, name)))
		default:
			err = os.WriteFile(filepath.Join(to, name), read(t, filepath.Join(from, name)), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return to
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func compressed(t *testing.T, content []byte) float64 {
	t.Helper()
	var n counter
	w := gzip.NewWriter(&n)
	if _, err := io.Copy(w, bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return float64(n)
}

type counter int

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}
