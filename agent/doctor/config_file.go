package doctor

import (
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// section is a part of a configuration file as systemd and NetworkManager have
// them: [Name], then Key=Value.
type section struct {
	name   string
	values map[string][]string // by key in lower case; each in the order of the file
}

// last is the value that counts where the last one does.
func (s section) last(key string) string {
	values := s.values[key]
	if len(values) == 0 {
		return ""
	}
	return values[len(values)-1]
}

func parseSections(text string) []section {
	var all []section
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#' || line[0] == ';':
		case line[0] == '[':
			all = append(all, section{name: strings.Trim(line, "[]"), values: map[string][]string{}})
		case len(all) > 0:
			key, value, _ := strings.Cut(line, "=")
			key = strings.ToLower(strings.TrimSpace(key))
			values := all[len(all)-1].values
			values[key] = append(values[key], strings.TrimSpace(value))
		}
	}
	return all
}

// root is the host's file system.
type root string

func (r root) path(name string) string { return filepath.Join(string(r), name) }

func (r root) read(name string) (string, bool) {
	data, err := os.ReadFile(r.path(name))
	return string(data), err == nil
}

// masked: an empty file, or a link to /dev/null, that stands for "not this one".
// Such a link leads out of a root that is not "/".
func (r root) masked(name string) bool {
	if target, err := os.Readlink(r.path(name)); err == nil && target == "/dev/null" {
		return true
	}
	text, readable := r.read(name)
	return readable && strings.TrimSpace(text) == ""
}

func (r root) exists(name string) bool {
	_, err := os.Lstat(r.path(name))
	return err == nil
}

// list gives the files of directories whose names match a pattern, sorted by name.
// Of equal names the one in the first directory counts.
func (r root) list(directories []string, pattern string) []string {
	byName := map[string]string{}
	var names []string
	for _, directory := range directories {
		entries, _ := os.ReadDir(r.path(directory))
		for _, e := range entries {
			if matched, _ := path.Match(pattern, e.Name()); matched && byName[e.Name()] == "" {
				byName[e.Name()] = path.Join(directory, e.Name())
				names = append(names, e.Name())
			}
		}
	}
	slices.Sort(names)
	files := make([]string, 0, len(names))
	for _, name := range names {
		files = append(files, byName[name])
	}
	return files
}

// first is the file of that name in the first directory that has it.
func (r root) first(directories []string, name string) (string, bool) {
	for _, directory := range directories {
		if file := path.Join(directory, name); r.exists(file) {
			return file, true
		}
	}
	return "", false
}

// glob says whether a shell pattern matches.
func glob(pattern, text string) bool {
	matched, err := path.Match(pattern, text)
	return err == nil && matched
}
