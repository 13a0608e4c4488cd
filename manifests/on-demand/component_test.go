// Package ondemand tests the optional component on a real API server.
package ondemand

import (
	"reflect"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

var installed = testbed.NewComponent("on-demand")

func TestMain(m *testing.M) { installed.Main(m) }

// TestPodSecurity: beside what agents need anyway, the DRA plugin needs SYS_ADMIN, a port,
// and directories of the host.
func TestPodSecurity(t *testing.T) {
	installed.CheckPodSecurity(t, `violates PodSecurity "baseline:latest": non-default capabilities (containers "eni-agent", "eni-dra" must not include "NET_ADMIN", "SYS_ADMIN" in securityContext.capabilities.add), `+
		`host namespaces (hostNetwork=true), `+
		`hostPath volumes (volumes "claim-networks", "claim-attachments", "netns", "nri", "kubelet-plugin", "kubelet-registry", "sysctl-net"), `+
		`hostPort (containers "eni-agent", "eni-dra" use hostPorts 9480, 9481)`)
}

// TestImages: the DRA plugin is that of the agent's release, and in its image.
func TestImages(t *testing.T) {
	containers := installed.Containers(t, "containers")
	if len(containers) != 2 {
		t.Fatalf("%d containers", len(containers))
	}
	agent, plugin := containers[0], containers[1]
	if agent["name"] != "eni-agent" || plugin["name"] != "eni-dra" || agent["image"] != plugin["image"] {
		t.Errorf("the agent is %s of %s, the plugin %s of %s", agent["name"], agent["image"], plugin["name"], plugin["image"])
	}
}

// TestPluginRights: the DRA plugin has the rights that docs/security.md lists, and no others.
func TestPluginRights(t *testing.T) {
	pod := installed.AgentPod(t)
	plugin := installed.Containers(t, "containers")[1]
	want := map[string]any{
		"runAsUser": int64(0), "runAsGroup": int64(0), "allowPrivilegeEscalation": false, "privileged": false, "readOnlyRootFilesystem": true,
		"capabilities": map[string]any{"drop": []any{"ALL"}, "add": []any{"NET_ADMIN", "SYS_ADMIN"}},
	}
	if got := plugin["securityContext"]; !reflect.DeepEqual(got, want) {
		t.Errorf("the securityContext is %v, want %v", got, want)
	}
	if profile, _, _ := unstructured.NestedString(pod.Object, "spec", "securityContext", "seccompProfile", "type"); profile != "RuntimeDefault" {
		t.Errorf("the seccomp profile is %q", profile)
	}
	for _, field := range []string{"hostPID", "hostIPC", "shareProcessNamespace"} {
		if _, ok, _ := unstructured.NestedBool(pod.Object, "spec", field); ok {
			t.Errorf("the pod has %s", field)
		}
	}
	mounts := map[string]bool{} // whether they are read-only
	for _, m := range plugin["volumeMounts"].([]any) {
		mount := m.(map[string]any)
		mounts[mount["mountPath"].(string)] = mount["readOnly"] == true
	}
	if want := map[string]bool{
		"/run/eni-agent/claims": true, "/var/lib/eni-agent/claims": false, "/run/netns": true, "/var/run/netns": true, "/var/run/nri": false,
		"/var/lib/kubelet/plugins/eni.networking.k8s.aws": false, "/var/lib/kubelet/plugins_registry": false, "/host/proc/sys/net": false,
	}; !reflect.DeepEqual(mounts, want) {
		t.Errorf("the mounts are %v, want %v", mounts, want)
	}
}

// TestArgument: the component turns ENIs on demand on.
func TestArgument(t *testing.T) {
	if args := installed.Containers(t, "containers")[0]["args"].([]any); !slices.Contains(args, any("--on-demand")) {
		t.Errorf("the arguments of the agents are %v", args)
	}
}
