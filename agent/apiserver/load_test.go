package apiserver

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/agent"
	"github.com/aws-multi-eni/aws-multi-eni/internal/driver"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// What happens on other nodes costs an agent nothing, and a pod of its own a handful of
// events and one watch.
func TestLoadOfClaims(t *testing.T) {
	const others = 40
	c := newCluster(t)
	s, claims, seen := c.agent("node-1")
	c.await("at first", s)
	before, _ := seen.snapshot()
	for i := range others {
		name := fmt.Sprintf("other-%d", i)
		c.claim(name)
		c.pod(name, "node-2", name)
		c.allocate(name, "node-2", fmt.Sprintf("%s/%s", driver.Name, name))
	}
	uid := c.claim("own")
	c.pod("own", "", "own")
	c.allocate("own", "node-1", driver.Name+"/a-0")
	c.patch(podsResource, "own", `{"status":{"nominatedNodeName":"node-1"}}`, "status")
	c.await("allocated", s, "own:a-0")
	status := kube.AllocatedDevice{Conditions: []metav1.Condition{{Type: driver.ConditionAttached, Status: metav1.ConditionTrue, Reason: "Ready", LastTransitionTime: metav1.Now()}}}
	if err := claims.Report(t.Context(), agent.Claim{Namespace: "default", Name: "own", UID: uid, Device: "a-0"}, status); err != nil {
		t.Fatal(err)
	}
	c.bind("own", "node-1")
	for _, phase := range []string{"Pending", "Running", "Succeeded"} {
		c.patch(podsResource, "own", fmt.Sprintf(`{"status":{"phase":%q,"message":"m"}}`, phase), "status")
	}
	c.deallocate("own")
	c.await("deallocated", s)
	c.delete(podsResource, "own")
	c.delete(claimsResource, "own")
	after, requests := seen.snapshot()
	got := map[string]int{}
	for _, resource := range []string{kube.Pods, kube.ResourceClaims, kube.ResourceSlices} {
		got[resource] = after[resource] - before[resource]
	}
	t.Logf("%d pods and claims of other nodes, 1 of this one for its whole life: events %v", others, got)
	if got[kube.Pods] < 1 || got[kube.Pods] > 10 || got[kube.ResourceClaims] < 1 || got[kube.ResourceClaims] > 4 || got[kube.ResourceSlices] > 0 {
		t.Errorf("events %v", got)
	}
	for request, n := range requests {
		own := request == "WATCH metadata.name=own "+kube.ResourceClaims || request == "PATCH "+kube.ResourceClaims
		if strings.Contains(request, kube.ResourceClaims) && (!own || n != 1) {
			t.Errorf("an agent asks %d times for %s", n, request)
		}
	}
}

// Without ENIs on demand an agent reads no pods, claims and slices.
func TestWithoutOnDemand(t *testing.T) {
	c := newCluster(t)
	cfg, err := c.cp.ServiceAccountConfig(t.Context(), "eni-system", "eni-agent", "node-1")
	if err != nil {
		t.Fatal(err)
	}
	seen := &traffic{events: map[string]int{}, requests: map[string]int{}}
	cfg.Wrap(seen.through)
	client, err := kube.NewClient(cfg, "test")
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(cfg, client, "node-1", me, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	label := []byte(`{"metadata":{"labels":{"seen":"yes"}}}`)
	if _, err := c.admin.Resource(schema.GroupVersionResource{Version: "v1", Resource: kube.Nodes}).Patch(t.Context(), "node-1", types.MergePatchType, label, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	var snapshot agent.Snapshot
	c.eventually("it sees its Node", func() error {
		if snapshot, _ = s.Snapshot(); snapshot.Labels["seen"] == "" {
			return fmt.Errorf("labels %v", snapshot.Labels)
		}
		return nil
	})
	_, requests := seen.snapshot()
	for request := range requests {
		if resource := request[strings.LastIndex(request, " ")+1:]; !slices.Contains([]string{kube.Nodes, kube.NodeENIs, kube.NodeENIStates}, resource) {
			t.Errorf("it asks for %s", request)
		}
	}
	if len(requests) == 0 || snapshot.ClaimsKnown || snapshot.Claims != nil || snapshot.SlicesLost {
		t.Errorf("requests %v, snapshot %+v", requests, snapshot)
	}
}

// A token that was stolen from the agent of another node can neither report about a claim
// of this node nor write its slices; and the rights are no more than those.
func TestStolenToken(t *testing.T) {
	c := newCluster(t)
	uid := c.claim("a")
	c.pod("a", "node-1", "a")
	c.allocate("a", "node-1", driver.Name+"/a-0")
	_, thief, _ := c.agent("node-2")
	c.eventually("the thief", func() error { return thief.(*onDemand).ready() })
	thief.(*onDemand).node = &node{name: "node-1", informer: thief.(*onDemand).node.informer}
	err := thief.Report(c.Context(), agent.Claim{Namespace: "default", Name: "a", UID: uid, Device: "a-0"}, kube.AllocatedDevice{
		Conditions: []metav1.Condition{{Type: driver.ConditionAttached, Status: metav1.ConditionTrue, Reason: "Ready", LastTransitionTime: metav1.Now()}},
	})
	if err == nil || !strings.Contains(err.Error(), `arbitrary-node:patch`) {
		t.Errorf("a report about another node's claim: %v", err)
	}
	slices := newResourceSlices(c.client("node-2"), kube.NewReach(slog.New(slog.DiscardHandler)), "node-1", make(chan struct{}, 1))
	if err := slices.publish(c.Context(), agent.Pool{Slices: []kube.ResourceSliceSpec{devices("a")}}, &nodeOne); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "belongs to the agent on node node-2") {
		t.Errorf("slices of another node: %v", err)
	}
}
