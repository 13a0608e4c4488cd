package controlplane

import (
	"errors"
	"fmt"
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
		etcd, apiserver string // empty: the real one
		want            []string
	}{
		{
			name:      "kube-apiserver ends",
			apiserver: "echo invalid argument frob; exit 1",
			want:      []string{"process kube-apiserver", "invalid argument frob"},
		},
		{
			name: "etcd ends",
			etcd: "echo no space left >&2; exit 1",
			want: []string{"process etcd", "no space left"},
		},
		{
			name:      "not a program",
			apiserver: "\x00",
			want:      []string{"process kube-apiserver"},
		},
	}
	real, err := findAssets()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			assets := t.TempDir()
			for name, script := range map[string]string{"etcd": test.etcd, "kube-apiserver": test.apiserver} {
				if script != "" {
					writeScript(t, assets, name, script)
				} else if err := os.Symlink(filepath.Join(real, name), filepath.Join(assets, name)); err != nil {
					t.Fatal(err)
				}
			}
			temp := t.TempDir()
			t.Setenv("TMPDIR", temp)
			t.Setenv("KUBEBUILDER_ASSETS", assets)
			cp, err := Start(t.Context())
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
	_, err := Start(t.Context())
	if err == nil || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "run `make controlplane`") {
		t.Errorf("error is %v, want one that says what to do about %s", err, dir)
	}
}

func TestCachedAssets(t *testing.T) {
	t.Setenv("KUBEBUILDER_ASSETS", "")
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	out, err := exec.Command("../../hack/controlplane/build.sh", "-n").CombinedOutput()
	if err != nil {
		t.Fatalf("build.sh: %v\n%s", err, out)
	}
	dir := strings.TrimSpace(string(out))
	if _, err := findAssets(); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("error is %v, want one about %s", err, dir)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	writeScript(t, dir, "etcd", "")
	writeScript(t, dir, "kube-apiserver", "")
	if got, err := findAssets(); got != dir || err != nil {
		t.Errorf("findAssets says %s, %v; want %s", got, err, dir)
	}
}

// The test runs itself as the parent, which starts a control plane and is killed.
func TestProcessesDieWithTheirParent(t *testing.T) {
	if os.Getenv("CONTROLPLANE_TEST_PARENT") != "" {
		cp, err := Start(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		etcd, etcdErr := cp.Etcd.id()
		api, apiErr := cp.APIServer.id()
		if err := errors.Join(etcdErr, apiErr); err != nil {
			t.Fatal(err)
		}
		fmt.Println("children", etcd, api)
		time.Sleep(time.Minute)
		return
	}

	parent := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	parent.Env = append(os.Environ(), "CONTROLPLANE_TEST_PARENT=1", "TMPDIR="+t.TempDir())
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	var children [2]int
	if _, err := fmt.Fscanf(out, "children %d %d\n", &children[0], &children[1]); err != nil {
		t.Fatal(err)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait() // "signal: killed"
	deadline := time.Now().Add(10 * time.Second)
	for _, child := range children {
		for running(child) {
			if time.Now().After(deadline) {
				_ = syscall.Kill(child, syscall.SIGKILL)
				t.Fatalf("process %d outlives its parent", child)
			}
			time.Sleep(time.Millisecond)
		}
	}
}

// running is false for a zombie, too: whether an orphan is reaped is up to init.
func running(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && !strings.Contains(string(stat), ") Z ")
}
