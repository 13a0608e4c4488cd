package netns

import (
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

const (
	helperEnv = "NETNS_TEST_HELPER"
	nobody    = 65534
)

// unprivileged prepares another run of this test binary that starts without
// privileges, to carry out the test named run.
func unprivileged(t *testing.T, run, helper string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+run+"$", "-test.v")
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), helperEnv+"="+helper)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		// Where the tests themselves run in a user namespace, nobody does not
		// exist; giving up the capabilities needs another user namespace.
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: nobody, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: nobody, HostID: os.Getgid(), Size: 1}},
	}
	if os.Getuid() == 0 && !InUserNamespace() {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	return cmd
}

// TestElevate runs TestElevatedHelper as an unprivileged user; TestMain has
// called Elevate before it starts.
func TestElevate(t *testing.T) {
	out, err := unprivileged(t, "TestElevatedHelper", "work").CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: TestElevatedHelper")) {
		t.Errorf("the unprivileged run ended with %v:\n%s", err, out)
	}
}

func TestElevatePassesExitStatusAndSignalsOn(t *testing.T) {
	err := unprivileged(t, "TestElevatedHelper", "exit").Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("a program that exits with 7 ended with %v", err)
	}

	cmd := unprivileged(t, "TestElevatedHelper", "wait")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// Whatever it prints first, it is up by then.
	if _, err := stdout.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 128+int(syscall.SIGTERM) {
		t.Errorf("a program that got SIGTERM ended with %v", err)
	}
}

func TestElevatedHelper(t *testing.T) {
	switch os.Getenv(helperEnv) {
	case "":
		return // runs within the tests above
	case "exit":
		os.Exit(7)
	case "wait":
		time.Sleep(time.Minute) // the test sends SIGTERM long before
		return
	}
	if !InUserNamespace() {
		t.Error("not in a user namespace")
	}
	if os.Getuid() != 0 {
		t.Errorf("uid is %d, want 0", os.Getuid())
	}
	if os.Getenv(elevated) != "" {
		t.Error("the mark of the second run would be passed on to children")
	}
	outer := newNamespace(t)
	if err := outer.Do(loopbackUp); err != nil {
		t.Error(err)
	}
	// The process stays on the host's network: its loopback is the host's.
	if _, err := net.InterfaceByName("lo"); err != nil {
		t.Error(err)
	}
}
