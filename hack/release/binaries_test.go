package release

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/aws-multi-eni/aws-multi-eni/agent/cniplugin"
	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/budget"
)

// Each program is nearly all of its image, but for the plugins, which come with the agent.
func TestBinaries(t *testing.T) {
	for name, b := range map[string]budget.Program{"eni-agent": budget.Agent, "eni-coordinator": budget.Coordinator, "eni-cni": budget.Plugin, "eni-dra": budget.DRA} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join("linux-"+runtime.GOARCH, name)
			program := read(t, filepath.Join(builds.here, file))
			if !bytes.Equal(program, read(t, filepath.Join(builds.elsewhere, file))) {
				t.Error("another directory, without git, gives other bytes")
			}
			image, err := budget.ImageSize(name, program)
			if err != nil {
				t.Fatal(err)
			}
			for what, size := range map[string]struct{ is, most float64 }{
				"program":          {float64(len(program)), b.Binary},
				"compressed layer": {image, b.Image},
			} {
				t.Logf("%s: %.2f MB", what, size.is/budget.MB)
				if size.is > size.most {
					t.Errorf("the %s has %.2f MB, its budget is %.1f MB; see hack/bench/budget", what, size.is/budget.MB, size.most/budget.MB)
				}
			}
			out, err := exec.Command(filepath.Join(builds.here, file), "version").Output()
			is := strings.TrimSpace(string(out))
			if name == "eni-cni" { // a CNI plugin takes no arguments
				is, err = cniplugin.Ask(t.Context(), filepath.Join(builds.here, file))
			}
			if err != nil || is != version {
				t.Errorf("version: %q, %v; want %s", is, err, version)
			}
		})
	}
}
