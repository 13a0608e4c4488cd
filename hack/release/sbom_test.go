package release

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
)

func TestSBOM(t *testing.T) {
	type component struct{ Name, Version string }
	for program, modules := range map[string][]string{
		"eni-agent":       {"github.com/vishvananda/netlink", "golang.org/x/crypto/x509roots/fallback"},
		"eni-coordinator": {"k8s.io/api", "golang.org/x/crypto/x509roots/fallback"},
		"eni-cni":         {"github.com/containernetworking/cni"},
		"eni-dra":         {"github.com/containerd/nri", "k8s.io/kubelet"},
		"kubectl-eni":     {"k8s.io/client-go", "k8s.io/component-helpers"},
	} {
		file := filepath.Join("sbom", program+"-linux-"+runtime.GOARCH+".cdx.json")
		content := read(t, filepath.Join(builds.here, file))
		if !bytes.Equal(content, read(t, filepath.Join(builds.elsewhere, file))) {
			t.Errorf("%s: another directory, without git, gives other bytes", program)
		}
		var sbom struct {
			Metadata   struct{ Component component }
			Components []component
		}
		if err := json.Unmarshal(content, &sbom); err != nil {
			t.Fatal(err)
		}
		if sbom.Metadata.Component.Version != version {
			t.Errorf("%s is of %s, want %s", program, sbom.Metadata.Component.Version, version)
		}
		for _, name := range append(modules, "std") {
			if !slices.ContainsFunc(sbom.Components, func(c component) bool { return c.Name == name && c.Version != "" }) {
				t.Errorf("%s: %s is missing among %d components", program, name, len(sbom.Components))
			}
		}
	}
}
