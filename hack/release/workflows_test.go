package release

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

type workflow struct {
	Permissions permissions
	Jobs        map[string]struct {
		Uses           string
		Permissions    permissions
		TimeoutMinutes int `json:"timeout-minutes"`
		Steps          []struct{ Name, Uses, Run string }
	}
}

// permissions of a token: the scope, and read, write or none.
type permissions map[string]string

func (p permissions) writes() []string {
	var scopes []string
	for _, scope := range slices.Sorted(maps.Keys(p)) {
		if p[scope] == "write" {
			scopes = append(scopes, scope)
		}
	}
	return scopes
}

// writers are the jobs whose token may do more than read, and what it may write.
var writers = map[string][]string{
	"release.yml/release":    {"attestations", "contents", "id-token", "packages"},
	"codeql.yml/analyze":     {"security-events"},
	"scorecard.yml/analysis": {"id-token", "security-events"},
}

var (
	pinned      = regexp.MustCompile(`(?m)uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`)
	makeTargets = regexp.MustCompile(`(?m)(?:^|&& |; )make ([a-z -]+)`)
	credentials = regexp.MustCompile(`uses: actions/checkout@.*\n\s+with:\n\s+persist-credentials: false\n`)
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
			if writes := w.Permissions.writes(); len(writes) > 0 {
				t.Errorf("every job may write %v: give it to the job that needs it", writes)
			}
			if n := strings.Count(string(content), "uses: actions/checkout@"); n != len(credentials.FindAll(content, -1)) {
				t.Error("a checkout keeps the token in .git/config: set persist-credentials to false")
			}
			if all := strings.Count(string(content), "uses: ") - strings.Count(string(content), "uses: ./"); all != len(pinned.FindAll(content, -1)) {
				t.Error("an action is not pinned to a commit with its version beside it")
			}
			for name, job := range w.Jobs {
				if writes := job.Permissions.writes(); !slices.Equal(writes, writers[filepath.Base(file)+"/"+name]) {
					t.Errorf("job %s may write %v, agreed are %v", name, writes, writers[filepath.Base(file)+"/"+name])
				}
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
