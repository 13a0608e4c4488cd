package dra

import (
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// TestRights: the capabilities of the container in manifests/on-demand suffice.
func TestRights(t *testing.T) {
	child := func(capabilities ...int) error {
		cmd := exec.Command(os.Args[0], "-test.run=^(TestPod|TestIPv6Only|TestTwoDevices)$")
		cmd.Env = append(os.Environ(), "NETNS_ELEVATED=1") // or it would get all of them in a user namespace
		cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
		if err := newNamespace(t).StartConfined(cmd, capabilities...); err != nil {
			t.Fatal(err)
		}
		return cmd.Wait()
	}
	if err := child(unix.CAP_NET_ADMIN, unix.CAP_SYS_ADMIN); err != nil {
		t.Errorf("with NET_ADMIN and SYS_ADMIN: %v", err)
	}
	if err := child(unix.CAP_NET_ADMIN); err == nil {
		t.Error("SYS_ADMIN is not needed")
	}
}
