package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var scenario = regexp.MustCompile("(?m)^\\| (\\d+) \\| .* \\| `(Test\\w+)(?:/(\\d+))?`(?:, `make [\\w-]+`)? \\|$")

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
	const count = 29
	rows := scenario.FindAllStringSubmatch(string(page), -1)
	if len(rows) != count {
		t.Errorf("%d scenarios, want %d", len(rows), count)
	}
	for i, row := range rows {
		if row[1] != strconv.Itoa(i+1) {
			t.Errorf("the scenario after %d is %s", i, row[1])
		}
		if !strings.Contains(tests.String(), "\nfunc "+row[2]+"(t *testing.T) {") {
			t.Errorf("scenario %s: there is no %s", row[1], row[2])
		}
		if sub := row[3]; sub != "" && !strings.Contains(tests.String(), `c.run("`+sub+" ") {
			t.Errorf("scenario %s: %s has no sub-test %s", row[1], row[2], sub)
		}
	}
}
