// Command terraform does of Terraform what the tests need, so that they need no
// Terraform: it checks that the files of a module parse and are formatted, and
// with -evaluate it prints the module's outputs, for the variables on standard
// input, as JSON. A module with resources cannot be evaluated.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/tryfunc"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

func main() {
	evaluate := flag.Bool("evaluate", false, "print the outputs")
	flag.Parse()
	if err := run(flag.Arg(0), *evaluate); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(dir string, evaluate bool) error {
	blocks, err := parse(dir)
	if err != nil || !evaluate {
		return err
	}
	variables := map[string]json.RawMessage{}
	if err := json.NewDecoder(os.Stdin).Decode(&variables); err != nil {
		return fmt.Errorf("variables on standard input: %w", err)
	}
	outputs, err := outputs(dir, blocks, variables)
	if err != nil {
		return err
	}
	data, err := ctyjson.Marshal(outputs, outputs.Type())
	fmt.Println(string(data))
	return err
}

// parse reads all files of a module.
func parse(dir string) (hclsyntax.Blocks, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.tf"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("no *.tf in %s", dir)
	}
	var all hclsyntax.Blocks
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		file, diagnostics := hclsyntax.ParseConfig(data, name, hcl.InitialPos)
		if diagnostics.HasErrors() {
			return nil, diagnostics
		}
		if !bytes.Equal(hclwrite.Format(data), data) {
			return nil, fmt.Errorf("%s is not formatted as terraform fmt does it", name)
		}
		all = append(all, file.Body.(*hclsyntax.Body).Blocks...)
	}
	return all, nil
}

// functions are those of Terraform that the modules use.
var functions = map[string]function.Function{
	"can":        tryfunc.CanFunc,
	"join":       stdlib.JoinFunc,
	"jsondecode": stdlib.JSONDecodeFunc,
	"jsonencode": stdlib.JSONEncodeFunc,
	"regex":      stdlib.RegexFunc,
	"replace":    stdlib.ReplaceFunc,
	"file": function.New(&function.Spec{
		Params: []function.Parameter{{Name: "path", Type: cty.String}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			data, err := os.ReadFile(args[0].AsString())
			return cty.StringVal(string(data)), err
		},
	}),
}

// outputs evaluates variables, then locals in their order, then outputs.
func outputs(dir string, blocks hclsyntax.Blocks, given map[string]json.RawMessage) (cty.Value, error) {
	variables, locals, outputs := map[string]cty.Value{}, map[string]cty.Value{}, map[string]cty.Value{}
	scope := func() *hcl.EvalContext {
		return &hcl.EvalContext{Functions: functions, Variables: map[string]cty.Value{
			"path": cty.ObjectVal(map[string]cty.Value{"module": cty.StringVal(dir)}),
			"var":  cty.ObjectVal(variables), "local": cty.ObjectVal(locals),
		}}
	}
	for _, b := range blocks {
		if b.Type != "variable" {
			continue
		}
		value, err := variable(b, given[b.Labels[0]])
		if err != nil {
			return cty.NilVal, err
		}
		variables[b.Labels[0]] = value
	}
	for _, b := range blocks {
		if b.Type != "locals" {
			continue
		}
		for _, attribute := range inOrder(b.Body.Attributes) {
			value, diagnostics := attribute.Expr.Value(scope())
			if diagnostics.HasErrors() {
				return cty.NilVal, diagnostics
			}
			locals[attribute.Name] = value
		}
	}
	for _, b := range blocks {
		switch b.Type {
		case "variable", "locals":
		case "output":
			value, diagnostics := b.Body.Attributes["value"].Expr.Value(scope())
			if diagnostics.HasErrors() {
				return cty.NilVal, diagnostics
			}
			outputs[b.Labels[0]] = value
		default:
			return cty.NilVal, fmt.Errorf("%s: a block %q cannot be evaluated here", b.Range(), b.Type)
		}
	}
	return cty.ObjectVal(outputs), nil
}

// variable is the value that is given, or the default, after its validation.
func variable(b *hclsyntax.Block, given json.RawMessage) (cty.Value, error) {
	name := b.Labels[0]
	var value cty.Value
	switch fallback := b.Body.Attributes["default"]; {
	case given != nil:
		kind, err := ctyjson.ImpliedType(given)
		if err != nil {
			return value, fmt.Errorf("variable %s: %w", name, err)
		}
		if value, err = ctyjson.Unmarshal(given, kind); err != nil {
			return value, fmt.Errorf("variable %s: %w", name, err)
		}
	case fallback != nil:
		var diagnostics hcl.Diagnostics
		if value, diagnostics = fallback.Expr.Value(nil); diagnostics.HasErrors() {
			return value, diagnostics
		}
	default:
		return value, fmt.Errorf("variable %s has no value", name)
	}
	scope := &hcl.EvalContext{Functions: functions, Variables: map[string]cty.Value{
		"var": cty.ObjectVal(map[string]cty.Value{name: value}),
	}}
	for _, validation := range b.Body.Blocks {
		ok, diagnostics := validation.Body.Attributes["condition"].Expr.Value(scope)
		if diagnostics.HasErrors() {
			return value, diagnostics
		}
		if ok.False() {
			message, _ := validation.Body.Attributes["error_message"].Expr.Value(scope)
			return value, fmt.Errorf("variable %s: %s", name, message.AsString())
		}
	}
	return value, nil
}

// inOrder sorts attributes by their place in the file.
func inOrder(attributes hclsyntax.Attributes) []*hclsyntax.Attribute {
	var all []*hclsyntax.Attribute
	for _, a := range attributes {
		all = append(all, a)
	}
	slices.SortFunc(all, func(a, b *hclsyntax.Attribute) int { return a.SrcRange.Start.Byte - b.SrcRange.Start.Byte })
	return all
}
