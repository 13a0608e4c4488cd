package main

import (
	"errors"
	"strings"
	"testing"
)

func TestFill(t *testing.T) {
	const text = "a\n<!-- generated: flags x y -->\nold\n<!-- end -->\nb\n<!-- generated: values z -->\n<!-- end -->\n"
	got, err := fill([]byte(text), func(what, argument string) (string, error) { return what + "|" + argument + "\n", nil })
	want := "a\n<!-- generated: flags x y -->\nflags|x y\n<!-- end -->\nb\n<!-- generated: values z -->\nvalues|z\n<!-- end -->\n"
	if err != nil || string(got) != want {
		t.Errorf("got %v\n%s\nwant\n%s", err, got, want)
	}
	failed := errors.New("no such program")
	if _, err := fill([]byte(text), func(string, string) (string, error) { return "", failed }); !errors.Is(err, failed) {
		t.Errorf("got %v, want the generator's error", err)
	}
}

func TestSchemaTable(t *testing.T) {
	for want, s := range map[string]schema{
		"list of strings":  {Type: "array", Items: &schema{Type: "string"}},
		"map of strings":   {Type: "object", AdditionalProperties: &schema{Type: "string"}},
		"`None`, `Host`":   {Type: "string", Enum: []any{"None", "Host"}},
		"integer":          {Type: "integer"},
		"list of integers": {Type: "array", Items: &schema{Type: "integer"}},
	} {
		if got := s.typeName(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if got, want := (schema{Description: "a\nb | c."}).text(), `a b \| c.`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestValues(t *testing.T) {
	got, err := values("testdata/values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Join([]string{
		"| value | default | description |",
		"|---|---|---|",
		"| `awsRegion` | `\"\"` | Region of EC2; empty: as the instance says. |",
		"| **`controller`** | | The coordinator. |",
		"| `controller.replicas` | `2` | One leads, the others wait. |",
		"| `tolerations` | `[{\"operator\":\"Exists\"}]` |  |",
		"| `podLabels` | `{}` |  |",
		"",
	}, "\n")
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

const help = `x does a thing
and another with --wait.

Usage:
  x [flags]              run it
  x sub-command [flags]  run a part of it
  x version              print the version

Examples:
  # First
  x --wait=2s

  x -o json

Flags:
  -o string
    	output format: table or json (default "table")
  -v	print more
  -wait duration
    	how long to wait | or not, see (--all-of-it) (default 5s)
`

func TestMarkdown(t *testing.T) {
	got, err := markdown("## x", help)
	want := strings.Join([]string{
		"## x", "", "x does a thing\nand another with `--wait`.", "",
		"Usage:", "", "```text", "x [flags]              run it", "x sub-command [flags]  run a part of it", "x version              print the version", "```", "",
		"Examples:", "", "```sh", "# First", "x --wait=2s", "", "x -o json", "```", "",
		"Flags:", "",
		"| flag | default | description |", "|---|---|---|",
		"| `-o STRING` | table | output format: table or json |",
		"| `-v` | false | print more |",
		"| `--wait DURATION` | 5s | how long to wait \\| or not, see (`--all-of-it`) |", "",
	}, "\n")
	if err != nil || got != want {
		t.Errorf("got %v\n%s\nwant\n%s", err, got, want)
	}
	if _, err := markdown("## x", "x\n\nFlags:\n"); err == nil {
		t.Error("a list without flags is no error")
	}
}

// A program may use package pflag.
func TestPflags(t *testing.T) {
	got, err := flagTable("  -n, --namespace string   where it is (default \"eni-system\")\n      --watch              go on, see --namespace\n")
	want := "| flag | default | description |\n|---|---|---|\n" +
		"| `--namespace STRING` | eni-system | where it is |\n" +
		"| `--watch` | false | go on, see `--namespace` |\n"
	if err != nil || got != want {
		t.Errorf("got %v\n%s\nwant\n%s", err, got, want)
	}
}

func TestSubcommands(t *testing.T) {
	for text, want := range map[string]string{
		help: "sub-command",
		"kubectl-x\n\nUsage:\n  kubectl x status [flags]   show\n  kubectl x why NODE   explain\n\nExamples:\n  kubectl x other y\n": "status why",
		"no usage\n\n  x other [flags]  y\n": "",
	} {
		if got := strings.Join(subcommands(text), " "); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
