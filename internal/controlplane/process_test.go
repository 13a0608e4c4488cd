package controlplane

import (
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func writeScript(t *testing.T, dir, name, script string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestStartFailureQuotesTheLog(t *testing.T) {
	tests := []struct {
		name            string
		etcd, apiserver string
		want            []string
	}{
		{
			name:      "kube-apiserver ends",
			etcd:      "exec sleep 600",
			apiserver: "echo invalid argument frob; exit 1",
			want:      []string{"kube-apiserver ended before it was ready", "invalid argument frob"},
		},
		{
			name:      "etcd ends",
			etcd:      "echo no space left >&2; exit 1",
			apiserver: "exec sleep 600",
			want:      []string{"etcd ended while kube-apiserver was starting", "no space left"},
		},
		{
			name:      "not a program",
			etcd:      "exec sleep 600",
			apiserver: "\x00",
			want:      []string{"kube-apiserver"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			assets := t.TempDir()
			writeScript(t, assets, "etcd", test.etcd)
			writeScript(t, assets, "kube-apiserver", test.apiserver)
			temp := t.TempDir()
			t.Setenv("TMPDIR", temp)
			cp, err := Start(t.Context(), Config{AssetsDir: assets})
			if err == nil {
				_ = cp.Stop()
				t.Fatal("it starts")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error lacks %q:\n%v", want, err)
				}
			}
			if left, _ := os.ReadDir(temp); len(left) > 0 {
				t.Errorf("it leaves %v behind", left)
			}
		})
	}
}

func TestMissingAssets(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("KUBEBUILDER_ASSETS", dir)
	_, err := Start(t.Context(), Config{})
	if err == nil || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "run `make controlplane`") {
		t.Errorf("error is %v, want one that says what to do about %s", err, dir)
	}
}

// The Go and the shell way to name the directory must agree.
func TestCachedAssetsMatchBuildScript(t *testing.T) {
	t.Setenv("KUBEBUILDER_ASSETS", "")
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("GOFLAGS", "-n") // if they disagree, the script must not build for minutes
	dir, err := cachedAssets()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	writeScript(t, dir, "etcd", "")
	writeScript(t, dir, "kube-apiserver", "")

	out, err := exec.Command("../../hack/controlplane/build.sh").CombinedOutput()
	if err != nil {
		t.Fatalf("build.sh: %v\n%s", err, out)
	}
	if got := strings.TrimSpace(string(out)); got != dir {
		t.Errorf("build.sh says %s, cachedAssets %s", got, dir)
	}
	if got, err := findAssets(""); got != dir || err != nil {
		t.Errorf("findAssets says %s, %v; want %s", got, err, dir)
	}
}

// The test runs itself as the parent, which starts a child and is killed.
func TestChildrenDieWithTheirParent(t *testing.T) {
	if dir := os.Getenv("CONTROLPLANE_TEST_PARENT"); dir != "" {
		p, err := startProcess(dir, "child", "/bin/sleep", []string{"600"}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println("child", p.cmd.Process.Pid)
		<-p.done
		return
	}

	parent := exec.Command(os.Args[0], "-test.run=^TestChildrenDieWithTheirParent$")
	parent.Env = append(os.Environ(), "CONTROLPLANE_TEST_PARENT="+t.TempDir())
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	var child int
	if _, err := fmt.Fscanf(out, "child %d\n", &child); err != nil {
		t.Fatal(err)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait() // "signal: killed"
	deadline := time.Now().Add(10 * time.Second)
	for running(child) {
		if time.Now().After(deadline) {
			_ = syscall.Kill(child, syscall.SIGKILL)
			t.Fatalf("process %d outlives its parent", child)
		}
		time.Sleep(time.Millisecond)
	}
}

// running is false for a zombie, too: whether an orphan is reaped is up to init.
func running(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && !strings.Contains(string(stat), ") Z ")
}
