package docs

import (
	"os"
	"path/filepath"
	"testing"

	"sigs.k8s.io/yaml"
)

// GitHub shows an issue form only when it is complete.
func TestIssueForms(t *testing.T) {
	forms, err := filepath.Glob(filepath.Join(root, ".github/ISSUE_TEMPLATE/*.yml"))
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, path := range forms {
		if filepath.Base(path) == "config.yml" {
			continue
		}
		count++
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var form struct {
			Name, Description string
			Labels            []string
			Body              []struct {
				Type, ID    string
				Attributes  struct{ Label, Description, Placeholder, Render string }
				Validations struct{ Required bool }
			}
		}
		if err := yaml.UnmarshalStrict(text, &form); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		ids := map[string]bool{}
		for _, item := range form.Body {
			if item.ID == "" || ids[item.ID] || item.Attributes.Label == "" || item.Type != "textarea" && item.Type != "input" {
				t.Errorf("%s: wrong: %+v", path, item)
			}
			ids[item.ID] = true
		}
		if form.Name == "" || form.Description == "" || len(form.Body) == 0 {
			t.Errorf("%s: name, description or body is missing", path)
		}
	}
	if count == 0 {
		t.Error("no issue form found")
	}
}
