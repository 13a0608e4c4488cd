package cniplugin

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// built are the plugin of two releases, and a plugin of others.
var built = struct{ older, newer, ptp string }{}

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "cniplugin")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		build := func(name string, args ...string) string {
			file := filepath.Join(dir, name)
			cmd := exec.Command("go", append([]string{"build", "-C", "../..", "-trimpath", "-o", file}, args...)...)
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
			if out, err := cmd.CombinedOutput(); err != nil {
				panic(string(out))
			}
			return file
		}
		const version = "-s -w -X github.com/aws-multi-eni/aws-multi-eni/cni.Version="
		built.older = build("older", "-ldflags", version+"v0.1.0", "./cmd/eni-cni")
		built.newer = build("newer", "-ldflags", version+"v0.2.0", "./cmd/eni-cni")
		built.ptp = build("ptp", "-modfile=hack/tools/cni-plugins/go.mod", "github.com/containernetworking/plugins/plugins/main/ptp")
		return m.Run()
	}())
}

func install(t *testing.T, from, dir string) Installed {
	t.Helper()
	done, err := Install(t.Context(), from, dir)
	if err != nil {
		t.Fatal(err)
	}
	return done
}

// TestInstall: a plugin comes, stays, is replaced by a newer one and by an older one, each
// time by another file, since the former may be running. Nothing else is left behind.
func TestInstall(t *testing.T) {
	dir := t.TempDir()
	for _, step := range []struct {
		from string
		want Installed
	}{
		{built.older, Installed{Changed: true}},
		{built.older, Installed{Before: "v0.1.0"}},
		{built.newer, Installed{Changed: true, Before: "v0.1.0"}},
		{built.older, Installed{Changed: true, Before: "v0.2.0"}},
	} {
		before, _ := os.Stat(filepath.Join(dir, Name))
		if done := install(t, step.from, dir); done != step.want {
			t.Errorf("%s: %+v, want %+v", filepath.Base(step.from), done, step.want)
		}
		after, err := os.Stat(filepath.Join(dir, Name))
		if err != nil || after.Mode() != 0o755 || !bytes.Equal(content(t, filepath.Join(dir, Name)), content(t, step.from)) {
			t.Fatalf("%s: it is %v (%v), not the same program", filepath.Base(step.from), after.Mode(), err)
		}
		if same := before != nil && os.SameFile(before, after); same == step.want.Changed {
			t.Errorf("%s: it is the same file: %v", filepath.Base(step.from), same)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
			t.Errorf("%s: it leaves %v (%v)", filepath.Base(step.from), entries, err)
		}
	}
}

// TestModeIsRepaired: the same bytes that cannot be started are not what is wanted.
func TestModeIsRepaired(t *testing.T) {
	dir := t.TempDir()
	install(t, built.older, dir)
	if err := os.Chmod(filepath.Join(dir, Name), 0o600); err != nil {
		t.Fatal(err)
	}
	if done := install(t, built.older, dir); !done.Changed {
		t.Error("a file that cannot be executed is left as it is")
	}
}

// TestRefusals: what is not ours is neither installed nor replaced.
func TestRefusals(t *testing.T) {
	script := filepath.Join(t.TempDir(), "script")
	write(t, script, "#!/bin/sh\n")
	foreign := func(from string) string {
		dir := t.TempDir()
		write(t, filepath.Join(dir, Name), string(content(t, from)))
		return dir
	}
	occupied := t.TempDir()
	if err := os.Mkdir(filepath.Join(occupied, Name), 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, "")
	for name, test := range map[string]struct{ from, to, words string }{
		"another Go program is there":    {built.older, foreign(built.ptp), "not the CNI plugin of aws-multi-eni but the program github.com/containernetworking/plugins/plugins/main/ptp, so it is not replaced; find out what installed it"},
		"a script is there":              {built.older, foreign(script), "eni is not the CNI plugin of aws-multi-eni, so it is not replaced"},
		"a directory is there":           {built.older, occupied, "so it is not replaced"},
		"there is no directory":          {built.older, filepath.Join(t.TempDir(), "none"), "none is not a directory; set --to to the directory in which the container runtime looks for CNI plugins: /opt/cni/bin with EKS"},
		"it is a file":                   {built.older, file, "is not a directory"},
		"there is nothing to install":    {filepath.Join(t.TempDir(), "none"), t.TempDir(), "no such file or directory; set --from to the plugin of this release"},
		"another program is to be there": {built.ptp, t.TempDir(), "set --from to the plugin of this release"},
	} {
		t.Run(name, func(t *testing.T) {
			before, _ := os.ReadFile(filepath.Join(test.to, Name))
			_, err := Install(t.Context(), test.from, test.to)
			if err == nil || !strings.Contains(err.Error(), test.words) {
				t.Errorf("%v, want %q", err, test.words)
			}
			if after, _ := os.ReadFile(filepath.Join(test.to, Name)); !bytes.Equal(before, after) {
				t.Error("the file has changed")
			}
		})
	}
}

// TestDirectoryIsNotWritable: the error says why, and what to do.
func TestDirectoryIsNotWritable(t *testing.T) {
	for err, words := range map[error]string{
		unix.EROFS:  "/opt/cni/bin is read-only: read-only file system; mount it read-write, or use another directory",
		unix.EACCES: "cannot write /opt/cni/bin: permission denied; run this command as the owner of the directory",
	} {
		if got := explain("/opt/cni/bin", err); got == nil || !strings.Contains(got.Error(), words) {
			t.Errorf("%v, want %q", got, words)
		}
	}
	if os.Geteuid() == 0 {
		return // may write everywhere
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	if _, err := Install(t.Context(), built.older, dir); err == nil || !strings.Contains(err.Error(), "cannot write") {
		t.Error(err)
	}
}

// TestFullDisk: a copy that does not fit leaves the former plugin in its place.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	size := 3 * len(content(t, built.older)) / 2 // too small for two
	if err := unix.Mount("none", dir, "tmpfs", 0, fmt.Sprint("size=", size)); err != nil {
		t.Skip("this process may mount nothing: ", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	install(t, built.older, dir)
	_, err := Install(t.Context(), built.newer, dir)
	if err == nil || !strings.Contains(err.Error(), "no space left on device") {
		t.Errorf("%v, want that there is no space", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("it leaves %v (%v)", entries, err)
	}
	if !bytes.Equal(content(t, filepath.Join(dir, Name)), content(t, built.older)) {
		t.Error("the former plugin is not there any more")
	}
	if err := unix.Mount("none", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := Install(t.Context(), built.newer, dir); err == nil || !strings.Contains(err.Error(), "is read-only") {
		t.Errorf("read-only: %v", err)
	}
}

// TestAsk: plugins tell about themselves.
func TestAsk(t *testing.T) {
	version, err := Ask(t.Context(), built.newer)
	if err != nil || version != "v0.2.0" {
		t.Errorf("eni: %q, %v", version, err)
	}
	version, err = Ask(t.Context(), built.ptp)
	if err != nil || version == "" {
		t.Errorf("ptp: %q, %v", version, err)
	}
	script := filepath.Join(t.TempDir(), "script")
	for text, words := range map[string]string{"#!/bin/sh\necho hello\n": `does not report a version, but "hello\n"`, "#!/bin/sh\nexit 3\n": "exit status 3"} {
		write(t, script, text)
		if _, err := Ask(t.Context(), script); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%v, want %q", err, words)
		}
	}
}

func content(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}
