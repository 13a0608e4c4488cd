package apiserver

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/aws-multi-eni/aws-multi-eni/agent"
	"github.com/aws-multi-eni/aws-multi-eni/internal/controlplane"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

var (
	podsResource   = schema.GroupVersionResource{Version: "v1", Resource: kube.Pods}
	claimsResource = kube.ResourceGroupVersion.WithResource(kube.ResourceClaims)
	slicesResource = kube.ResourceGroupVersion.WithResource(kube.ResourceSlices)
)

// cluster is the real API server, for one test.
type cluster struct {
	*testing.T
	cp    *controlplane.ControlPlane
	admin dynamic.Interface
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	cp := installed.Get(t)
	c := &cluster{t, cp, controlplane.Client(t, cp.AdminConfig())}
	t.Cleanup(func() { // the other tests find nothing of this one
		now := new(int64(0))
		for _, r := range []schema.GroupVersionResource{podsResource, claimsResource} {
			if err := c.admin.Resource(r).Namespace("default").DeleteCollection(context.Background(), metav1.DeleteOptions{GracePeriodSeconds: now}, metav1.ListOptions{}); err != nil {
				t.Error(err)
			}
		}
		if err := c.admin.Resource(slicesResource).DeleteCollection(context.Background(), metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
			t.Error(err)
		}
	})
	return c
}

// agent is a Source of a node, with the token and the rights of its agent.
func (c *cluster) agent(node string, follow ...types.NamespacedName) (*Source, agent.Claims, *traffic) {
	c.Helper()
	cfg, err := c.cp.ServiceAccountConfig(c.Context(), "eni-system", "eni-agent", node)
	if err != nil {
		c.Fatal(err)
	}
	seen := &traffic{events: map[string]int{}, requests: map[string]int{}}
	cfg.Wrap(seen.through)
	client, err := kube.NewClient(cfg, "test")
	if err != nil {
		c.Fatal(err)
	}
	s, err := New(cfg, client, node, me, slog.New(slog.DiscardHandler))
	if err != nil {
		c.Fatal(err)
	}
	claims := s.OnDemand()
	claims.Follow(follow)
	if err := s.Run(c.Context()); err != nil {
		c.Fatal(err)
	}
	return s, claims, seen
}

// await waits for a snapshot that shows these devices of claims, and no others, and knows
// that these are all.
func (c *cluster) await(what string, s *Source, want ...string) {
	c.Helper()
	c.eventually(what, func() error {
		snapshot, _ := s.Snapshot()
		var got []string
		for _, claim := range snapshot.Claims {
			got = append(got, claim.Name+":"+claim.Device)
		}
		if !snapshot.ClaimsKnown || !slices.Equal(got, want) {
			return fmt.Errorf("claims %v, all known: %v, want %v", got, snapshot.ClaimsKnown, want)
		}
		return nil
	})
}

func (c *cluster) eventually(what string, check func() error) {
	c.Helper()
	err := check()
	for end := time.Now().Add(20 * time.Second); err != nil && time.Now().Before(end); err = check() {
		time.Sleep(10 * time.Millisecond)
	}
	if err != nil {
		c.Fatalf("%s: %v", what, err)
	}
}

func (c *cluster) create(r schema.GroupVersionResource, object string) *unstructured.Unstructured {
	c.Helper()
	u := new(unstructured.Unstructured)
	if err := json.Unmarshal([]byte(object), &u.Object); err != nil {
		c.Fatal(err)
	}
	got, err := c.admin.Resource(r).Namespace("default").Create(c.Context(), u, metav1.CreateOptions{})
	if err != nil {
		c.Fatal(err)
	}
	return got
}

func (c *cluster) patch(r schema.GroupVersionResource, name, patch string, subresources ...string) {
	c.Helper()
	if _, err := c.admin.Resource(r).Namespace("default").Patch(c.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}, subresources...); err != nil {
		c.Fatal(err)
	}
}

func (c *cluster) delete(r schema.GroupVersionResource, name string) {
	c.Helper()
	if err := c.admin.Resource(r).Namespace("default").Delete(c.Context(), name, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}); err != nil {
		c.Fatal(err)
	}
}

// pod makes a pod that is bound to the node, unless it is "", and names claims.
func (c *cluster) pod(name, node string, claims ...string) {
	c.Helper()
	var podClaims, used []string
	for _, claim := range claims {
		podClaims = append(podClaims, fmt.Sprintf(`{"name":%q,"resourceClaimName":%q}`, claim, claim))
		used = append(used, fmt.Sprintf(`{"name":%q}`, claim))
	}
	c.create(podsResource, fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":%q},"spec":{"nodeName":%q,"resourceClaims":[%s],
		"containers":[{"name":"a","image":"a","resources":{"claims":[%s]}}]}}`, name, node, strings.Join(podClaims, ","), strings.Join(used, ",")))
}

// claim makes a claim for two ENIs.
func (c *cluster) claim(name string) types.UID {
	c.Helper()
	return c.create(claimsResource, fmt.Sprintf(`{"apiVersion":"resource.k8s.io/v1","kind":"ResourceClaim","metadata":{"name":%q},"spec":{"devices":{"requests":[
		{"name":"first","exactly":{"deviceClassName":"eni.networking.k8s.aws"}},{"name":"second","exactly":{"deviceClassName":"eni.networking.k8s.aws"}}]}}}`, name)).GetUID()
}

// allocate allocates a claim to devices of a node, given as DRIVER/DEVICE, as the scheduler
// does.
func (c *cluster) allocate(claim, node string, devices ...string) {
	c.Helper()
	var results []string
	for i, device := range devices {
		driver, name, _ := strings.Cut(device, "/")
		results = append(results, fmt.Sprintf(`{"request":%q,"driver":%q,"pool":%q,"device":%q}`, []string{"first", "second"}[i], driver, node, name))
	}
	c.patch(claimsResource, claim, fmt.Sprintf(`{"status":{"allocation":{"devices":{"results":[%s]},"nodeSelector":{"nodeSelectorTerms":[
		{"matchFields":[{"key":"metadata.name","operator":"In","values":[%q]}]}]}}}}`, strings.Join(results, ","), node), "status")
}

// bind binds a pod, as the scheduler does.
func (c *cluster) bind(pod, node string) {
	c.Helper()
	binding := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Binding", "metadata": map[string]any{"name": pod}, "target": map[string]any{"apiVersion": "v1", "kind": "Node", "name": node},
	}}
	if _, err := c.admin.Resource(podsResource).Namespace("default").Create(c.Context(), binding, metav1.CreateOptions{}, "binding"); err != nil {
		c.Fatal(err)
	}
}

func (c *cluster) deallocate(claim string) {
	c.Helper()
	c.patch(claimsResource, claim, `{"status":{"allocation":null,"devices":null}}`, "status")
}

// traffic counts what an agent asks of the API server, and which events it gets.
type traffic struct {
	mu       sync.Mutex
	events   map[string]int // by resource
	requests map[string]int // by verb and resource; watches by what they select
}

func (t *traffic) through(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		parts := strings.Split(r.URL.Path, "/")
		resource := parts[len(parts)-1]
		for _, known := range []string{kube.Pods, kube.ResourceClaims, kube.ResourceSlices} {
			if slices.Contains(parts, known) {
				resource = known
			}
		}
		verb := r.Method
		watch := r.URL.Query().Get("watch") != ""
		if watch {
			verb = "WATCH " + r.URL.Query().Get("fieldSelector")
		}
		t.mu.Lock()
		t.requests[verb+" "+resource]++
		t.mu.Unlock()
		response, err := next.RoundTrip(r)
		if err == nil && watch {
			response.Body = &watchBody{response.Body, func(events int) {
				t.mu.Lock()
				defer t.mu.Unlock()
				t.events[resource] += events
			}}
		}
		return response, err
	})
}

// snapshot is what was counted since the start.
func (t *traffic) snapshot() (events, requests map[string]int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.events), maps.Clone(t.requests)
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

type watchBody struct {
	io.ReadCloser
	count func(int)
}

func (b *watchBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	for _, kind := range []string{"ADDED", "MODIFIED", "DELETED"} {
		b.count(bytes.Count(p[:n], []byte(`{"type":"`+kind+`"`)))
	}
	return n, err
}

func (c *cluster) client(node string) *kube.Client {
	c.Helper()
	var cfg *rest.Config
	cfg, err := c.cp.ServiceAccountConfig(c.Context(), "eni-system", "eni-agent", node)
	if err != nil {
		c.Fatal(err)
	}
	client, err := kube.NewClient(cfg, "test")
	if err != nil {
		c.Fatal(err)
	}
	return client
}
