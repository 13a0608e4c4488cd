package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Elevation says how [Elevate] gets its privileges.
type Elevation struct {
	// PrivateNetwork runs the program in a new network namespace of its own
	// as well. It then owns the namespace it started in, as root does, but
	// does not share the host's loopback. Fit for tests; a program whose
	// endpoints others use leaves it false.
	PrivateNetwork bool
}

// elevated marks the second run, so that a kernel that hands out a user
// namespace without its privileges does not lead to an endless chain of runs.
const elevated = "NETNS_ELEVATED"

// Elevate makes sure that this program may make and configure network
// namespaces. With CAP_SYS_ADMIN and CAP_NET_ADMIN, as root has them, it does
// nothing. Otherwise it runs the program once more in a user namespace in
// which the user is root, passes signals and the exit status on, and does not
// return. Call it first thing in main or TestMain. An error says what the
// kernel forbids.
//
// See user_namespaces(7).
func Elevate(how Elevation) error {
	ok, err := privileged()
	if err != nil {
		return err
	}
	if os.Getenv(elevated) != "" {
		if !ok {
			return errors.New("the new user namespace came without privileges" + hint())
		}
		if err := os.Unsetenv(elevated); err != nil {
			return err
		}
		if how.PrivateNetwork {
			return loopbackUp()
		}
		return nil
	}
	if ok {
		return nil
	}
	code, err := runElevated(how)
	if err != nil {
		return err
	}
	os.Exit(code)
	return nil
}

// privileged reports whether this process may make network namespaces and
// configure them.
func privileged() (bool, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return false, fmt.Errorf("read the capabilities of this process: %w", err)
	}
	const need = 1<<unix.CAP_SYS_ADMIN | 1<<unix.CAP_NET_ADMIN
	if data[0].Effective&need != need {
		return false, nil
	}
	// The capabilities can be there and a seccomp filter still say no.
	err := onOwnThread(func() error { return unix.Unshare(unix.CLONE_NEWNET) })
	if errors.Is(err, unix.EPERM) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("create a network namespace: %w", err)
	}
	return true, nil
}

// InUserNamespace reports whether this process is in a user namespace other
// than the initial one.
func InUserNamespace() bool {
	uidMap, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && strings.Join(strings.Fields(string(uidMap)), " ") != "0 0 4294967295"
}

func runElevated(how Elevation) (int, error) {
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = os.Args
	cmd.Env = append(os.Environ(), elevated+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	if how.PrivateNetwork {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWNET
	}
	runtime.LockOSThread() // Pdeathsig follows the thread
	defer runtime.UnlockOSThread()

	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("without root, a user namespace is needed, and the kernel refuses it: %w%s", err, hint())
	}
	go func() {
		for s := range signals {
			if s != syscall.SIGTERM && s != syscall.SIGHUP && inForeground() {
				continue // the terminal has sent it to the child too
			}
			_ = cmd.Process.Signal(s) // fails only when the child is gone
		}
	}()
	err := cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			return 128 + int(status.Signal()), nil
		}
		return exit.ExitCode(), nil
	}
	return 0, err
}

// inForeground reports whether the terminal's keys reach this process.
func inForeground() bool {
	tty, err := os.Open("/dev/tty")
	if err != nil {
		return false
	}
	defer tty.Close()
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// hint names the settings of this machine that forbid user namespaces.
func hint() string {
	var found []string
	for _, s := range []struct{ sysctl, forbids string }{
		{"kernel/unprivileged_userns_clone", "0"},
		{"kernel/apparmor_restrict_unprivileged_userns", "1"},
		{"user/max_user_namespaces", "0"},
		{"user/max_net_namespaces", "0"},
	} {
		value, err := fs.ReadFile(os.DirFS("/proc/sys"), s.sysctl)
		if err == nil && strings.TrimSpace(string(value)) == s.forbids {
			found = append(found, strings.ReplaceAll(s.sysctl, "/", ".")+" = "+s.forbids)
		}
	}
	if len(found) == 0 {
		return "; run as root, or, in a container, with more privileges (a seccomp or LSM policy seems to forbid it)"
	}
	return "; run as root, or change " + strings.Join(found, ", ")
}
