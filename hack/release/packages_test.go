package release

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// A pkg is what a deb or an rpm tells about itself.
type pkg struct {
	name, version string
	files         []string // mode and path, and "config" for a configuration file
	scripts       map[string]string
	programs      map[string][]byte // by path
}

const packaged = `
drwxr-xr-x /etc/eni-agent
-rw-r----- /etc/eni-agent/eni-agent.env config
drwxr-xr-x /etc/eni-agent/nodeeni.d
-rwxr-xr-x /opt/cni/bin/eni
-rwxr-xr-x /usr/bin/eni-agent
-rw-r--r-- /usr/lib/systemd/system/eni-agent.service
drwxr-xr-x /usr/share/eni-agent
-rw-r--r-- /usr/share/eni-agent/cloud-init.cfg
-rw-r--r-- /usr/share/eni-agent/kubernetes.conf
-rw-r--r-- /usr/share/eni-agent/networkd.conf
-rw-r--r-- /usr/share/eni-agent/networkd.network
-rw-r--r-- /usr/share/eni-agent/networkmanager.conf
-rw-r--r-- /usr/share/eni-agent/pods.conf
`

func TestPackages(t *testing.T) {
	tests := map[string]struct {
		read    func(t *testing.T, file string) pkg
		version string
		extra   string
		scripts []string // beside what nfpm.yaml calls them
	}{
		"deb": {
			read: readDeb, version: "0.1.0~rc.1-1",
			extra:   "-rw-r--r-- /usr/share/doc/eni-agent/copyright\n-rw-r--r-- /usr/share/doc/eni-agent/THIRD-PARTY-LICENSES\n-rw-r--r-- /usr/share/doc/eni-agent/eni-cni.THIRD-PARTY-LICENSES",
			scripts: []string{"postinst", "postrm", "prerm"},
		},
		"rpm": {
			read: readRPM, version: "0.1.0~rc.1-1",
			extra:   "-rw-r--r-- /usr/share/licenses/eni-agent/LICENSE\n-rw-r--r-- /usr/share/licenses/eni-agent/THIRD-PARTY-LICENSES\n-rw-r--r-- /usr/share/licenses/eni-agent/eni-cni.THIRD-PARTY-LICENSES",
			scripts: []string{"post", "postun", "preun"},
		},
	}
	for kind, test := range tests {
		t.Run(kind, func(t *testing.T) {
			file := built(t, builds.here, kind)
			if !bytes.Equal(read(t, file), read(t, built(t, builds.elsewhere, kind))) {
				t.Error("another directory, without git, gives other bytes")
			}
			p := test.read(t, file)
			if p.name != "eni-agent" || p.version != test.version {
				t.Errorf("is %s %s, want eni-agent %s", p.name, p.version, test.version)
			}
			want := strings.Split(strings.TrimSpace(packaged)+"\n"+test.extra, "\n")
			if got := slices.Clone(p.files); !equalSorted(got, want) {
				t.Errorf("holds\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			for _, name := range test.scripts {
				if want := read(t, filepath.Join("../../packaging/nfpm", kind, name)); strings.TrimSpace(p.scripts[name]) != strings.TrimSpace(string(want)) {
					t.Errorf("%s is %q, want %q", name, p.scripts[name], want)
				}
			}
			if len(p.scripts) != len(test.scripts) {
				t.Errorf("%d scripts, want %d", len(p.scripts), len(test.scripts))
			}
			for path, name := range map[string]string{"/usr/bin/eni-agent": "eni-agent", "/opt/cni/bin/eni": "eni-cni"} {
				if kind == "deb" && !bytes.Equal(p.programs[path], read(t, filepath.Join(builds.here, "linux-"+runtime.GOARCH, name))) {
					t.Errorf("%s is not the program that was built", path)
				}
			}
		})
	}
}

// built is the one package of a kind in bin.
func built(t *testing.T, bin, kind string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(bin, "packages", "*."+kind))
	if err != nil || len(files) != 1 {
		t.Fatalf("%s packages: %v, %v; want one", kind, files, err)
	}
	return files[0]
}

// fileLine describes a packaged file as packaged does.
func fileLine(mode os.FileMode, path string, config bool) string {
	line := fmt.Sprintf("%v /%s", mode, strings.Trim(path, "./"))
	if config {
		line += " config"
	}
	return line
}

func equalSorted(a, b []string) bool {
	path := func(a, b string) int { return strings.Compare(strings.Fields(a)[1], strings.Fields(b)[1]) }
	slices.SortFunc(a, path)
	slices.SortFunc(b, path)
	return slices.Equal(a, b)
}
