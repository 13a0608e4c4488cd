package iam

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

// These tests hold what can be held of the Terraform module, and of the example that uses it,
// without Terraform.

// example is a configuration that uses the module.
const example = "../../examples/terraform-eks"

// readTerraform reads files of the module.
func readTerraform(t *testing.T, names ...string) string {
	t.Helper()
	return readTerraformOf(t, "terraform", names...)
}

func readTerraformOf(t *testing.T, dir string, names ...string) string {
	t.Helper()
	var text string
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		text += string(data)
	}
	return text
}

// found is what the group of a pattern matches, sorted.
func found(pattern, text string) []string {
	var all []string
	for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		all = append(all, match[1])
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// TestTerraformFormat: all files parse and are formatted.
func TestTerraformFormat(t *testing.T) {
	if err := errors.Join(testbed.ReadTree("terraform", ".tf"), testbed.ReadTree(example, ".tf")); err != nil {
		t.Fatal(err)
	}
	args := []string{"tool", "-modfile=../../hack/tools/hclfmt/go.mod", "hclfmt", "-check", "-require-no-change"}
	for _, dir := range []string{"terraform", "terraform/policies", example} {
		files, err := filepath.Glob(dir + "/*.tf")
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", dir, len(files), err)
		}
		args = append(args, files...)
	}
	var problems strings.Builder
	cmd := exec.Command("go", args...)
	cmd.Stderr = &problems
	if err := cmd.Run(); err != nil {
		t.Errorf("%v: %s", err, &problems)
	}
}

// TestTerraformVariables: what is declared is used, and nothing else is; and the inner
// module is given all of its variables.
func TestTerraformVariables(t *testing.T) {
	const declaration, use, argument = `(?m)^variable "(\w+)"`, `\bvar\.(\w+)`, `(?m)^  (\w+) += `
	main, inner := readTerraform(t, "main.tf"), readTerraform(t, "policies/variables.tf")
	_, call, _ := strings.Cut(main, "source = \"./policies\"\n")
	call, _, _ = strings.Cut(call, "}")
	for what, sides := range map[string][2][]string{
		"variables of the module":   {found(declaration, readTerraform(t, "variables.tf")), found(use, main)},
		"variables of its policies": {found(declaration, inner), found(use, readTerraform(t, "policies/main.tf"))},
		"arguments of its policies": {found(declaration, inner), found(argument, call)},
	} {
		if declared, used := sides[0], sides[1]; !slices.Equal(declared, used) {
			t.Errorf("%s: declared are %q, used are %q", what, declared, used)
		}
	}
}

// TestTerraformExample: it uses the variables that it declares, gives the module arguments that
// this has, and reads outputs that it has. Its trust policy and its association are those of the
// coordinator.
func TestTerraformExample(t *testing.T) {
	const declaration, use, argument, output, read = `(?m)^variable "(\w+)"`, `\bvar\.(\w+)`, `(?m)^  (\w+) += `, `(?m)^output "(\w+)"`, `module\.policies\.(\w+)`
	main := readTerraformOf(t, example, "main.tf")
	if declared, used := found(declaration, readTerraformOf(t, example, "variables.tf")), found(use, main); !slices.Equal(declared, used) {
		t.Errorf("declared are %q, used are %q", declared, used)
	}
	_, call, ok := strings.Cut(main, "source = \"../../packaging/iam/terraform\"\n")
	if !ok {
		t.Fatal("it does not use the module")
	}
	call, _, _ = strings.Cut(call, "\n}")
	module := found(declaration, readTerraform(t, "variables.tf"))
	for _, name := range found(argument, call) {
		if !slices.Contains(module, name) {
			t.Errorf("the module has no variable %s", name)
		}
	}
	for _, name := range []string{"vpc_id", "cluster_id", "agent_role_names", "coordinator_role_names"} {
		if !slices.Contains(found(argument, call), name) {
			t.Errorf("the module is not given %s", name)
		}
	}
	outputs := found(output, readTerraform(t, "outputs.tf"))
	for _, name := range found(read, readTerraformOf(t, example, "outputs.tf")) {
		if !slices.Contains(outputs, name) {
			t.Errorf("the module has no output %s", name)
		}
	}
	for _, want := range []string{
		`Principal = { Service = "pods.eks.amazonaws.com" }`, `Action    = ["sts:AssumeRole", "sts:TagSession"]`,
		`service_account = "eni-coordinator"`, `file("${path.module}/values.yaml")`,
	} {
		if !strings.Contains(main, want) {
			t.Errorf("it does not say %s", want)
		}
	}
}

// TestTerraformPolicies: the module reads all JSON files, and fills in the placeholders.
func TestTerraformPolicies(t *testing.T) {
	main := readTerraform(t, "policies/main.tf")
	if want := `for name in ["` + strings.Join(names, `", "`) + `"]`; !strings.Contains(main, want) {
		t.Errorf("it does not say %s", want)
	}
	values := map[string]string{"local.tag_keys": placeholders[`, "USER_TAG_KEYS"`]}
	for placeholder, value := range placeholders {
		values["var."+strings.ToLower(placeholder)] = value
	}
	replacements := regexp.MustCompile(`(?m)^ +(".*"), ([a-z_.]+)$`).FindAllStringSubmatch(main, -1)
	for _, name := range names {
		text := string(read(t, name))
		for _, r := range replacements {
			placeholder, err := strconv.Unquote(r[1])
			if err != nil {
				t.Fatal(err)
			}
			text = strings.ReplaceAll(text, placeholder, values[r[2]])
		}
		if want := fill(string(read(t, name)), placeholders); text != want {
			t.Errorf("%s: Terraform makes\n%s\nwant\n%s", name, text, want)
		}
	}
}

// TestTerraformRefuses what would make a policy that means something else.
func TestTerraformRefuses(t *testing.T) {
	variables := readTerraform(t, "policies/variables.tf")
	for name, good := range map[string]string{"vpc_id": vpcID, "cluster_id": clusterID} {
		condition := strings.Join(found(`can\(regex\((".*"), var\.`+name+`\)\)`, variables), "")
		pattern, err := strconv.Unquote(condition)
		if err != nil {
			t.Fatalf("%s has no condition that is one regular expression: %v", name, err)
		}
		if valid := regexp.MustCompile(pattern); !valid.MatchString(good) || valid.MatchString("*") || valid.MatchString("") {
			t.Errorf("%s: %s does not tell good from bad", name, pattern)
		}
	}
}
