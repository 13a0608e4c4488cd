// Package systemd tests the units that the packages hold.
package systemd

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// exposure is the most that `systemd-analyze security` may find, in tenths. What it
// finds is what the agent is for: the host's network, CAP_NET_ADMIN, sockets; and with
// pods that it is root.
const exposure = "20"

// Each mode's unit, and the drop-ins of its own.
var modes = map[string][]string{
	"stand-alone":         nil,
	"kubernetes":          {"kubernetes.conf"},
	"pods":                {"pods.conf"},
	"pods and kubernetes": {"kubernetes.conf", "pods.conf"},
}

var dir string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if dir, err = os.MkdirTemp("", "systemd"); err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", dir, "../../cmd/eni-agent")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			os.Stderr.Write(out)
			return 1
		}
		return m.Run()
	}())
}

func TestUnitIsValid(t *testing.T) {
	for mode, dropIns := range modes {
		t.Run(mode, func(t *testing.T) {
			unit := install(t, dropIns...)
			if out := analyze(t, "verify", "--man=no", unit); len(out) > 0 {
				t.Errorf("%s", out)
			}
		})
	}
}

func TestUnitIsConfined(t *testing.T) {
	for mode, dropIns := range modes {
		t.Run(mode, func(t *testing.T) {
			out := analyze(t, "security", "--offline=yes", "--no-pager", "--threshold="+exposure, install(t, dropIns...))
			lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
			t.Logf("%s", lines[len(lines)-1])
		})
	}
}

// The command lines of the units, and the flags that the environment file
// mentions, are ones that the agent takes.
func TestFlagsExist(t *testing.T) {
	var help []byte
	for _, command := range [][]string{{"--help"}, {"install-cni", "--help"}} {
		out, err := exec.Command(filepath.Join(dir, "eni-agent"), command...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
		help = append(help, out...)
	}
	for _, file := range []string{"eni-agent.service", "kubernetes.conf", "pods.conf", "eni-agent.env"} {
		content := read(t, file)
		flags := regexp.MustCompile(`[ "=]--([a-z][a-z-]*)`).FindAllSubmatch(content, -1)
		if len(flags) == 0 {
			t.Errorf("%s mentions no flag", file)
		}
		for _, flag := range flags {
			if name := string(flag[1]); name != "help" && !bytes.Contains(help, []byte("  -"+name)) {
				t.Errorf("%s: the agent has no flag --%s", file, name)
			}
		}
	}
}

// An optional file that was copied without being edited must not take the
// primary ENI away from who configures it.
func TestOptionalFilesMatchNothingUnedited(t *testing.T) {
	for file, match := range map[string]string{
		"networkd.network":    "\nName=NAME-OF-THE-PRIMARY-MISSING\n",
		"networkmanager.conf": "\nmatch-device=interface-name:NAME-OF-THE-PRIMARY-MISSING\n",
	} {
		content := string(read(t, filepath.Join("optional", file)))
		key, _, _ := strings.Cut(strings.TrimSpace(match), "=")
		if strings.Count(content, "\n"+key+"=") != 1 || !strings.Contains(content, match) {
			t.Errorf("%s: want the one line %q", file, strings.TrimSpace(match))
		}
	}
}

// install puts the unit where systemd-analyze finds it, with the program that was
// built and the drop-ins.
func install(t *testing.T, dropIns ...string) string {
	t.Helper()
	temp := t.TempDir()
	put := func(from, to string) {
		content := bytes.ReplaceAll(read(t, from), []byte("/usr/bin/eni-agent"), []byte(filepath.Join(dir, "eni-agent")))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	unit := filepath.Join(temp, "eni-agent.service")
	put("eni-agent.service", unit)
	for _, dropIn := range dropIns {
		put(dropIn, filepath.Join(unit+".d", dropIn))
	}
	return unit
}

func analyze(t *testing.T, args ...string) []byte {
	t.Helper()
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("there is no systemd-analyze here")
	}
	out, err := exec.Command("systemd-analyze", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("systemd-analyze %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return content
}
