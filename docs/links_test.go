package docs

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var link = regexp.MustCompile(`\]\(([^()\s]+)\)`)

// Links within the tree lead to files and headings that exist, and those out of it
// are encrypted.
func TestLinks(t *testing.T) {
	anchors := map[string]map[string]bool{}
	all := pages(t)
	for _, p := range all {
		anchors[p.path] = p.anchors()
	}
	count := 0
	for _, p := range all {
		for _, l := range p.prose {
			for _, m := range link.FindAllStringSubmatch(span.ReplaceAllString(l.text, ""), -1) {
				count++
				if problem := broken(p, m[1], anchors); problem != "" {
					t.Errorf("%s:%d: %s: %s", p.path, l.number, m[1], problem)
				}
			}
		}
	}
	if count < 50 {
		t.Errorf("only %d links found", count)
	}
}

func broken(p page, target string, anchors map[string]map[string]bool) string {
	if strings.Contains(target, ":") {
		if !strings.HasPrefix(target, "https://") {
			return "want https"
		}
		return ""
	}
	file, anchor, _ := strings.Cut(target, "#")
	if file = path.Join(path.Dir(p.path), file); target[0] == '#' {
		file = p.path
	}
	info, err := os.Stat(filepath.Join(root, file))
	if err != nil {
		return "there is no " + file
	}
	if info.IsDir() && anchor != "" {
		file = path.Join(file, "README.md")
	}
	if anchor != "" && !anchors[file][anchor] {
		return "no such heading in " + file
	}
	return ""
}

var notInAnchor = regexp.MustCompile(`[^\p{L}\p{N}\-_ ]`)

// anchors are the page's headings as GitHub makes them.
func (p page) anchors() map[string]bool {
	all := map[string]bool{}
	for _, l := range p.prose {
		hashes, title, ok := strings.Cut(l.text, " ")
		if !ok || strings.Trim(hashes, "#") != "" || hashes == "" {
			continue
		}
		anchor := strings.ReplaceAll(notInAnchor.ReplaceAllString(strings.ToLower(strings.TrimSpace(title)), ""), " ", "-")
		unique := anchor
		for i := 1; all[unique]; i++ {
			unique = anchor + "-" + strconv.Itoa(i)
		}
		all[unique] = true
	}
	return all
}
