package iam

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

const (
	module = "github.com/aws-multi-eni/aws-multi-eni"
	ec2Pkg = "github.com/aws/aws-sdk-go-v2/service/ec2"
)

// alone is what an agent calls only when it stands alone: in a cluster its
// Collector is nil, and its doctor tries no removal.
var alone = map[string]bool{
	"(*" + module + "/internal/eni.Client).DryRunRemoval": true,

	"(" + module + "/agent.Collector).Detach": true,
	"(" + module + "/agent.Collector).Delete": true,
}

// TestUsage: every EC2 action that a program can reach is granted by its policy,
// and none besides.
func TestUsage(t *testing.T) {
	agent, coordinator := load(t, "./cmd/eni-agent"), load(t, "./cmd/eni-coordinator")
	const adopt = module + "/cmd/eni-coordinator.adoptENIs" // an administrator runs that
	for _, test := range []struct {
		policy string
		used   []string
	}{
		{"agent", agent.actions(alone)},
		{"agent-pod-role", agent.actions(alone)},
		{"agent-standalone", agent.actions(nil)},
		{"coordinator", coordinator.actions(map[string]bool{adopt: true})},
		{"administrator-adopt", coordinator.actionsOf(nil, adopt)},
	} {
		if got := granted(t, test.policy); !slices.Equal(got, test.used) {
			t.Errorf("%s grants\n  %s\nand the program uses\n  %s", test.policy, strings.Join(got, " "), strings.Join(test.used, " "))
		}
	}
}

// TestAgentTakesNothingAway: whatever the code does.
func TestAgentTakesNothingAway(t *testing.T) {
	for _, name := range []string{"agent", "agent-pod-role"} {
		for _, action := range granted(t, name) {
			if strings.HasPrefix(action, "Detach") || strings.HasPrefix(action, "Delete") {
				t.Errorf("%s grants %s", name, action)
			}
		}
	}
}

// program is who mentions whom among a program's functions.
type program struct {
	mentions map[string][]string // by the function's full name
	methods  map[string][]string // full names by name and signature, for interfaces
	calls    map[string][]string // EC2 actions that a function calls itself
	roots    []string
}

type listed struct {
	ImportPath, Dir, Export string
	GoFiles                 []string
}

// load reads the module's packages that the program is made of. The rest is
// taken from the compiler's export data.
func load(t *testing.T, path string) *program {
	t.Helper()
	if err := testbed.ReadTree(filepath.Join("..", ".."), ".go", "go.mod"); err != nil {
		t.Fatal(err)
	}
	args := []string{"list", "-deps", "-export", "-json=ImportPath,Dir,Export,GoFiles"}
	if raceEnabled {
		args = append(args, "-race") // the build cache has those
	}
	cmd := exec.Command("go", append(args, path)...)
	cmd.Dir, cmd.Stderr = filepath.Join("..", ".."), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	exports := map[string]string{}
	var ours []listed
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		exports[p.ImportPath] = p.Export
		if strings.HasPrefix(p.ImportPath, module) {
			ours = append(ours, p)
		}
	}
	files := token.NewFileSet()
	imports := importer.ForCompiler(files, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	p := &program{mentions: map[string][]string{}, methods: map[string][]string{}, calls: map[string][]string{}}
	for _, l := range ours {
		p.read(t, l, files, imports)
	}
	return p
}

func (p *program) read(t *testing.T, l listed, files *token.FileSet, imports types.Importer) {
	t.Helper()
	var parsed []*ast.File
	for _, name := range l.GoFiles {
		file, err := parser.ParseFile(files, filepath.Join(l.Dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, file)
	}
	info := &types.Info{Defs: map[*ast.Ident]types.Object{}, Uses: map[*ast.Ident]types.Object{}}
	if _, err := (&types.Config{Importer: imports}).Check(l.ImportPath, files, parsed, info); err != nil {
		t.Fatal(err)
	}
	for _, file := range parsed {
		for _, declaration := range file.Decls {
			name := l.ImportPath + " variables"
			if f, ok := declaration.(*ast.FuncDecl); ok {
				function := info.Defs[f.Name].(*types.Func)
				name = function.FullName()
				if f.Recv != nil {
					p.methods[key(function)] = append(p.methods[key(function)], name)
				} else if f.Name.Name == "main" || f.Name.Name == "init" {
					p.roots = append(p.roots, name)
				}
			} else {
				p.roots = append(p.roots, name)
			}
			p.scan(name, declaration, info)
		}
	}
}

var paginator = regexp.MustCompile(`^New(\w+)Paginator$`)

// scan notes what a declaration mentions: what it calls, and what it hands on.
func (p *program) scan(name string, declaration ast.Node, info *types.Info) {
	ast.Inspect(declaration, func(n ast.Node) bool {
		id, ok := n.(*ast.Ident)
		if !ok {
			return true
		}
		f, ok := info.Uses[id].(*types.Func)
		if !ok {
			return true
		}
		f = f.Origin()
		receiver := f.Signature().Recv()
		switch {
		case f.Pkg() == nil:
		case f.Pkg().Path() == ec2Pkg && receiver != nil && strings.HasSuffix(receiver.Type().String(), ec2Pkg+".Client"):
			p.calls[name] = append(p.calls[name], f.Name())
		case f.Pkg().Path() == ec2Pkg && paginator.MatchString(f.Name()):
			p.calls[name] = append(p.calls[name], paginator.FindStringSubmatch(f.Name())[1])
		case strings.HasPrefix(f.Pkg().Path(), module):
			p.mentions[name] = append(p.mentions[name], f.FullName())
			if receiver != nil && types.IsInterface(receiver.Type()) {
				p.mentions[f.FullName()] = []string{"any " + key(f)}
			}
		}
		return true
	})
}

// key is what a method has in common with the interface's that it implements.
func key(f *types.Func) string { return f.Name() + types.TypeString(f.Signature(), nil) }

// actions are the EC2 actions that can be reached from main without the functions
// that are cut, sorted.
func (p *program) actions(cut map[string]bool) []string { return p.actionsOf(cut, p.roots...) }

// actionsOf are those that can be reached from functions.
func (p *program) actionsOf(cut map[string]bool, roots ...string) []string {
	var all []string
	seen := map[string]bool{}
	var visit func(name string)
	visit = func(name string) {
		if seen[name] || cut[name] {
			return
		}
		seen[name] = true
		all = append(all, p.calls[name]...)
		next := p.mentions[name]
		if method, ok := strings.CutPrefix(name, "any "); ok {
			next = p.methods[method]
		}
		for _, n := range next {
			visit(n)
		}
	}
	for _, root := range roots {
		visit(root)
	}
	if slices.Contains(all, "CreateNetworkInterface") {
		all = append(all, "CreateTags") // ENIs are created with their tags
	}
	slices.Sort(all)
	return slices.Compact(all)
}
