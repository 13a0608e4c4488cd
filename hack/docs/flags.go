package main

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

var (
	// ofFlag is a flag as package flag prints it: its name and the name of its value on one
	// line, its text on the next.
	ofFlag = regexp.MustCompile(`(?m)^  -(\S+)(?: (\S+))?(?:\n\s+|\t)(.*)$`)
	// ofPflag is a flag as package pflag prints it, on one line.
	ofPflag = regexp.MustCompile(`(?m)^ +(?:-\w, )?--(\S+)(?: (\S+))?  +(\S.*)$`)
	// atTheEnd is the default with which a flag's text ends.
	atTheEnd = regexp.MustCompile(` \(default (.*)\)$`)
)

// flagTable is a table of the flags that --help lists.
func flagTable(list string) (string, error) {
	found := ofPflag.FindAllStringSubmatch(list, -1)
	if len(found) == 0 {
		found = ofFlag.FindAllStringSubmatch(list, -1)
	}
	if len(found) == 0 {
		return "", errors.New("--help lists no flags")
	}
	var b strings.Builder
	b.WriteString("| flag | default | description |\n|---|---|---|\n")
	for _, m := range found {
		name, text, fallback := m[1], m[3], ""
		if m[2] != "" {
			name += " " + strings.ToUpper(m[2])
		}
		switch end := atTheEnd.FindStringSubmatch(text); {
		case end != nil:
			text, fallback = strings.TrimSuffix(text, end[0]), strings.Trim(end[1], `"`)
		case m[2] == "":
			fallback = "false"
		}
		dashes := "--"
		if len(m[1]) == 1 {
			dashes = "-"
		}
		fmt.Fprintf(&b, "| `%s%s` | %s | %s |\n", dashes, name, cell(fallback), cell(markFlags(text)))
	}
	return b.String(), nil
}

var inText = regexp.MustCompile(`(^|[\s(])(--[a-z][a-z-]*)`)

// markFlags makes the flags in a text code.
func markFlags(text string) string { return inText.ReplaceAllString(text, "$1`$2`") }
