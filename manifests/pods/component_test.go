// Package pods tests the optional component on a real API server.
package pods

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

var installed = testbed.NewComponent("pods", "--admission-control-config-file="+absolute("../testdata/admission.yaml"))

func absolute(path string) string {
	path, err := filepath.Abs(path)
	if err != nil {
		panic(err)
	}
	return path
}

func TestMain(m *testing.M) { installed.Main(m) }

// TestPodSecurity: beside what agents need anyway, only directories of the host are what
// the level baseline would refuse.
func TestPodSecurity(t *testing.T) {
	installed.CheckPodSecurity(t, `violates PodSecurity "baseline:latest": non-default capabilities (container "eni-agent" must not include "NET_ADMIN" in securityContext.capabilities.add), `+
		`host namespaces (hostNetwork=true), hostPath volumes (volumes "cni-bin", "pod-networks", "pod-attachments", "netns"), hostPort (container "eni-agent" uses hostPort 9480)`)
}

// TestImages: the plugin is that of the agent's release.
func TestImages(t *testing.T) {
	containers, initContainers := installed.Containers(t, "containers"), installed.Containers(t, "initContainers")
	if len(containers) != 1 || len(initContainers) != 1 {
		t.Fatalf("%d containers, %d initContainers", len(containers), len(initContainers))
	}
	if agent, plugin := containers[0]["image"].(string), initContainers[0]["image"]; agent != plugin || !strings.Contains(agent, ":v") {
		t.Errorf("the agent is of %s, the plugin of %s", agent, plugin)
	}
}
