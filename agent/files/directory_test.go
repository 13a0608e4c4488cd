package files

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// manifest is a NodeENI in YAML.
func manifest(name, more string) string {
	return fmt.Sprintf(`apiVersion: networking.k8s.aws/v1alpha1
kind: NodeENI
metadata: {name: %s}
spec:
  nodeSelector: {ng: multi-eni}
  subnetIDs: [subnet-0f59b4f14737be9ad]
  securityGroupIDs: [sg-05da196f3314d4af8]
%s`, name, more)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestReadDirectory(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"b.yaml", "a.yml", "c.json", ".hidden.yaml", "#b.yaml", "b.yaml~", ".b.yaml.swp", "4913", "README.md"} {
		write(t, at(name), name)
	}
	for path, target := range map[string]string{"link.yaml": at("b.yaml"), "dangling.yaml": at("nowhere")} {
		if err := os.Symlink(target, at(path)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(at("directory.yaml"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(at("pipe.yaml"), 0o644); err != nil {
		t.Fatal(err)
	}
	write(t, at("large.yaml"), strings.Repeat("#", maxFile+1))
	all, err := readDirectory(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range all {
		text := c.data
		if c.err != "" {
			text = c.err
		}
		got = append(got, c.name+": "+text)
	}
	want := []string{
		"a.yml: a.yml", "b.yaml: b.yaml", "c.json: c.json",
		"dangling.yaml: it is a symbolic link to a file that does not exist",
		"directory.yaml: it is not a regular file", "large.yaml: it is larger than 1024 KiB",
		"link.yaml: b.yaml", "pipe.yaml: it is not a regular file",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if _, err := readDirectory(at("missing")); err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("a directory that is not there: %v", err)
	}
}

func TestParse(t *testing.T) {
	for _, test := range []struct {
		name, text, want string // the names, or words of the error
	}{
		{"several documents", manifest("x", "") + "---\n" + manifest("v", "  mtu: 9001"), "x v"},
		{"JSON", `{"apiVersion": "networking.k8s.aws/v1alpha1", "kind": "NodeENI", "metadata": {"name": "x"}, "spec": {"nodeSelector": {"a": "b"}, "subnetName": "s", "securityGroupNames": ["g"]}}`, "x"},
		{"a typo in the second", manifest("x", "") + "---\n" + manifest("v", "  mtuu: 9001"), `document 2 (line 9): strict decoding error: unknown field "spec.mtuu"`},
		{"a value that is not allowed", manifest("x", "  mtu: 90"), "document 1 (line 1): NodeENI \"x\": spec.mtu: Invalid value: 90"},
		{"half written", manifest("x", "")[:150], "document 1"},
		{"empty", "", "contains no NodeENI; if that is intended, delete the file"},
		{"all of it commented out", "# " + strings.ReplaceAll(manifest("x", ""), "\n", "\n# "), "contains no NodeENI; if that is intended, delete the file"},
		{"one name twice", manifest("x", "") + "---\n" + manifest("v", "") + "---\n" + manifest("x", ""), `NodeENIs 1 and 3 in the file are both named "x"`},
		{"another kind", "apiVersion: v1\nkind: Node\n", "this is not a NodeENI"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := parse(content{name: "a.yaml", data: test.text})
			if p.err == nil {
				if got := strings.Join(names(File{NodeENIs: p.nodeENIs}), " "); got != test.want {
					t.Errorf("holds %q, want %q", got, test.want)
				}
				return
			}
			if len(p.nodeENIs) > 0 || !strings.Contains(p.err.Error(), test.want) {
				t.Errorf("got %q, want %q", p.err, test.want)
			}
		})
	}
}
