package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

// auditPolicy makes the API server write down who asked for what.
const auditPolicy = `
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  users: [system:serviceaccount:eni-system:eni-agent, system:serviceaccount:eni-system:eni-coordinator]
- level: None
`

// audited are the flags of an API server that writes down what the policy says, and the
// file that it writes to.
func audited(t *testing.T, policy string) (flags []string, log string) {
	t.Helper()
	dir := t.TempDir()
	file, log := filepath.Join(dir, "policy.yaml"), filepath.Join(dir, "audit.log")
	if err := os.WriteFile(file, []byte(policy), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{"--audit-policy-file=" + file, "--audit-log-path=" + log}, log
}

// TestRightsAreUsed runs agents and coordinators through all that they do, under
// their ServiceAccounts, and asks the API server's audit log: nothing was
// forbidden, and every verb that is granted was used.
func TestRightsAreUsed(t *testing.T) {
	t.Parallel()
	flags, log := audited(t, auditPolicy)
	c := newCluster(t, 2, nil, append(flags,
		// As before 1.34, where clients list and then watch. With it they only watch.
		"--feature-gates=WatchList=false",
	)...)
	c.liveThroughEverything()

	used := readAudit(t, log)
	for account, granted := range grantedRights(t) {
		for right := range granted {
			if !used[account][right] {
				t.Errorf("%s never uses its right to %s", account, right)
			}
		}
	}
}

// liveThroughEverything is the life of ENIs, NodeENIs, nodes and leaders.
func (c *cluster) liveThroughEverything() {
	t := c.t
	c.agent("node-1", "node-2")
	c.coordinator("coordinator-1", eager...)
	first := c.leader()
	c.coordinator("coordinator-2", eager...)
	for _, node := range []string{"node-1", "node-2"} {
		c.want(node, node, c.hostSpec())
		c.awaitOnly(node, node)
	}

	// A change, with a report that a user has touched, and without one.
	touch := []byte(`{"metadata":{"annotations":{"touched":"by hand"}}}`)
	c.must(c.Client.API.Patch(types.MergePatchType).Resource(kube.NodeENIStates).Name("node-1").Body(touch).Do(t.Context()).Error())
	c.must(c.PatchNodeENI(t.Context(), "node-1", `{"spec":{"mtu":1500}}`))
	c.await("the report follows", func() string {
		if entries := c.entries("node-1", "node-1"); len(entries) != 1 || entries[0].MTU != 1500 {
			return fmt.Sprintf("%+v", entries)
		}
		return ""
	})
	c.must(c.Client.API.Delete().Resource(kube.NodeENIStates).Name("node-1").Do(t.Context()).Error())
	c.awaitReady("node-1", "node-1", 1)

	c.must(c.coordinators[first].Stop())
	c.leader(first)

	// Everything goes: the agent that is told to stop looks at its Node once more.
	c.must(c.Unlabel(t.Context(), "node-1", "node-1"))
	c.must(c.agents["node-1"].Stop())
	c.awaitMade("node-1", 0)
	c.must(c.DeleteNodeENI(t.Context(), "node-2"))
	c.awaitNodeENIGone("node-2")
	c.must(c.DeleteNodeENI(t.Context(), "node-1"))
	c.awaitNodeENIGone("node-1")
}

// readAudit returns which account used which rights, and reports every request
// that was forbidden.
func readAudit(t *testing.T, path string) map[string]map[string]bool {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	used := map[string]map[string]bool{}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var event struct {
			Verb           string
			RequestURI     string
			User           struct{ Username string }
			ObjectRef      *struct{ APIGroup, Resource, Subresource, Name string }
			ResponseStatus struct{ Code int }
			Annotations    map[string]string
		}
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
			t.Fatal(err)
		}
		account := event.User.Username[strings.LastIndexByte(event.User.Username, ':')+1:]
		if event.ResponseStatus.Code == 403 || event.Annotations["authorization.k8s.io/decision"] == "forbid" {
			t.Errorf("%s was forbidden to %s %s: %s", account, event.Verb, event.RequestURI, event.Annotations["authorization.k8s.io/reason"])
			continue
		}
		if ref := event.ObjectRef; ref != nil {
			if used[account] == nil {
				used[account] = map[string]bool{}
			}
			used[account][right(event.Verb, ref.APIGroup, strings.TrimSuffix(ref.Resource+"/"+ref.Subresource, "/"))] = true
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return used
}

// grantedRights are the rights that the manifests give, by account. Roles are
// named like the account that they are for.
func grantedRights(t *testing.T) map[string]map[string]bool {
	t.Helper()
	root, err := testbed.Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(root, "manifests", "rbac", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	granted := map[string]map[string]bool{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096); ; {
			var role rbacv1.ClusterRole // a Role has the same rules
			if err := decoder.Decode(&role); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			for _, rule := range role.Rules {
				if granted[role.Name] == nil {
					granted[role.Name] = map[string]bool{}
				}
				maps.Copy(granted[role.Name], rightsOf(rule))
			}
		}
	}
	if accounts := slices.Sorted(maps.Keys(granted)); !slices.Equal(accounts, []string{"eni-agent", "eni-coordinator"}) {
		t.Fatalf("rights are granted to %v", accounts)
	}
	return granted
}

func rightsOf(rule rbacv1.PolicyRule) map[string]bool {
	rights := map[string]bool{}
	for _, group := range rule.APIGroups {
		for _, resource := range rule.Resources {
			for _, verb := range rule.Verbs {
				rights[right(verb, group, resource)] = true
			}
		}
	}
	return rights
}

func right(verb, group, resource string) string {
	return strings.TrimSuffix(fmt.Sprintf("%s %s.%s", verb, resource, group), ".")
}
