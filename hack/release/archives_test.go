package release

import (
	"archive/tar"
	"bytes"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// Everything that is published is in the checksums, and the same wherever it is built.
func TestReleaseFiles(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(builds.here, "release", "*"))
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, file := range files {
		name := filepath.Base(file)
		content := read(t, file)
		if !bytes.Equal(content, read(t, filepath.Join(builds.elsewhere, "release", name))) {
			t.Errorf("%s: another directory, without git, with another umask, gives other bytes", name)
		}
		if name == "SHA256SUMS" {
			if n := bytes.Count(content, []byte("\n")); n != len(files)-1 {
				t.Errorf("SHA256SUMS has %d files, want %d", n, len(files)-1)
			}
			continue
		}
		kinds = append(kinds, strings.NewReplacer(version, "V", strings.TrimPrefix(version, "v"), "V", "0.1.0~rc.1", "V", runtime.GOARCH, "A", "x86_64", "A", "aarch64", "A").Replace(name))
	}
	want := []string{
		"aws-multi-eni-V.tgz", "eni-agent-V-1.A.rpm", "eni-agent-linux-A.cdx.json", "eni-agent_V-1_A.deb", "eni-cni-linux-A.cdx.json",
		"eni-coordinator-V-linux-A.tar.gz", "eni-coordinator-linux-A.cdx.json", "eni-dra-linux-A.cdx.json",
		"krew-eni.yaml", "kubectl-eni-linux-A.cdx.json",
	}
	for _, platform := range []string{"darwin-amd64", "darwin-arm64", "linux-amd64", "linux-arm64", "windows-amd64"} {
		want = append(want, "kubectl-eni-"+strings.ReplaceAll(platform, runtime.GOARCH, "A")+".tar.gz")
	}
	slices.Sort(want)
	slices.Sort(kinds)
	if !slices.Equal(kinds, want) {
		t.Errorf("released are\n%q, want\n%q", kinds, want)
	}
}

func TestArchives(t *testing.T) {
	platform := "linux-" + runtime.GOARCH
	var files []string
	untar(t, read(t, filepath.Join(builds.here, "archives", "eni-coordinator-"+version+"-"+platform+".tar.gz")), func(h *tar.Header, content []byte) {
		files = append(files, h.FileInfo().Mode().String()+" "+h.Name)
		if h.Uid != 0 || h.Gid != 0 || h.ModTime.Unix() != 1700000000 {
			t.Errorf("%s: owner %d:%d, time %v", h.Name, h.Uid, h.Gid, h.ModTime)
		}
		if h.Name == "eni-coordinator" && !bytes.Equal(content, read(t, filepath.Join(builds.here, platform, h.Name))) {
			t.Error("not the program that was built")
		}
	})
	if want := []string{"-rw-r--r-- LICENSE", "-rw-r--r-- THIRD-PARTY-LICENSES", "-rwxr-xr-x eni-coordinator"}; !slices.Equal(files, want) {
		t.Errorf("it holds %q, want %q", files, want)
	}
}
