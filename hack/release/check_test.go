package release

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A repo is a git repository with what a release is checked by.
type repo struct {
	t   *testing.T
	dir string
}

func newRepo(t *testing.T) repo {
	t.Helper()
	r := repo{t, t.TempDir()}
	for _, name := range []string{"hack/release", "docs", "manifests", "packaging/helm"} {
		if err := os.CopyFS(filepath.Join(r.dir, name), os.DirFS(filepath.Join("../..", name))); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"README.md", "SECURITY.md"} {
		r.write(name, string(read(t, filepath.Join("../..", name))))
	}
	r.write("CHANGELOG.md", "# Changelog\n\n## [Unreleased]\n\nSoon.\n\n## [0.3.0] - 2030-01-02\n\n### Added\n\n- Everything.\n\n## [0.2.0] - 2029-01-02\n\n- Little.\n\n[0.3.0]: https://example.com\n")
	r.git("init", "--quiet")
	r.commit()
	return r
}

func (r repo) write(name, content string) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, name), []byte(content), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

func (r repo) read(name string) string { return string(read(r.t, filepath.Join(r.dir, name))) }

func (r repo) git(args ...string) {
	r.t.Helper()
	if _, err := run(r.dir, "git", append([]string{"-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"}, args...)...); err != nil {
		r.t.Fatal(err)
	}
}

func (r repo) commit() {
	r.t.Helper()
	r.git("add", "-A")
	r.git("commit", "--quiet", "--allow-empty", "-m", "a commit")
}

// merge makes the commit one of origin's main.
func (r repo) merge() { r.t.Helper(); r.git("update-ref", "refs/remotes/origin/main", "HEAD") }

// replace replaces text, which must be there, in a file.
func (r repo) replace(name, from, to string) {
	r.t.Helper()
	text := r.read(name)
	if !strings.Contains(text, from) {
		r.t.Fatalf("%s has no %q", name, from)
	}
	r.write(name, strings.ReplaceAll(text, from, to))
}

func TestSetVersion(t *testing.T) {
	r := newRepo(t)
	if _, err := run(r.dir, "hack/release/set-version.sh", "v0.3.0-rc.1"); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		"packaging/helm/aws-multi-eni/Chart.yaml":     "version: 0.3.0-rc.1\nappVersion: v0.3.0-rc.1\n",
		"manifests/kustomization.yaml":                "newTag: v0.3.0-rc.1\n",
		"manifests/pods/kustomization.yaml":           "manifests/pods?ref=v0.3.0-rc.1\n",
		"manifests/on-demand/kustomization.yaml":      "manifests/on-demand?ref=v0.3.0-rc.1\n",
		"packaging/helm/values_test.go":               "ghcr.io/aws-multi-eni/eni-agent:v0.3.0-rc.1",
		"packaging/helm/aws-multi-eni/values.yaml":    "",
		"manifests/node-readiness/kustomization.yaml": "manifests/node-readiness?ref=v0.3.0-rc.1\n",
	} {
		if !strings.Contains(r.read(file), want) {
			t.Errorf("%s has no %q", file, want)
		}
	}
	// Back again, nothing else has changed.
	old := strings.TrimSpace(strings.Split(strings.Split(string(read(t, "../../packaging/helm/aws-multi-eni/Chart.yaml")), "appVersion: ")[1], "\n")[0])
	if _, err := run(r.dir, "hack/release/set-version.sh", old); err != nil {
		t.Fatal(err)
	}
	r.git("diff", "--exit-code")
	for _, bad := range []string{"", "0.3.0", "v0.3", "v0.3.0-dev.1.gabc", "v1.2.3;id"} {
		if _, err := run(r.dir, "hack/release/set-version.sh", bad); err == nil {
			t.Errorf("%q is a version", bad)
		}
	}
}

func TestReleaseCheck(t *testing.T) {
	r := newRepo(t)
	if _, err := run(r.dir, "hack/release/set-version.sh", "v0.3.0"); err != nil {
		t.Fatal(err)
	}
	r.commit()
	const chart, changelog = "packaging/helm/aws-multi-eni/Chart.yaml", "CHANGELOG.md"
	tests := []struct {
		name, version string
		change        func()
		want          string // in the error; none if empty
	}{
		{"not merged", "v0.3.0", func() {}, "neither on origin/main"},
		{"merged", "v0.3.0", r.merge, ""},
		{"not a version", "0.3.0", func() {}, "want a version such as"},
		{"another version", "v0.2.0", func() {}, "make set-version VERSION=v0.2.0"},
		{"no notes", "v0.4.0", func() {}, "no release notes for v0.4.0"},
		{"not committed", "v0.3.0", func() { r.replace(chart, "version: 0.3.0", "version: 0.2.0") }, "commit them first"},
		{"the chart has another version", "v0.3.0", func() { r.commit(); r.merge() }, "name another version"},
		{"entries are not moved", "v0.3.0", func() {
			r.replace(chart, "version: 0.2.0", "version: 0.3.0")
			r.replace(changelog, "Soon.", "- Something new.")
			r.commit()
			r.merge()
		}, "still has entries under Unreleased"},
		{"no date", "v0.3.0", func() {
			r.replace(changelog, "- Something new.", "Soon.")
			r.replace(changelog, "[0.3.0] - 2030-01-02", "[0.3.0]")
			r.commit()
			r.merge()
		}, "must be '## [0.3.0] - YYYY-MM-DD'"},
		{"released before", "v0.3.0", func() {
			r.replace(changelog, "[0.3.0]\n", "[0.3.0] - 2030-01-02\n")
			r.git("tag", "v0.3.0")
			r.commit()
			r.merge()
		}, "never released twice"},
		{"the tag of this commit", "v0.3.0", func() { r.git("tag", "--force", "v0.3.0") }, ""},
	}
	for _, test := range tests {
		test.change()
		out, err := run(r.dir, "hack/release/check.sh", test.version)
		switch {
		case test.want == "" && (err != nil || !strings.Contains(out, test.version+" can be released")):
			t.Errorf("%s: %v, %s", test.name, err, out)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s: got %v, want %q", test.name, err, test.want)
		}
	}
}

func TestReleaseNotes(t *testing.T) {
	r := newRepo(t)
	r.replace("CHANGELOG.md", "Soon.", "- Something new.")
	for version, want := range map[string]string{
		"v0.3.0":      "### Added\n\n- Everything.",
		"v0.2.0":      "- Little.",
		"v0.4.0-rc.1": "- Something new.",
		"v0.3":        "",
		"v0.30":       "",
	} {
		got, err := run(r.dir, "hack/release/notes.sh", version)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v; want %q", version, got, err, want)
		}
	}
}
