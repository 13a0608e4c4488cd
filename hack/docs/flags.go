package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// aFlag is a flag in the words of package flag: its name and the name of its
// value on one line, its text on the next, with the default at the end.
var aFlag = regexp.MustCompile(`(?m)^  -(\S+)(?: (\S+))?\n\s+(.*)$`)

// atTheEnd is the default that a flag's text ends with.
var atTheEnd = regexp.MustCompile(` \(default (.*)\)$`)

// flags is a table of the flags of a command, such as "eni-agent status".
func flags(programs, command string) (string, error) {
	words := strings.Fields(command)
	help, err := exec.Command(filepath.Join(programs, words[0]), append(words[1:], "--help")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s --help: %w", command, err)
	}
	found := aFlag.FindAllStringSubmatch(string(help), -1)
	if len(found) == 0 {
		return "", fmt.Errorf("%s --help lists no flags", command)
	}
	var b strings.Builder
	b.WriteString("| flag | default | |\n|---|---|---|\n")
	for _, m := range found {
		name, text, fallback := m[1], m[3], ""
		if m[2] != "" {
			name += " " + strings.ToUpper(m[2])
		}
		if end := atTheEnd.FindStringSubmatch(text); end != nil {
			text, fallback = strings.TrimSuffix(text, end[0]), strings.Trim(end[1], `"`)
		}
		dashes := "--"
		if len(m[1]) == 1 {
			dashes = "-"
		}
		fmt.Fprintf(&b, "| `%s%s` | %s | %s |\n", dashes, name, cell(fallback), cell(text))
	}
	return b.String(), nil
}
