package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Where reasons come from.
var reasonPackages = []string{"agent", "coordinator", "internal/eni"}

// Words of that form that are no reasons, or are never shown.
var notReasons = []string{
	"Name", "NodeENI",
	// While subnets and groups are looked up nothing is reported, or what fails.
	"Resolving",
	// What a dry run says that would have been carried out.
	"DryRunOperation",
	// What the actions that read begin with.
	"Describe",
	// A metric's label.
	"Other",
	// The effect of a taint.
	"NoSchedule",
	// What the answers of EC2 and the operations of STS are told by.
	"Response", "AssumeRole",
}

// The actions of EC2 have that form, too.
var ec2Action = regexp.MustCompile(`^(Describe|Create|Attach|Detach|Delete|Modify|Assign)(NetworkInterface|Subnet|SecurityGroup|InstanceType|PrivateIpAddresses|Ipv6Addresses)`)

var reasonForm = regexp.MustCompile(`^[A-Z][a-z0-9]+([A-Z][A-Za-z0-9]*)*(\.[A-Z][A-Za-z]+)?$|^[A-Z][A-Z0-9]+[a-z][A-Za-z0-9]*$`)

// The troubleshooting page has every reason that agent and coordinator give, and
// no other.
func TestReasons(t *testing.T) {
	documented := map[string]bool{}
	for _, p := range pages(t) {
		if p.path == "docs/troubleshooting.md" {
			documented = p.firstColumn(t, "reason", "code of EC2")
		}
	}
	given := map[string]string{}
	for _, dir := range reasonPackages {
		collectReasons(t, dir, given)
	}
	for word, where := range given {
		if !documented[word] && !slices.Contains(notReasons, word) {
			t.Errorf("%s: the reason %s is not in docs/troubleshooting.md", where, word)
		}
	}
	for word := range documented {
		if given[word] == "" {
			t.Errorf("docs/troubleshooting.md: nothing gives the reason %s", word)
		}
	}
	for _, word := range notReasons {
		if given[word] == "" {
			t.Errorf("%s is in the list of what is no reason, and nowhere else", word)
		}
	}
}

// firstColumn are the code spans in the first column of the tables below "All
// reasons" whose first header is one of those.
func (p page) firstColumn(t *testing.T, headers ...string) map[string]bool {
	t.Helper()
	words := map[string]bool{}
	below, in := false, false
	found := 0
	for _, l := range p.prose {
		below = below || l.text == "## All reasons"
		cells := strings.Split(l.text, "|")
		switch {
		case !below:
		case len(cells) < 3:
			in = false
		case slices.Contains(headers, strings.TrimSpace(cells[1])):
			in = true
			found++
		case in:
			for _, m := range span.FindAllStringSubmatch(cells[1], -1) {
				if words[m[1]] {
					t.Errorf("%s:%d: %s is there twice", p.path, l.number, m[1])
				}
				words[m[1]] = true
			}
		}
	}
	if found != len(headers) {
		t.Fatalf("%s: %d of the tables %q found", p.path, found, headers)
	}
	return words
}

func collectReasons(t *testing.T, dir string, into map[string]string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no Go files in %s: %v", dir, err)
	}
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			literal, ok := n.(*ast.BasicLit)
			if !ok || literal.Kind != token.STRING {
				return true
			}
			if text, err := strconv.Unquote(literal.Value); err == nil && reasonForm.MatchString(text) && !ec2Action.MatchString(text) {
				into[text] = set.Position(literal.Pos()).String()
			}
			return true
		})
	}
}
