package apiserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/agent"
	"github.com/aws-multi-eni/aws-multi-eni/internal/driver"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// An agent sees the claims that are allocated to its node, from the moment at which the
// scheduler has nominated a pod to it until the claim is no longer allocated here.
func TestClaimsOfTheNode(t *testing.T) {
	c := newCluster(t)
	s, _, _ := c.agent("node-1")
	c.await("at first", s)

	for _, name := range []string{"nominated", "bound", "elsewhere", "gpu"} {
		c.claim(name)
	}
	c.pod("nominated", "", "nominated")
	c.allocate("nominated", "node-1", driver.Name+"/a-0")
	c.await("allocated, but no pod is nominated", s)
	c.patch(podsResource, "nominated", `{"status":{"nominatedNodeName":"node-1"}}`, "status")
	c.await("nominated", s, "nominated:a-0")

	c.pod("bound", "node-1", "bound", "gpu")
	c.allocate("bound", "node-1", driver.Name+"/b-0", driver.Name+"/b-1")
	c.allocate("gpu", "node-1", "gpu.example.com/0")
	c.pod("elsewhere", "node-2", "elsewhere")
	c.allocate("elsewhere", "node-2", driver.Name+"/a-0")
	c.await("bound", s, "bound:b-0", "bound:b-1", "nominated:a-0")

	c.eventually("a GPU's claim is not watched any more", func() error {
		s.onDemand.mu.Lock()
		defer s.onDemand.mu.Unlock()
		if !s.onDemand.claims[types.NamespacedName{Namespace: "default", Name: "gpu"}].stopped || s.onDemand.claims[types.NamespacedName{Namespace: "default", Name: "bound"}].stopped {
			return errors.New("watched")
		}
		return nil
	})

	c.delete(podsResource, "nominated")
	c.await("its pod is gone", s, "bound:b-0", "bound:b-1", "nominated:a-0")
	c.deallocate("nominated")
	c.await("deallocated", s, "bound:b-0", "bound:b-1")

	c.delete(podsResource, "bound")
	c.delete(claimsResource, "bound")
	c.await("pod and claim are gone", s)
	c.eventually("claims that do not concern the node are not watched", func() error {
		s.onDemand.mu.Lock()
		defer s.onDemand.mu.Unlock()
		if len(s.onDemand.claims) > 0 {
			return fmt.Errorf("%v", slices.Collect(maps.Keys(s.onDemand.claims)))
		}
		return nil
	})
}

// A claim that was made from a template, or by the scheduler for an extended resource, is
// in the pod's status.
func TestClaimsInPodStatus(t *testing.T) {
	c := newCluster(t)
	s, _, _ := c.agent("node-1")
	for _, name := range []string{"generated", "extended"} {
		c.claim(name)
		c.allocate(name, "node-1", driver.Name+"/"+name)
	}
	c.create(podsResource, `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},"spec":{"nodeName":"node-1","resourceClaims":[{"name":"eni","resourceClaimTemplateName":"eni"}],
		"containers":[{"name":"a","image":"a","resources":{"claims":[{"name":"eni"}],"requests":{"eni.example.com/x":"1"},"limits":{"eni.example.com/x":"1"}}}]}}`)
	c.patch(podsResource, "a", `{"status":{"resourceClaimStatuses":[{"name":"eni","resourceClaimName":"generated"}],
		"extendedResourceClaimStatus":{"resourceClaimName":"extended","requestMappings":[{"containerName":"a","resourceName":"eni.example.com/x","requestName":"first"}]}}}`, "status")
	c.await("in the pod's status", s, "extended:extended", "generated:generated")
}

// An agent that has been restarted asks for the claims of its last report, before it knows
// that they are gone.
func TestFollow(t *testing.T) {
	c := newCluster(t)
	c.claim("here")
	c.allocate("here", "node-1", driver.Name+"/a-0")
	c.claim("free")
	here := types.NamespacedName{Namespace: "default", Name: "here"}
	s, claims, _ := c.agent("node-1", here, types.NamespacedName{Namespace: "default", Name: "free"}, types.NamespacedName{Namespace: "default", Name: "gone"})
	c.await("followed", s, "here:a-0")
	claims.Follow(nil)
	c.await("not followed any more, but allocated", s, "here:a-0")
	c.deallocate("here")
	c.await("deallocated", s)
}

// Claims that cannot be read count as they were, and are not taken for all there are.
func TestClaimsThatCannotBeRead(t *testing.T) {
	down := false
	s := newSource(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case down:
			w.WriteHeader(http.StatusServiceUnavailable)
		case r.URL.Path == "/apis":
			_, _ = io.WriteString(w, `{"kind":"APIGroupList","apiVersion":"v1","groups":[{"name":"resource.k8s.io","versions":[{"version":"v1beta1"}]}]}`)
		}
	})
	claims := s.OnDemand()
	claims.Follow([]types.NamespacedName{{Namespace: "default", Name: "a"}})
	if _, known := s.onDemand.snapshot(); known {
		t.Error("nothing has been read, but all claims are known")
	}
	if err := claims.Publish(t.Context(), agent.Pool{}); err == nil || !strings.Contains(err.Error(), "has not been asked yet") {
		t.Errorf("published before: %v", err)
	}
	// An API server without resource.k8s.io/v1 is an old one: the user reads what to do.
	if s.onDemand.served(t.Context()) {
		t.Error("resource.k8s.io/v1 is served")
	}
	for what, err := range map[string]error{
		"publish": claims.Publish(t.Context(), agent.Pool{}), "report": claims.Report(t.Context(), agent.Claim{}, kube.AllocatedDevice{}),
	} {
		if !errors.Is(err, errNotServed) || !errors.As(err, new(*agent.UnavailableError)) || !strings.Contains(err.Error(), "Kubernetes 1.36 or later") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, known := s.onDemand.snapshot(); known {
		t.Error("there are no claims to be read, but all are known")
	}
	down = true
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if s.onDemand.served(ctx) {
		t.Error("served by an API server that is down")
	}
}

// A claim that a new list lacks counts until the API server has said itself that it is gone.
func TestClaimMissingFromList(t *testing.T) {
	var mu sync.Mutex
	listed, gone, asked, broken := true, false, 0, make(chan struct{})
	const claim = `{"apiVersion":"resource.k8s.io/v1","kind":"ResourceClaim","metadata":{"namespace":"default","name":"a","uid":"uid-a","resourceVersion":"5"},
		"status":{"allocation":{"devices":{"results":[{"request":"eni","driver":"eni.networking.k8s.aws","pool":"node-1","device":"a-0"}]}}}}`
	s := newSource(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		status := func(code int, reason string) {
			w.WriteHeader(code)
			_, _ = fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":%q,"code":%d}`, reason, code)
		}
		switch query := r.URL.Query(); {
		case r.URL.Path == "/apis":
			_, _ = io.WriteString(w, `{"kind":"APIGroupList","apiVersion":"v1","groups":[{"name":"resource.k8s.io","versions":[{"version":"v1"}]}]}`)
		case r.URL.Path == "/apis/resource.k8s.io/v1":
			_, _ = io.WriteString(w, `{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"resource.k8s.io/v1","resources":[{"name":"resourceclaims"}]}`)
		case query.Get("sendInitialEvents") != "":
			status(http.StatusUnprocessableEntity, "Invalid") // as of an older API server
		case query.Get("watch") != "":
			w.(http.Flusher).Flush()
			ends := broken
			if !listed || path.Base(r.URL.Path) != "resourceclaims" {
				ends = nil
			}
			mu.Unlock()
			select {
			case <-ends:
			case <-r.Context().Done():
			}
			mu.Lock()
		case path.Base(r.URL.Path) == "a" && gone:
			status(http.StatusNotFound, "NotFound")
		case path.Base(r.URL.Path) == "a":
			asked++
			status(http.StatusInternalServerError, "InternalError")
		case path.Base(r.URL.Path) == "resourceclaims" && listed:
			_, _ = fmt.Fprintf(w, `{"kind":"ResourceClaimList","apiVersion":"resource.k8s.io/v1","metadata":{"resourceVersion":"9"},"items":[%s]}`, claim)
		default:
			kinds := map[string]string{
				"resourceclaims": `"kind":"ResourceClaimList","apiVersion":"resource.k8s.io/v1"`,
				"resourceslices": `"kind":"ResourceSliceList","apiVersion":"resource.k8s.io/v1"`,
				"pods":           `"kind":"PodList","apiVersion":"v1"`,
			}
			_, _ = fmt.Fprintf(w, `{%s,"metadata":{"resourceVersion":"9"},"items":[]}`, kinds[path.Base(r.URL.Path)])
		}
	})
	claims := s.OnDemand()
	claims.Follow([]types.NamespacedName{{Namespace: "default", Name: "a"}})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel() // before the server waits for its watches
	go s.onDemand.run(ctx)
	c := &cluster{T: t}
	shows := func(devices int) func() error {
		return func() error {
			if got, known := s.onDemand.snapshot(); len(got) != devices || !known {
				return fmt.Errorf("claims %v, all known: %v", got, known)
			}
			return nil
		}
	}
	c.eventually("listed", shows(1))
	mu.Lock()
	listed = false
	mu.Unlock()
	close(broken)
	c.eventually("it is asked for, and there is no answer", func() error {
		if err := shows(1)(); err != nil {
			t.Fatalf("it is only not listed: %v", err)
		}
		mu.Lock()
		defer mu.Unlock()
		if asked < 2 {
			return fmt.Errorf("asked %d times", asked)
		}
		return nil
	})
	mu.Lock()
	gone = true
	mu.Unlock()
	c.eventually("gone", shows(0))
}

// The report of one device leaves those of others alone, and is what it was given.
func TestReportToClaim(t *testing.T) {
	c := newCluster(t)
	uid := c.claim("a")
	c.pod("a", "node-1", "a")
	c.allocate("a", "node-1", driver.Name+"/a-0", driver.Name+"/a-1")
	s, claims, _ := c.agent("node-1")
	c.await("allocated", s, "a:a-0", "a:a-1")
	condition := func(kind string) []metav1.Condition {
		return []metav1.Condition{{Type: kind, Status: metav1.ConditionTrue, Reason: "Ready", Message: "m", LastTransitionTime: metav1.Now().Rfc3339Copy()}}
	}
	report := func(device string, status kube.AllocatedDevice) error {
		return claims.Report(c.Context(), agent.Claim{Namespace: "default", Name: "a", UID: uid, Device: device}, status)
	}
	for _, step := range []struct {
		device, condition string
		want              string
	}{
		{"a-0", driver.ConditionAttachFailed, "a-0 [networking.k8s.aws/AttachFailed]"},
		{"a-1", driver.ConditionAttached, "a-0 [networking.k8s.aws/AttachFailed], a-1 [networking.k8s.aws/Attached]"},
		{"a-0", driver.ConditionAttached, "a-0 [networking.k8s.aws/Attached], a-1 [networking.k8s.aws/Attached]"},
	} {
		status := kube.AllocatedDevice{
			Driver: driver.Name, Pool: "node-1", Device: step.device,
			Conditions: condition(step.condition), Data: json.RawMessage(`{"eniID":"eni-0123","subnetID":"subnet-0123"}`),
			NetworkData: &kube.NetworkData{InterfaceName: "eni0", IPs: []string{"10.0.0.5/24"}, HardwareAddress: "02:00:00:00:00:01"},
		}
		if err := report(step.device, status); err != nil {
			t.Fatalf("%+v: %v", step, err)
		}
		c.eventually("the report", func() error {
			snapshot, _ := s.Snapshot()
			var got []string
			for _, claim := range snapshot.Claims {
				if claim.Status == nil {
					continue
				}
				var types []string
				for _, condition := range claim.Status.Conditions {
					types = append(types, condition.Type)
				}
				got = append(got, fmt.Sprintf("%s %v", claim.Device, types))
				if claim.Device == step.device && types[0] == step.condition && !equality.Semantic.DeepEqual(*claim.Status, status) {
					t.Errorf("reported %+v, read %+v", status, claim.Status) // an agent would report again and again
				}
			}
			if text := strings.Join(got, ", "); text != step.want {
				return fmt.Errorf("%s, want %s", text, step.want)
			}
			return nil
		})
	}

	uid = "of-the-claim-before"
	if err := report("a-0", kube.AllocatedDevice{Conditions: condition(driver.ConditionAttachFailed)}); err != nil {
		t.Errorf("the claim is another one: %v", err)
	}
	got, err := c.admin.Resource(claimsResource).Namespace("default").Get(c.Context(), "a", metav1.GetOptions{})
	if text, _ := json.Marshal(got); err != nil || strings.Contains(string(text), driver.ConditionAttachFailed+`"`+`,"`) || strings.Contains(string(text), `"type":"`+driver.ConditionAttachFailed) {
		t.Errorf("another claim of the name has a report: %s (%v)", text, err)
	}
	c.delete(podsResource, "a")
	c.delete(claimsResource, "a")
	if err := report("a-0", kube.AllocatedDevice{Conditions: condition(driver.ConditionAttached)}); err != nil {
		t.Errorf("the claim is gone: %v", err)
	}
}
