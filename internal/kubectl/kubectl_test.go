package kubectl

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// reported has the report of node-1 name the NodeENI by its UID, which the API server chose.
func reported(t *testing.T) *kube.Client {
	t.Helper()
	client, err := kube.NewClient(installed.Get(t).AdminConfig(), "test")
	if err != nil {
		t.Fatal(err)
	}
	var n v1alpha1.NodeENI
	if err := client.API.Get().Resource(kube.NodeENIs).Name("data").Do(t.Context()).Into(&n); err != nil {
		t.Fatal(err)
	}
	patch := `[{"op":"replace","path":"/status/enis/0/nodeENIUID","value":"` + string(n.UID) + `"}]`
	if err := client.API.Patch(types.JSONPatchType).Resource(kube.NodeENIStates).Name("node-1").Body([]byte(patch)).Do(t.Context()).Error(); err != nil {
		t.Fatal(err)
	}
	return client
}

// check fails the test unless the command ends with the code and prints the words.
func check(t *testing.T, user, command string, code int, words ...string) string {
	t.Helper()
	out, errs, got := run(t, user, strings.Fields(command)...)
	if got != code {
		t.Errorf("%s: %s: exit code %d, want %d:\n%s%s", user, command, got, code, out, errs)
	}
	for _, w := range words {
		if !strings.Contains(out+errs, w) {
			t.Errorf("%s: %s: nothing of %q in:\n%s%s", user, command, w, out, errs)
		}
	}
	return out
}

// Each command, with the rights that are shipped, with the least, and with none.
func TestCommands(t *testing.T) {
	reported(t)
	for _, user := range []string{"reader", "least"} {
		out := check(t, user, "status", 1, "data      2", "InvalidGroup.NotFound", "NoReport", "kubectl eni why node-")
		if unread := strings.Contains(out, "could not be read"); unread != (user == "least") {
			t.Errorf("%s: something could not be read is %v:\n%s", user, unread, out)
		}
		check(t, user, "why node-1", 1, "✗ ENI", "next: correct securityGroupIDs")
		check(t, user, "why node-2 data", 1, "✗ report", "there is no NodeENIState node-2")
		check(t, user, "why data", 1, "on node-1", "on node-2")
		check(t, user, "why nod-1", 2, `neither a Node nor a NodeENI; did you mean node-1`)
		check(t, user, "status -o name", 1, "node/node-1\n", "node/node-2\n")
		check(t, user, "status --node node-2 -o wide", 1, "ADDRESSES")
		check(t, user, "status -l ng=other", 0, "data      0")
		check(t, user, "status -o yaml", 1, "notReady:", "reason: InvalidGroup.NotFound")
	}
	check(t, "least", "why node-1", 1, "– agent", "permission to read /api/v1/namespaces/eni-system/pods", "– coordinator")
	check(t, "home", "why node-1", 1, "✓ agent        the pod eni-agent-1 runs v0.1.0")
	check(t, "home", "status", 1, "deployments could not be read: you do not have permission to read /apis/apps/v1/deployments, and there are none in namespace eni-system")
	check(t, "reader", "why node-1", 1, "✓ coordinator  eni-coordinator-1_x leads")
	check(t, "stranger", "status", 3, "error: you do not have permission to read "+nodeENIsPath)
	check(t, "stranger", "why node-1", 3, "you do not have permission")
	check(t, "reader", "doctor node-1", 3, "permission to run commands in the agent's pod (create pods/exec in namespace eni-system)", "kubectl debug node/node-1", "SSM")
	check(t, "least", "doctor node-1", 3, "permission to read", "kubectl debug node/node-1")
	var fleet struct {
		Ready    bool
		NotReady []struct{ Node, Reason string }
	}
	out, _, _ := run(t, "reader", "status", "-o", "json")
	if err := json.Unmarshal([]byte(out), &fleet); err != nil || fleet.Ready || len(fleet.NotReady) != 2 || fleet.NotReady[0].Node != "node-1" {
		t.Errorf("%v: %+v", err, fleet)
	}
}

func TestUsage(t *testing.T) {
	for command, code := range map[string]int{
		"":                         0,
		"help":                     0,
		"version":                  0,
		"status --help":            0,
		"nothing":                  2,
		"why":                      2,
		"why a b c":                2,
		"status --nothing":         2,
		"status -o odd":            2,
		"status -l ,=":             2,
		"status --kubeconfig /x/y": 3,
		"status -s http://127.0.0.1:1 --kubeconfig /dev/null": 3,
	} {
		var out, errs bytes.Buffer
		if got := Main(t.Context(), strings.Fields(command), IO{Out: &out, Err: &errs}); got != code || out.Len()+errs.Len() == 0 {
			t.Errorf("%q: exit code %d, want %d: %s%s", command, got, code, &out, &errs)
		}
	}
	var out bytes.Buffer
	Main(t.Context(), []string{"status", "--help"}, IO{Out: &out})
	for _, flag := range []string{"--context", "--kubeconfig", "-n, --namespace", "--as", "--token", "-s, --server", "--request-timeout", "--watch", "--selector", "kubectl options"} {
		if !strings.Contains(out.String(), flag) {
			t.Errorf("status has no flag %s", flag)
		}
	}
}

// An API server without the CRDs is not ready, whatever the format.
func TestNotInstalled(t *testing.T) {
	empty := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}`)
	}))
	t.Cleanup(empty.Close)
	for command, want := range map[string]string{
		"status": "✗ CRDs", "status -o json": `"reason": "NotInstalled"`, "status -o yaml": "reason: NotInstalled", "status -o name": "", "why node-1": "✗ CRDs",
	} {
		var out, errs bytes.Buffer
		code := Main(t.Context(), append(strings.Fields(command), "--kubeconfig", "/dev/null", "-s", empty.URL), IO{Out: &out, Err: &errs})
		if code != exitNotReady || !strings.Contains(out.String(), want) || want == "" && out.Len() > 0 {
			t.Errorf("%s: exit code %d: %s%s", command, code, &out, &errs)
		}
		if strings.HasSuffix(command, "json") && !json.Valid(out.Bytes()) {
			t.Errorf("%s: %s", command, &out)
		}
	}
}

// The doctor's output is streamed, made printable, and its exit code is the plugin's.
func TestDoctor(t *testing.T) {
	serveContainers(t)
	for _, user := range []string{"support", "admin"} {
		check(t, user, "doctor node-1 -- -o json", 1, "eni-agent-1: /eni-agent doctor --cluster-name=blue --extra-password=planted-secret-8 -o json\n", "\n [2Jodd\n", "not all is well")
		check(t, user, "doctor node-2", 0, "eni-agent-2: /eni-agent doctor\n")
	}
	check(t, "admin", "doctor node-7", 2, `there is no Node "node-7"; did you mean node-1`)
}

// buffer is one that is read while it is written.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(data []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(data)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// status --watch shows a change, and ends with the last exit code.
func TestWatch(t *testing.T) {
	client := reported(t)
	ctx, stop := context.WithCancel(t.Context())
	var out buffer
	ended := make(chan int)
	go func() {
		ended <- Main(ctx, []string{"status", "data", "-w", "--kubeconfig", kubeconfig(t, "reader")}, IO{Out: &out, Err: &out})
	}()
	await := func(words string) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); !strings.Contains(out.String(), words); time.Sleep(50 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("nothing of %q in:\n%s", words, out.String())
			}
		}
	}
	await("InvalidGroup.NotFound")
	set := func(reason string) {
		patch := `[{"op":"replace","path":"/status/enis/0/reason","value":"` + reason + `"}]`
		if err := client.API.Patch(types.JSONPatchType).Resource(kube.NodeENIStates).Name("node-1").Body([]byte(patch)).Do(t.Context()).Error(); err != nil {
			t.Fatal(err)
		}
	}
	defer set("InvalidGroup.NotFound")
	set("SomethingElse")
	await("SomethingElse")
	stop()
	if code := <-ended; code != 1 {
		t.Errorf("exit code %d", code)
	}
}
