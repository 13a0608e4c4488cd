package release

import (
	"bytes"
	"compress/gzip"
	"io"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// Megabytes, as container registries count them.
const mb = 1e6

// Each program is nearly all of its image.
func TestBinaries(t *testing.T) {
	budgets := map[string]struct{ binary, image float64 }{
		"eni-agent":       {binary: 22 * mb, image: 8.5 * mb},
		"eni-coordinator": {image: 11 * mb},
	}
	for name, budget := range budgets {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join("linux-"+runtime.GOARCH, name)
			program := read(t, filepath.Join(builds.here, file))
			if !bytes.Equal(program, read(t, filepath.Join(builds.elsewhere, file))) {
				t.Error("another directory, without git, gives other bytes")
			}
			binary, image := float64(len(program)), compressed(t, program)
			t.Logf("%.1f MB, %.1f MB compressed", binary/mb, image/mb)
			if budget.binary > 0 && binary > budget.binary {
				t.Errorf("the program has %.1f MB, its budget is %.1f MB", binary/mb, budget.binary/mb)
			}
			if image > budget.image {
				t.Errorf("the compressed image has %.2f MB, its budget is %.1f MB", image/mb, budget.image/mb)
			}
			out, err := exec.Command(filepath.Join(builds.here, file), "version").Output()
			if err != nil || strings.TrimSpace(string(out)) != version {
				t.Errorf("version: %q, %v; want %s", out, err, version)
			}
		})
	}
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
