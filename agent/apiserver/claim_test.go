package apiserver

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/internal/driver"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// A claim counts for each of the node's devices that it has, and for no others'.
func TestAllocatedHere(t *testing.T) {
	ours := kube.AllocationResult{Request: "eni", Driver: driver.Name, Pool: "node-1", Device: "a-0"}
	change := func(f func(*kube.AllocationResult)) kube.AllocationResult { r := ours; f(&r); return r }
	second := change(func(r *kube.AllocationResult) { r.Device = "a-1" })
	for _, test := range []struct {
		name    string
		results []kube.AllocationResult
		want    []string
	}{
		{"one", []kube.AllocationResult{ours}, []string{"a-0"}},
		{"two", []kube.AllocationResult{ours, second}, []string{"a-0", "a-1"}},
		{"none", nil, nil},
		{"another driver's", []kube.AllocationResult{change(func(r *kube.AllocationResult) { r.Driver = "gpu.example.com" })}, nil},
		{"another node's", []kube.AllocationResult{change(func(r *kube.AllocationResult) { r.Pool = "node-2" })}, nil},
		{"looked at", []kube.AllocationResult{change(func(r *kube.AllocationResult) { r.AdminAccess = true })}, nil},
		{"and a GPU", []kube.AllocationResult{change(func(r *kube.AllocationResult) { r.Driver = "gpu.example.com" }), ours}, []string{"a-0"}},
	} {
		claim := &kube.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "c", UID: "uid-c"}}
		claim.Status.Allocation = &kube.Allocation{Devices: kube.AllocatedDevices{Results: test.results}}
		claim.Status.Devices = []kube.AllocatedDevice{
			{Driver: "gpu.example.com", Pool: "node-1", Device: "a-0"}, {Driver: driver.Name, Pool: "node-1", Device: "a-0", Data: json.RawMessage(`{}`)},
		}
		claim.Status.ReservedFor = []kube.ClaimConsumer{{Resource: "pods", Name: "p", UID: "uid-p"}, {Resource: "podgroups", Name: "g", UID: "uid-g"}}
		var got []string
		for _, c := range allocatedHere(claim, "node-1") {
			got = append(got, c.Device)
			if reported := c.Status != nil; reported != (c.Device == "a-0") || reported && c.Status.Data == nil || c.Namespace != "ns" || c.Name != "c" || c.UID != "uid-c" || !slices.Equal(c.Pods, []types.UID{"uid-p"}) {
				t.Errorf("%s: %+v", test.name, c)
			}
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: devices %v, want %v", test.name, got, test.want)
		}
	}
	if allocatedHere(nil, "node-1") != nil || allocatedHere(&kube.ResourceClaim{}, "node-1") != nil {
		t.Error("a claim that is not allocated has a device")
	}
}

// The parameters of a claim come after those of its class, so that they win.
func TestParameters(t *testing.T) {
	of := func(source, driver, text string, requests ...string) kube.AllocationConfig {
		return kube.AllocationConfig{Source: source, Requests: requests, Opaque: &kube.OpaqueConfig{Driver: driver, Parameters: json.RawMessage(text)}}
	}
	configs := []kube.AllocationConfig{
		of("FromClaim", driver.Name, `"claim, all"`),
		of("FromClaim", driver.Name, `"claim, eni"`, "eni"),
		of("FromClaim", driver.Name, `"claim, eni/large"`, "other", "eni/large"),
		of("FromClaim", driver.Name, `"claim, other"`, "other"),
		of("FromClaim", "gpu.example.com", `"another driver's"`),
		of("FromClass", driver.Name, `"class"`, "eni"),
		{Source: "FromClass"},
	}
	for request, want := range map[string]string{
		"eni":       `["class" "claim, all" "claim, eni"]`,
		"eni/large": `["class" "claim, all" "claim, eni" "claim, eni/large"]`,
		"other":     `["claim, all" "claim, eni/large" "claim, other"]`,
		"third":     `["claim, all"]`,
	} {
		if got := fmt.Sprintf("%s", parameters(configs, request)); got != want {
			t.Errorf("%s: %s, want %s", request, got, want)
		}
	}
}
