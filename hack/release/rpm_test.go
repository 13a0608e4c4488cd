package release

import (
	"bytes"
	"encoding/binary"
	"os"
	"strings"
	"testing"
)

// Tags of an RPM header.
const (
	rpmName, rpmVersion, rpmRelease              = 1000, 1001, 1002
	rpmPost, rpmPreun, rpmPostun                 = 1024, 1025, 1026
	rpmFileModes, rpmFileFlags                   = 1030, 1037
	rpmDirIndexes, rpmBaseNames, rpmDirNames     = 1116, 1117, 1118
	rpmConfig, rpmNoReplace                      = 1, 16
	rpmLeadSize, rpmIntroSize, rpmIndexSize  int = 96, 16, 16
)

// readRPM reads the header of an rpm, which comes after a lead and a signature.
func readRPM(t *testing.T, file string) pkg {
	t.Helper()
	content := read(t, file)
	_, end := parseHeader(t, content[rpmLeadSize:])
	start := rpmLeadSize + (end+7)/8*8
	h, _ := parseHeader(t, content[start:])

	p := pkg{name: h.strings(rpmName)[0], version: h.strings(rpmVersion)[0] + "-" + h.strings(rpmRelease)[0], scripts: map[string]string{}}
	for name, tag := range map[string]uint32{"post": rpmPost, "preun": rpmPreun, "postun": rpmPostun} {
		if script := h.strings(tag); len(script) > 0 {
			p.scripts[name] = script[0]
		}
	}
	dirs := h.strings(rpmDirNames)
	for i, base := range h.strings(rpmBaseNames) {
		dir := binary.BigEndian.Uint32(h[rpmDirIndexes].data[4*i:])
		mode := binary.BigEndian.Uint16(h[rpmFileModes].data[2*i:])
		flags := binary.BigEndian.Uint32(h[rpmFileFlags].data[4*i:])
		fileMode := os.FileMode(mode & 0o777)
		if mode&0o170000 == 0o040000 {
			fileMode |= os.ModeDir
		}
		if config := flags & (rpmConfig | rpmNoReplace); config == rpmConfig {
			t.Errorf("%s%s: an upgrade replaces it", dirs[dir], base)
		}
		p.files = append(p.files, fileLine(fileMode, dirs[dir]+base, flags&rpmConfig != 0))
	}
	return p
}

type header map[uint32]struct {
	data  []byte // to the end of the header
	count int
}

// parseHeader returns the header at the beginning of b and where it ends.
func parseHeader(t *testing.T, b []byte) (header, int) {
	t.Helper()
	if !bytes.HasPrefix(b, []byte{0x8e, 0xad, 0xe8, 1}) {
		t.Fatal("no RPM header")
	}
	n, size := int(binary.BigEndian.Uint32(b[8:])), int(binary.BigEndian.Uint32(b[12:]))
	store := b[rpmIntroSize+n*rpmIndexSize:][:size]
	h := header{}
	for i := range n {
		entry := b[rpmIntroSize+i*rpmIndexSize:]
		value := h[binary.BigEndian.Uint32(entry)]
		value.data = store[binary.BigEndian.Uint32(entry[8:]):]
		value.count = int(binary.BigEndian.Uint32(entry[12:]))
		h[binary.BigEndian.Uint32(entry)] = value
	}
	return h, rpmIntroSize + n*rpmIndexSize + size
}

func (h header) strings(tag uint32) []string {
	value := h[tag]
	if value.count == 0 {
		return nil
	}
	return strings.Split(string(value.data), "\x00")[:value.count]
}
