package release

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

type workflow struct {
	Permissions any
	Jobs        map[string]struct {
		Uses           string
		Permissions    any
		TimeoutMinutes int `json:"timeout-minutes"`
		Steps          []struct{ Name, Uses, Run string }
	}
}

var (
	pinned      = regexp.MustCompile(`(?m)uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`)
	makeTargets = regexp.MustCompile(`(?m)(?:^|&& |; )make ([a-z -]+)`)
	scripts     = regexp.MustCompile(`\.ci/run|hack/[\w./-]+`)
)

func TestWorkflows(t *testing.T) {
	const root = "../.."
	files, err := filepath.Glob(filepath.Join(root, ".github/workflows/*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("workflows: %v, %v", files, err)
	}
	makefile := string(read(t, filepath.Join(root, "Makefile")))
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			content := read(t, file)
			var w workflow
			if err := yaml.Unmarshal(content, &w); err != nil {
				t.Fatal(err)
			}
			if w.Permissions == nil {
				t.Error("no permissions: the token gets those of the repository's settings")
			}
			if all := strings.Count(string(content), "uses: ") - strings.Count(string(content), "uses: ./"); all != len(pinned.FindAll(content, -1)) {
				t.Error("an action is not pinned to a commit with its version beside it")
			}
			for name, job := range w.Jobs {
				if job.Uses == "" && job.TimeoutMinutes == 0 {
					t.Errorf("job %s has no timeout", name)
				}
				for _, step := range job.Steps {
					for _, run := range makeTargets.FindAllStringSubmatch(step.Run, -1) {
						for target := range strings.FieldsSeq(run[1]) {
							if !strings.Contains(makefile, "\n"+target+":") {
								t.Errorf("job %s: there is no `make %s`", name, target)
							}
						}
					}
					for _, script := range scripts.FindAllString(step.Run, -1) {
						if _, err := os.Stat(filepath.Join(root, script)); err != nil {
							t.Errorf("job %s: %v", name, err)
						}
					}
				}
			}
		})
	}
}

func TestScriptsAreExecutable(t *testing.T) {
	files, err := filepath.Glob("*.sh")
	if err != nil || len(files) == 0 {
		t.Fatalf("scripts: %v, %v", files, err)
	}
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode()&0o111 == 0 {
			t.Errorf("%s is not executable", file)
		}
	}
}
