// Package docs tests what the documentation says: that links lead somewhere, that
// manifests are accepted, and that what it names exists.
package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// root is the top of the source tree.
const root = ".."

// page is a Markdown file, taken apart.
type page struct {
	path   string // from the top of the tree
	prose  []line // outside of code blocks
	blocks []block
}

type line struct {
	number int
	text   string
}

// block is a fenced code block.
type block struct {
	line int
	lang string
	text string
}

// pages are all Markdown files of the tree.
func pages(t *testing.T) []page {
	t.Helper()
	var all []page
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		switch name := d.Name(); {
		case err != nil:
			return err
		case d.IsDir() && path != root && (strings.HasPrefix(name, ".") && name != ".github" || name == "bin"):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, ".md"):
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		path, err = filepath.Rel(root, path)
		all = append(all, parse(filepath.ToSlash(path), string(data)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 8 {
		t.Fatalf("only %d Markdown files", len(all))
	}
	return all
}

var fence = regexp.MustCompile("^ *```(.*)$")

func parse(path, text string) page {
	p := page{path: path}
	var open *block
	for i, l := range strings.Split(text, "\n") {
		switch m := fence.FindStringSubmatch(l); {
		case m != nil && open == nil:
			open = &block{line: i + 1, lang: strings.TrimSpace(m[1])}
		case m != nil:
			p.blocks = append(p.blocks, *open)
			open = nil
		case open != nil:
			open.text += l + "\n"
		default:
			p.prose = append(p.prose, line{i + 1, l})
		}
	}
	return p
}

// code are the inline code spans of the prose.
func (p page) code() []line {
	var spans []line
	for _, l := range p.prose {
		for _, m := range span.FindAllStringSubmatch(l.text, -1) {
			spans = append(spans, line{l.number, m[1]})
		}
	}
	return spans
}

var span = regexp.MustCompile("`([^`]+)`")

// shell are the lines of blocks with commands, joined where a backslash continues
// them, without comments and prompts. Documents within them are left out.
func (p page) shell() []line {
	var lines []line
	for _, b := range p.blocks {
		if b.lang != "sh" && b.lang != "console" {
			continue
		}
		end, open := "", ""
		for i, l := range strings.Split(b.text, "\n") {
			l = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(l), "$ "))
			switch m := heredoc.FindStringSubmatch(l); {
			case end != "":
				if l == end {
					end = ""
				}
				continue
			case m != nil:
				end = m[1]
			}
			if before, _, comment := strings.Cut(" "+l, " #"); comment {
				l = strings.TrimSpace(before)
			}
			if more, ok := strings.CutSuffix(l, `\`); ok {
				open += more
				continue
			}
			if l = open + l; l != "" {
				lines = append(lines, line{b.line + 1 + i, l})
			}
			open = ""
		}
	}
	return lines
}

var heredoc = regexp.MustCompile(`<<-?'?"?([A-Z]+)'?"?`)

// manifests are the documents in a page that are objects of Kubernetes, also those
// that commands are given to read.
func (p page) manifests() []block {
	var all []block
	for _, b := range p.blocks {
		switch b.lang {
		case "yaml":
			all = append(all, b)
		case "sh", "console":
			all = append(all, b.heredocs()...)
		}
	}
	var objects []block
	for _, b := range all {
		at := b.line + 1
		for document := range strings.SplitSeq(b.text, "---\n") {
			if strings.Contains(document, "kind: ") && strings.Contains(document, "apiVersion: ") {
				objects = append(objects, block{at, b.lang, document})
			}
			at += strings.Count(document, "\n") + 1
		}
	}
	return objects
}

func (b block) heredocs() []block {
	var all []block
	var open *block
	end := ""
	for i, l := range strings.Split(b.text, "\n") {
		switch {
		case open == nil:
			if m := heredoc.FindStringSubmatch(l); m != nil {
				open, end = &block{line: b.line + 1 + i}, m[1]
			}
		case strings.TrimSpace(l) == end:
			all = append(all, *open)
			open = nil
		default:
			open.text += l + "\n"
		}
	}
	return all
}

func TestParse(t *testing.T) {
	p := parse("x.md", "# A\n\n`a` and `b c`\n\n```sh\n$ cat >x <<'END'   # c\napiVersion: v1\nkind: X\nEND\nmake \\\n  test\n```\n```yaml\na: 1\n---\napiVersion: v1\nkind: Y\n```\n")
	if got := p.code(); len(got) != 2 || got[1] != (line{3, "b c"}) {
		t.Errorf("code %v", got)
	}
	if got := p.shell(); len(got) != 2 || got[0].text != "cat >x <<'END'" || got[1] != (line{11, "make test"}) {
		t.Errorf("shell %v", got)
	}
	if got := p.manifests(); len(got) != 2 || got[0].text != "apiVersion: v1\nkind: X\n" || got[1].line != 16 {
		t.Errorf("manifests %v", got)
	}
}
