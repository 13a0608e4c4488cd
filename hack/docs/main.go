// Command docs fills the generated parts of docs/configuration.md: the fields of
// the custom resources from their CRDs, the flags of the programs from --help,
// the values of the Helm chart from values.yaml. It runs at the top of the tree.
//
//	go run ./hack/docs -programs bin          writes the page
//	go run ./hack/docs -programs bin -check   fails when it is not up to date
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"regexp"
)

const page = "docs/configuration.md"

func main() {
	programs := flag.String("programs", "bin", "directory of eni-agent and eni-coordinator")
	check := flag.Bool("check", false, "only say whether the page is up to date")
	flag.Parse()
	if err := run(*programs, *check); err != nil {
		fmt.Fprintln(os.Stderr, "docs:", err)
		os.Exit(1)
	}
}

func run(programs string, check bool) error {
	old, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	fresh, err := fill(old, func(what, argument string) (string, error) {
		switch what {
		case "fields":
			return fields(argument)
		case "flags":
			return flags(programs, argument)
		case "values":
			return values(argument)
		}
		return "", fmt.Errorf("%s has a part %q that this program does not generate", page, what)
	})
	switch {
	case err != nil:
		return err
	case bytes.Equal(old, fresh):
		return nil
	case check:
		return fmt.Errorf("%s is stale: run 'make generate' and commit what it changes", page)
	}
	return os.WriteFile(page, fresh, 0o644)
}

// part is a generated part: a marker that says what it is, and its end.
var part = regexp.MustCompile(`(?s)(<!-- generated: (\w+) ([^\n]*?) -->\n).*?(<!-- end -->)`)

// fill replaces the generated parts of a page.
func fill(text []byte, generate func(what, argument string) (string, error)) ([]byte, error) {
	var failed error
	fresh := part.ReplaceAllFunc(text, func(old []byte) []byte {
		m := part.FindSubmatch(old)
		table, err := generate(string(m[2]), string(m[3]))
		if err != nil && failed == nil {
			failed = err
		}
		return []byte(string(m[1]) + table + string(m[4]))
	})
	return fresh, failed
}
