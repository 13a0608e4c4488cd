package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// better are words that documentation and messages do not use, with those that they do:
// the guide in CONTRIBUTING.md, as far as a test can hold it.
var better = map[*regexp.Regexp]string{
	word(`nobody`):             "name the actor",
	word(`whoever`):            "a user who",
	word(`mend(s|ed|ing)?`):    "fix",
	word(`anew`):               "again",
	word(`shall`):              "must",
	word(`in vain`):            "without success",
	word(`for ever`):           "forever, or without end",
	word(`from then on`):       "after that",
	word(`left over`):          "leftover",
	word(`taken for`):          "mistaken for",
	word(`stand-alone`):        "standalone",
	word(`start-up taint`):     "startup taint",
	word(`side by side`):       "in parallel",
	word(`not to be had`):      "not available",
	word(`anybody|somebody`):   "anyone, someone, or the actor",
	word(`there is no way to`): "cannot",
	word(`any more`):           "anymore, or no longer",
	word(`licence`):            "license",
	word(`artefacts?`):         "artifact",
	word(`(un)?labelled`):      "labeled",
	word(`(behavi|col)ours?`):  "US spelling: -or",
	word(`no right to`):        "no permission to",
}

func word(pattern string) *regexp.Regexp {
	return regexp.MustCompile(`(?i)\b(` + pattern + `)\b`)
}

// TestWords holds pages, manifests and the messages of programs to the words of the guide.
func TestWords(t *testing.T) {
	for _, p := range pages(t) {
		if p.path == "CONTRIBUTING.md" { // it names the words
			continue
		}
		var before string
		for _, l := range p.prose {
			checkWords(t, p.path, l.number, before, l.text)
			before = strings.TrimSpace(l.text)
		}
	}
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		switch name := d.Name(); {
		case err != nil:
			return err
		case d.IsDir() && path != root && (strings.HasPrefix(name, ".") || name == "bin" || name == "testdata"):
			return filepath.SkipDir
		case d.IsDir() || strings.HasSuffix(name, "_test.go"):
		case strings.HasSuffix(name, ".go"):
			return checkMessages(t, path)
		case strings.HasSuffix(name, ".yaml"), strings.HasSuffix(name, ".txt"), strings.HasSuffix(name, ".service"):
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for i, l := range strings.Split(string(data), "\n") {
				checkWords(t, path, i+1, "", l)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// checkMessages checks the string literals of a Go file, which is what users may see of it.
func checkMessages(t *testing.T, path string) error {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
			checkWords(t, path, files.Position(l.Pos()).Line, "", l.Value)
		}
		return true
	})
	return nil
}

// checkWords checks a line, and what begins at the end of the line before it.
func checkWords(t *testing.T, path string, number int, before, text string) {
	t.Helper()
	for pattern, instead := range better {
		found := pattern.FindString(text)
		if found == "" && !pattern.MatchString(before) {
			found = pattern.FindString(before + " " + strings.TrimSpace(text))
		}
		if found != "" {
			t.Errorf("%s:%d: %q; write: %s", path, number, found, instead)
		}
	}
}

var (
	divider  = regexp.MustCompile(`^\s*\|[-:| ]+\|\s*$`)
	notProse = regexp.MustCompile(`^(#|\||[*-] |\d+\. )`)
	noOne    = word(`no one`)
)

// TestTablesHaveHeaders: every column of every table says what is in it.
func TestTablesHaveHeaders(t *testing.T) {
	for _, p := range pages(t) {
		for i, l := range p.prose {
			if i == 0 || !divider.MatchString(l.text) {
				continue
			}
			for cell := range strings.SplitSeq(strings.Trim(strings.TrimSpace(p.prose[i-1].text), "|"), "|") {
				if strings.TrimSpace(cell) == "" {
					t.Errorf("%s:%d: a column without a header: %s", p.path, p.prose[i-1].number, p.prose[i-1].text)
				}
			}
		}
	}
}

// TestPagesBegin: each page says first what it is about, in a sentence.
func TestPagesBegin(t *testing.T) {
	for _, p := range pages(t) {
		if strings.HasPrefix(p.path, ".github") {
			continue
		}
		seen, uses := 0, 0
		for _, l := range p.prose {
			uses += len(noOne.FindAllString(l.text, -1))
			text := strings.TrimSpace(l.text)
			if text == "" || strings.HasPrefix(text, "<") || strings.HasPrefix(text, "![") || strings.HasPrefix(text, "[![") {
				continue
			}
			seen++
			if seen == 1 && !strings.HasPrefix(text, "# ") || seen == 2 && notProse.MatchString(text) {
				t.Errorf("%s:%d: a page begins with its title and a paragraph: %s", p.path, l.number, text)
			}
		}
		if uses > 1 {
			t.Errorf("%s: \"no one\" %d times; once is enough", p.path, uses)
		}
	}
}
