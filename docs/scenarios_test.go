package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var scenario = regexp.MustCompile("(?m)^\\| \\d+ \\| .* \\| `(Test\\w+)(?:/(\\d+))?`(?:, `make [\\w-]+`)? \\|$")

// Each scenario of testing.md has a test of that name.
func TestScenarios(t *testing.T) {
	page, err := os.ReadFile("testing.md")
	if err != nil {
		t.Fatal(err)
	}
	var tests strings.Builder
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		data, err := os.ReadFile(path)
		tests.Write(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	rows := scenario.FindAllStringSubmatch(string(page), -1)
	if len(rows) < 20 {
		t.Errorf("only %d scenarios found", len(rows))
	}
	for _, row := range rows {
		if !strings.Contains(tests.String(), "\nfunc "+row[1]+"(t *testing.T) {") {
			t.Errorf("there is no %s", row[1])
		}
		if sub := row[2]; sub != "" && !strings.Contains(tests.String(), `c.run("`+sub+" ") {
			t.Errorf("%s has no sub-test %s", row[1], sub)
		}
	}
}
