package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

var diagramTypes = []string{"flowchart", "stateDiagram-v2", "classDiagram", "sequenceDiagram"}

// diagrams are the Mermaid blocks of that type.
func diagrams(t *testing.T, kind string) []block {
	t.Helper()
	var all []block
	for _, p := range pages(t) {
		for _, b := range p.blocks {
			if b.lang == "mermaid" && strings.HasPrefix(b.text, kind) {
				all = append(all, b)
			}
		}
	}
	return all
}

// Diagrams begin with a type that Mermaid knows.
func TestMermaid(t *testing.T) {
	count := 0
	for _, p := range pages(t) {
		for _, b := range p.blocks {
			if b.lang != "mermaid" {
				continue
			}
			count++
			text := b.text
			if front, rest, ok := strings.Cut(strings.TrimPrefix(text, "---\n"), "\n---\n"); ok && strings.HasPrefix(front, "title: ") {
				text = rest
			}
			if words := strings.Fields(text); len(words) == 0 || !slices.Contains(diagramTypes, words[0]) {
				t.Errorf("%s:%d: a diagram begins with one of %v", p.path, b.line, diagramTypes)
			}
		}
	}
	if count < 3 {
		t.Errorf("only %d diagrams found", count)
	}
}

var transition = regexp.MustCompile(`(?m)^\s*(\S+) --> ([^\s:]+)`)

// The diagram of an ENI's life has the phases of the API, and no others.
func TestStates(t *testing.T) {
	shown := map[string]bool{}
	for _, d := range diagrams(t, "stateDiagram-v2") {
		for _, m := range transition.FindAllStringSubmatch(d.text, -1) {
			shown[m[1]], shown[m[2]] = true, true
		}
	}
	delete(shown, "[*]")
	for _, phase := range phases(t) {
		if !shown[phase] {
			t.Errorf("the phase %s is not in the diagram", phase)
		}
		delete(shown, phase)
	}
	for name := range shown {
		t.Errorf("the API has no phase %s", name)
	}
}

// phases are the constants of the type Phase.
func phases(t *testing.T) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, "api/v1alpha1/nodeenistate.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if of, ok := spec.Type.(*ast.Ident); ok && of.Name == "Phase" {
			value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, value)
		}
		return true
	})
	if len(all) < 5 {
		t.Fatalf("only the phases %v found", all)
	}
	return all
}

var class = regexp.MustCompile(`(?s)class (\w+) \{\n(.*?)\n\s*\}`)

// The diagram of the types has their fields, and no others.
func TestTypes(t *testing.T) {
	types := map[string]reflect.Type{}
	for _, v := range []any{
		v1alpha1.NodeENISpec{}, v1alpha1.NodeENIStatus{}, v1alpha1.NodeCounts{}, v1alpha1.Attachment{},
		v1alpha1.NodeENIStateStatus{}, v1alpha1.ENIState{},
	} {
		types[reflect.TypeOf(v).Name()] = reflect.TypeOf(v)
	}
	for _, d := range diagrams(t, "classDiagram") {
		for _, m := range class.FindAllStringSubmatch(d.text, -1) {
			of, ok := types[m[1]]
			if !ok {
				continue // an object, in words
			}
			delete(types, m[1])
			var shown []string
			for line := range strings.SplitSeq(m[2], "\n") {
				if words := strings.Fields(line); len(words) > 0 {
					shown = append(shown, words[0])
				}
			}
			slices.Sort(shown)
			if want := fields(of); !slices.Equal(shown, want) {
				t.Errorf("%s is shown with\n\t%v\nand has\n\t%v", m[1], shown, want)
			}
		}
	}
	for name := range types {
		t.Errorf("%s is in no diagram", name)
	}
}

func fields(of reflect.Type) []string {
	var all []string
	for i := range of.NumField() {
		name, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}
