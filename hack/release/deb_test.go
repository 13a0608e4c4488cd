package release

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// readDeb reads a deb: an ar archive of two tar archives.
func readDeb(t *testing.T, file string) pkg {
	t.Helper()
	p := pkg{scripts: map[string]string{}, programs: map[string][]byte{}}
	members := unar(t, read(t, file))
	var conffiles []string
	untar(t, members["control.tar.gz"], func(h *tar.Header, content []byte) {
		switch name := strings.TrimPrefix(h.Name, "./"); name {
		case "control":
			for line := range strings.Lines(string(content)) {
				key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
				switch key {
				case "Package":
					p.name = value
				case "Version":
					p.version = value
				}
			}
		case "conffiles":
			conffiles = strings.Fields(string(content))
		case "preinst", "postinst", "prerm", "postrm":
			p.scripts[name] = string(content)
			if h.Mode&0o111 == 0 {
				t.Errorf("%s is not executable", name)
			}
		}
	})
	untar(t, members["data.tar.gz"], func(h *tar.Header, content []byte) {
		path := "/" + strings.Trim(h.Name, "./")
		// A deb names every directory on the way; those of its own count.
		if h.Typeflag == tar.TypeDir && !strings.HasSuffix(path, "/eni-agent") && !strings.HasSuffix(path, ".d") ||
			h.Typeflag == tar.TypeDir && strings.HasPrefix(path, "/usr/share/doc") {
			return
		}
		p.files = append(p.files, fileLine(h.FileInfo().Mode(), path, slices.Contains(conffiles, path)))
		if strings.Contains(path, "/bin/") {
			p.programs[path] = content
		}
	})
	return p
}

func unar(t *testing.T, archive []byte) map[string][]byte {
	t.Helper()
	rest, ok := bytes.CutPrefix(archive, []byte("!<arch>\n"))
	if !ok {
		t.Fatal("not an ar archive")
	}
	members := map[string][]byte{}
	for len(rest) >= 60 {
		name := strings.TrimRight(string(rest[:16]), " /")
		size, err := strconv.Atoi(strings.TrimSpace(string(rest[48:58])))
		if err != nil {
			t.Fatal(err)
		}
		members[name] = rest[60 : 60+size]
		rest = rest[60+size+size%2:]
	}
	return members
}

func untar(t *testing.T, archive []byte, each func(h *tar.Header, content []byte)) {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		each(h, content)
	}
}
