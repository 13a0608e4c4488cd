package iam

import (
	"encoding/json"
	"errors"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

// terraform runs the stand-in for Terraform of hack/tools.
func terraform(t *testing.T, input string, args ...string) (string, error) {
	t.Helper()
	for _, dir := range []string{"terraform", "../../hack/tools/terraform"} {
		if err := testbed.ReadTree(dir, ".tf", ".go", ".mod"); err != nil {
			t.Fatal(err)
		}
	}
	for i, arg := range args {
		if !strings.HasPrefix(arg, "-") {
			path, err := filepath.Abs(arg)
			if err != nil {
				t.Fatal(err)
			}
			args[i] = path
		}
	}
	cmd := exec.Command("go", append([]string{"run", "-C", "../../hack/tools/terraform", "."}, args...)...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.Output()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		return string(exit.Stderr), err
	}
	return string(out), err
}

// TestTerraformFormat: the module parses and is formatted.
func TestTerraformFormat(t *testing.T) {
	for _, dir := range []string{"terraform", "terraform/policies"} {
		if out, err := terraform(t, "", dir); err != nil {
			t.Errorf("%s: %v: %s", dir, err, out)
		}
	}
}

// TestTerraformPolicies: Terraform says the same as the JSON files.
func TestTerraformPolicies(t *testing.T) {
	out, err := terraform(t, `{"partition": "aws", "region": "us-east-1", "account_id": "123456789012", "vpc_id": "`+vpcID+`",
		"cluster_id": "`+clusterID+`", "kubernetes_cluster_name": "`+kubeName+`", "tag_keys": ["team", "cost/*"]}`, "-evaluate", "terraform/policies")
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var outputs struct{ Policies map[string]string }
	if err := json.Unmarshal([]byte(out), &outputs); err != nil {
		t.Fatal(err)
	}
	if len(outputs.Policies) != len(names) {
		t.Errorf("%d policies, want %d", len(outputs.Policies), len(names))
	}
	for _, name := range names {
		var got, want any
		if err := json.Unmarshal([]byte(outputs.Policies[name]), &got); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := json.Unmarshal([]byte(fill(string(read(t, name)), placeholders)), &want); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: Terraform says\n%v\nwant\n%v", name, got, want)
		}
	}
}

// TestTerraformRefuses what would make a policy that means something else.
func TestTerraformRefuses(t *testing.T) {
	for name, change := range map[string]string{
		"vpc_id":     `"vpc_id": "*", "cluster_id": "c"`,
		"cluster_id": `"vpc_id": "` + vpcID + `", "cluster_id": "*"`,
	} {
		out, err := terraform(t, `{"partition": "aws", "region": "us-east-1", "account_id": "123456789012", `+change+`}`, "-evaluate", "terraform/policies")
		if err == nil || !strings.Contains(out, name) {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
}
