// Package iam tests the policies: that they hold what they promise against the
// simulator, which asks them about each call as IAM does, and that they grant
// what the programs use and nothing else.
package iam

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/iam"
)

// names are the policies, each in a file NAME.json.
var names = []string{"agent", "agent-pod-role", "agent-standalone", "coordinator", "administrator-adopt"}

// What stands in for the placeholders.
const (
	clusterID = "11111111-2222-3333-4444-555555555555"
	vpcID     = "vpc-00000000000000001"
	kubeName  = "prod"
)

var placeholders = map[string]string{
	"PARTITION": "aws", "REGION": "us-east-1", "ACCOUNT_ID": "123456789012", "VPC_ID": vpcID, "CLUSTER_ID": clusterID,
	"KUBERNETES_CLUSTER_NAME": kubeName, `, "USER_TAG_KEYS"`: `, "team", "cost/*"`,
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// fill replaces the placeholders, the long ones first.
func fill(text string, values map[string]string) string {
	var keys []string
	for key := range values {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b string) int { return len(b) - len(a) })
	for _, key := range keys {
		text = strings.ReplaceAll(text, key, values[key])
	}
	return text
}

func policy(t *testing.T, name string) *iam.Policy {
	t.Helper()
	p, err := iam.Parse([]byte(fill(string(read(t, name)), placeholders)))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return &p
}

// TestForm: what IAM demands of a policy, and what we demand of ours.
func TestForm(t *testing.T) {
	// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html:
	// a managed policy has at most 6,144 characters; white space does not count.
	const most = 6144
	sid := regexp.MustCompile(`^[A-Za-z0-9]+$`)
	left := regexp.MustCompile(`\b[A-Z]+(_[A-Z]+)+\b|PARTITION|REGION`)
	for _, name := range names {
		text := fill(string(read(t, name)), placeholders)
		if n := len(strings.Join(strings.Fields(text), "")); n > most/2 {
			t.Errorf("%s has %d characters; half of IAM's limit of %d is kept for long ids", name, n, most)
		}
		if found := left.FindAllString(text, -1); len(found) > 0 {
			t.Errorf("%s has unknown placeholders: %q", name, found)
		}
		seen := map[string]bool{}
		for _, s := range policy(t, name).Statements {
			if !sid.MatchString(s.Sid) || seen[s.Sid] {
				t.Errorf("%s: Sid %q is not of letters and digits, or there are two", name, s.Sid)
			}
			seen[s.Sid] = true
			for _, action := range s.Actions {
				if strings.Contains(action, "*") {
					t.Errorf("%s: %s grants %s", name, s.Sid, action)
				}
			}
			for _, resource := range s.Resources {
				if resource == "*" && !allDescribe(s.Actions) {
					t.Errorf("%s: %s grants a change on every resource", name, s.Sid)
				}
			}
		}
	}
}

func allDescribe(actions []string) bool {
	return !slices.ContainsFunc(actions, func(a string) bool { return !strings.HasPrefix(a, "ec2:Describe") })
}

// granted are the actions of a policy, sorted.
func granted(t *testing.T, name string) []string {
	var all []string
	for _, s := range policy(t, name).Statements {
		for _, action := range s.Actions {
			all = append(all, strings.TrimPrefix(action, "ec2:"))
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// TestDocumented: each placeholder is explained where people look for it.
func TestDocumented(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for placeholder := range placeholders {
		if name := strings.Trim(placeholder, `, "`); !strings.Contains(string(readme), "`"+name+"`") {
			t.Errorf("README.md does not explain the placeholder %s", name)
		}
	}
	for _, name := range names {
		if !json.Valid(read(t, name)) {
			t.Errorf("%s.json is not JSON as it stands", name)
		}
		if !strings.Contains(string(readme), "`"+name+".json`") {
			t.Errorf("README.md does not name %s.json", name)
		}
	}
}

// TestSecurityPage: every statement is explained, with the actions that it grants.
func TestSecurityPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{}
	for line := range strings.Lines(string(page)) {
		if sid := regexp.MustCompile("^\\| `(\\w+)` \\|").FindStringSubmatch(line); sid != nil {
			rows[sid[1]] += line
		}
	}
	for _, name := range names {
		for _, s := range policy(t, name).Statements {
			if rows[s.Sid] == "" {
				t.Errorf("docs/security.md does not explain %s of %s.json", s.Sid, name)
			}
			for _, action := range s.Actions {
				if action = strings.TrimPrefix(action, "ec2:"); (name == "agent" || name == "coordinator") && !strings.Contains(rows[s.Sid], action) {
					t.Errorf("docs/security.md: %s of %s.json grants %s, which its row does not say", s.Sid, name, action)
				}
			}
		}
	}
}
