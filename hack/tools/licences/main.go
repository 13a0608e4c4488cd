// Command licences tells of the modules that the programs in cmd link, for linux,
// and of their licences. It runs in the root of the tree:
//
//	licences                 docs/dependencies.md
//	licences -texts PROGRAM  the texts that have to come with the program
//
// No tool at hand does both: go-licenses leaves out the standard library, notices, and
// all but one licence of a package, and asks the internet where each is published.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

func main() {
	texts := flag.String("texts", "", "print what has to come with this program")
	root := flag.String("root", "../../..", "the root of the tree")
	flag.Parse()
	if err := run(*root, *texts); err != nil {
		fmt.Fprintln(os.Stderr, "licences:", err)
		os.Exit(1)
	}
}

func run(root, program string) error {
	if err := os.Chdir(root); err != nil {
		return err
	}
	programs := []string{"eni-agent", "eni-coordinator", "eni-cni", "eni-dra", "kubectl-eni"}
	if program != "" {
		programs = []string{program}
	}
	modules, err := linked(programs)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(os.Stdout)
	if program != "" {
		writeTexts(out, program, modules)
	} else {
		writeTable(out, programs, modules)
	}
	return out.Flush()
}

const preface = `<!-- Made by "make generate". -->
# Dependencies

This page lists the Go modules that the programs link, with their SPDX license identifiers, which come
from the files of the modules. [Architecture](architecture.md#dependencies) describes the purpose of each
module that is used directly. The images (/licenses) and packages contain the texts of the licenses.

`

func writeTable(out io.Writer, programs []string, modules []*module) {
	links := map[string]int{}
	var rows strings.Builder
	for _, m := range modules {
		used := "indirectly"
		if m.direct {
			used = "directly"
		}
		fmt.Fprintf(&rows, "| %s | %s | %s | %s |", m.path, m.version, strings.Join(m.licences, ", "), used)
		for _, p := range programs {
			cell := " |"
			if m.programs[p] {
				links[p]++
				cell = " yes |"
			}
			rows.WriteString(cell)
		}
		rows.WriteByte('\n')
	}
	fmt.Fprint(out, preface)
	for _, p := range programs {
		fmt.Fprintf(out, "* `%s` links %d modules in addition to Go's standard library.\n", p, links[p]-1)
	}
	fmt.Fprintf(out, "\n| module | version | license | used | %s |\n|---|---|---|---|%s\n%s",
		strings.Join(programs, " | "), strings.Repeat("---|", len(programs)), &rows)
}

// writeTexts writes each text once, under all that it is of.
func writeTexts(out io.Writer, program string, modules []*module) {
	of := map[string][]string{}
	var texts []string
	for _, m := range modules {
		for _, file := range slices.Sorted(maps.Keys(m.texts)) {
			text := m.texts[file]
			if of[text] == nil {
				texts = append(texts, text)
			}
			of[text] = append(of[text], strings.TrimSpace(m.path+" "+m.version)+": "+file)
		}
	}
	fmt.Fprintf(out, "%s contains third-party software. These are its licenses and notices.\n", program)
	for _, text := range texts {
		fmt.Fprintf(out, "\n%s\n\n%s\n\n%s\n", strings.Repeat("=", 80), strings.Join(of[text], "\n"), text)
	}
}
