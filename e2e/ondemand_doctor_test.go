package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/aws-multi-eni/aws-multi-eni/agent/doctor"
	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

// The doctor checks what ENIs on demand need, with the rights of an agent.
func TestDoctorOnDemand(t *testing.T) {
	t.Parallel()
	needsScheduler(t) // that is, an API server with ENIs on demand
	const node = "node-1"
	c := newCluster(t, 1, nil)
	kubeconfig, err := c.AgentKubeconfig(t.Context(), node, "doctor")
	c.must(err)
	host := t.TempDir()
	flags := []string{"--node-name", node, "--kubeconfig", kubeconfig, "--host-root", host}
	c.must(c.Apply(t.Context(), appliance("appliance", "")))
	c.must(c.Label(t.Context(), node, "ng", "multi-eni"))

	c.run("nothing is prepared", func(*testing.T) {
		found := c.examine(node, 1, flags...)
		c.expect(found, "ResourceSlices", doctor.Failure, "cannot offer ENIs to pods", "is forbidden", "manifests/on-demand")
		c.expect(found, "permissions for claims", doctor.Failure, "list pods, watch pods, get resourceclaims", "associated-node:patch resourceclaims/driver", "delete resourceslices")
		c.expect(found, "kubelet and eni-dra", doctor.Skipped, "not visible")
		c.expect(found, "NRI", doctor.Skipped, "not visible")
	})
	c.must(testbed.InstallOnDemand(t.Context(), c.ControlPlane))
	for _, file := range []string{
		"etc/os-release", "run/nri/nri.sock", "var/lib/kubelet/plugins/eni.networking.k8s.aws/dra.sock", "var/lib/kubelet/plugins_registry/eni.networking.k8s.aws-reg.sock",
	} {
		c.must(os.MkdirAll(filepath.Join(host, filepath.Dir(file)), 0o755))
		c.must(os.WriteFile(filepath.Join(host, file), nil, 0o600))
	}
	c.run("all is well", func(*testing.T) {
		found := c.examine(node, 0, flags...)
		c.expect(found, "ENIs on demand", doctor.OK, "NodeENI appliance in "+c.subnet("data", node)+" on network card 0: room for 3 ENIs")
		c.expect(found, "free addresses", doctor.OK, c.subnet("data", node))
		c.expect(found, "ResourceSlices", doctor.OK)
		c.expect(found, "permissions for claims", doctor.OK)
		c.expect(found, "DeviceClass", doctor.Skipped, "kubectl get deviceclass")
		c.expect(found, "eni-dra", doctor.Skipped, "no agent runs as a pod")
		c.expect(found, "kubelet and eni-dra", doctor.OK)
		c.expect(found, "NRI", doctor.OK)
	})
}
