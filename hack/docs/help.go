package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// without are the programs of cmd that have neither flags nor subcommands.
var without = []string{"eni-cni"}

// reference is the reference of all programs whose sources are in a directory, made from
// what --help prints.
func reference(programs, sources string) (string, error) {
	dirs, err := os.ReadDir(sources)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, d := range dirs {
		if slices.Contains(without, d.Name()) {
			continue
		}
		help, err := helpOf(programs, d.Name())
		if err != nil {
			return "", err
		}
		section, err := markdown("## "+d.Name(), help)
		if err != nil {
			return "", err
		}
		b.WriteString("\n" + section)
		for _, subcommand := range subcommands(help) {
			help, err := helpOf(programs, d.Name(), subcommand)
			if err != nil {
				return "", err
			}
			section, err := markdown("### "+d.Name()+" "+subcommand, help)
			if err != nil {
				return "", err
			}
			b.WriteString("\n" + section)
		}
	}
	return b.String() + "\n", nil
}

// helpOf is what a command prints for --help. Its environment is empty, because variables
// are the defaults of some flags.
func helpOf(programs, name string, args ...string) (string, error) {
	cmd := exec.Command(filepath.Join(programs, name), append(args, "--help")...)
	cmd.Env = []string{}
	help, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s --help: %w\n%s", strings.Join(append([]string{name}, args...), " "), err, help)
	}
	return string(help), nil
}

// aCommand is a line of the section Usage. kubectl runs a plugin by the words of its name.
var aCommand = regexp.MustCompile(`(?m)^  (?:kubectl )?\S+ ([a-z]+(?:-[a-z]+)*) `)

// subcommands are those that the section Usage lists, each once. version has no flags.
func subcommands(help string) []string {
	usage, _, _ := strings.Cut(between(help, "Usage:\n"), "\n\n")
	var all []string
	for _, m := range aCommand.FindAllStringSubmatch(usage+"\n", -1) {
		if m[1] != "version" && !slices.Contains(all, m[1]) {
			all = append(all, m[1])
		}
	}
	return all
}

// between is the text after a heading.
func between(text, heading string) string {
	_, rest, _ := strings.Cut(text, heading)
	return rest
}

var flagsHeading = regexp.MustCompile(`(?m)^Flags[^\n]*:\n`)

// markdown turns what --help prints into a section: paragraphs, indented lines as code,
// and the flags as a table.
func markdown(heading, help string) (string, error) {
	text, list := help, ""
	at := flagsHeading.FindStringIndex(help)
	if at != nil {
		text, list = help[:at[1]], help[at[1]:]
	}
	text = underTitle.ReplaceAllString(strings.TrimSpace(text), "$1\n\n  ")
	blocks := []string{heading}
	for block := range strings.SplitSeq(text, "\n\n") {
		last := &blocks[len(blocks)-1]
		code, indented := strings.CutPrefix(block, "  ")
		code = strings.ReplaceAll(code, "\n  ", "\n")
		switch before, open := strings.CutSuffix(*last, "\n```"); {
		case !indented:
			blocks = append(blocks, markFlags(block))
		case open:
			*last = before + "\n\n" + code + "\n```"
		case *last == "Examples:":
			blocks = append(blocks, "```sh\n"+code+"\n```")
		default:
			blocks = append(blocks, "```text\n"+code+"\n```")
		}
	}
	section := strings.Join(blocks, "\n\n") + "\n"
	if at == nil {
		return section, nil
	}
	table, err := flagTable(list)
	if err != nil {
		return "", fmt.Errorf("%s: %w", heading, err)
	}
	return section + "\n" + table, nil
}

// underTitle is a line that has indented ones under it.
var underTitle = regexp.MustCompile(`(?m)^(\S.*)\n  `)
