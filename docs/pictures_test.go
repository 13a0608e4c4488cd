package docs

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// largestPicture is what a page may load for a picture, in bytes.
const largestPicture = 150_000

// TestPictures: the pictures are well-formed and small, and show what the demo and the
// dashboard of today say. `make pictures` draws them again.
func TestPictures(t *testing.T) {
	demo, dashboard := read(t, "docs/images/demo.svg"), read(t, "docs/images/dashboard.svg")
	for name, picture := range map[string]string{"demo.svg": demo, "dashboard.svg": dashboard} {
		if len(picture) > largestPicture {
			t.Errorf("%s has %d bytes, more than %d", name, len(picture), largestPicture)
		}
		text := xml.NewDecoder(strings.NewReader(picture))
		for {
			if _, err := text.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
	chapters := regexp.MustCompile(`chapter\("([^"]+)"\)`)
	for _, file := range []string{"demo.go", "arrive.go", "network.go", "pods.go", "leave.go"} {
		for _, m := range chapters.FindAllStringSubmatch(read(t, "hack/demo/"+file), -1) {
			shows(t, "demo.svg", demo, m[1])
		}
	}
	var model struct {
		Panels []struct{ Type, Title string }
	}
	if err := json.Unmarshal([]byte(read(t, "packaging/grafana/aws-multi-eni.json")), &model); err != nil {
		t.Fatal(err)
	}
	for _, p := range model.Panels {
		if p.Type == "row" && p.Title == "Programs" { // the picture ends here
			break
		}
		shows(t, "dashboard.svg", dashboard, p.Title)
	}
}

func shows(t *testing.T, name, picture, text string) {
	t.Helper()
	var escaped strings.Builder
	if err := xml.EscapeText(&escaped, []byte(text)); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(picture, escaped.String()+"<") {
		t.Errorf("%s does not show %q: run make pictures", name, text)
	}
}

// The program that draws them is a module of its own: it links Prometheus.
func TestPicturesProgram(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "test", "-C", "../hack/pictures", ".").CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
