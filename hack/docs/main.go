// Command docs fills the generated parts of docs/configuration.md and docs/cli.md: the
// fields of the custom resources from their CRDs, the values of the Helm chart from
// values.yaml, the reference of the programs from --help. It runs at the top of the tree.
//
//	go run ./hack/docs -programs bin          writes the pages
//	go run ./hack/docs -programs bin -check   fails if they are not up to date
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"regexp"
)

var pages = []string{"docs/configuration.md", "docs/cli.md"}

func main() {
	programs := flag.String("programs", "bin", "directory of the programs")
	check := flag.Bool("check", false, "only check whether the pages are up to date")
	flag.Parse()
	for _, page := range pages {
		if err := run(page, *programs, *check); err != nil {
			fmt.Fprintln(os.Stderr, "docs:", err)
			os.Exit(1)
		}
	}
}

func run(page, programs string, check bool) error {
	old, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	fresh, err := fill(old, func(what, argument string) (string, error) {
		switch what {
		case "fields":
			return fields(argument)
		case "programs":
			return reference(programs, argument)
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

// part is a generated part: a marker that names its generator, and its end.
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
