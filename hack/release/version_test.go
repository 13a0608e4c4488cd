package release

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestVersion(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "hack/release"), os.DirFS(".")); err != nil {
		t.Fatal(err)
	}
	git := func(args ...string) string {
		t.Helper()
		out, err := run(dir, "git", append([]string{"-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"}, args...)...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	commit := func() {
		t.Helper()
		git("add", "-A")
		git("commit", "--quiet", "--allow-empty", "-m", "a commit")
	}
	steps := []struct {
		name string
		do   func()
		want string // HASH stands for the commit's
	}{
		{"no git", func() {}, "v0.0.0-dev"},
		{"no tag", func() { git("init", "--quiet"); commit() }, "v0.0.0-dev.gHASH"},
		{"a tag that is no version", func() { git("tag", "vacation") }, "v0.0.0-dev.gHASH"},
		{"release candidate", func() { git("tag", "v0.2.0-rc.1") }, "v0.2.0-rc.1"},
		{"after it", commit, "v0.2.0-rc.1.dev.1.gHASH"},
		{"release", func() { git("tag", "-a", "-m", "release", "v0.2.9") }, "v0.2.9"},
		{"not committed", func() {
			if err := os.WriteFile(filepath.Join(dir, "hack/release/version.sh"), append(read(t, "version.sh"), '\n'), 0o755); err != nil {
				t.Fatal(err)
			}
		}, "v0.2.10-dev.0.gHASH.dirty"},
		{"after it", commit, "v0.2.10-dev.1.gHASH"},
	}
	for _, step := range steps {
		step.do()
		want := step.want
		if before, after, ok := strings.Cut(want, "HASH"); ok {
			want = before + git("rev-parse", "--short=7", "HEAD") + after
		}
		got, err := run(dir, "hack/release/version.sh")
		if err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("%s: got %s, want %s", step.name, got, want)
		}
	}
}
