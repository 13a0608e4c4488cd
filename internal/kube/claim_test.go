package kube

import (
	"slices"
	"testing"
)

// A pod uses the claims that it names, those made from its templates, and the one that the
// scheduler made for its extended resources, until it has ended.
func TestClaimNames(t *testing.T) {
	pod := &Pod{
		Spec: PodSpec{ResourceClaims: []PodResourceClaim{{Name: "a", ResourceClaimName: new("named")}, {Name: "b"}, {Name: "c"}}},
		Status: PodStatus{
			ResourceClaimStatuses:       []PodResourceClaim{{Name: "b", ResourceClaimName: new("generated")}, {Name: "c"}},
			ExtendedResourceClaimStatus: &ExtendedClaimStatus{ResourceClaimName: "extended"},
		},
	}
	for phase, want := range map[string][]string{
		"": {"named", "generated", "extended"}, "Pending": {"named", "generated", "extended"}, "Running": {"named", "generated", "extended"},
		"Succeeded": nil, "Failed": nil,
	} {
		if pod.Status.Phase = phase; !slices.Equal(pod.ClaimNames(), want) {
			t.Errorf("%s: %v, want %v", phase, pod.ClaimNames(), want)
		}
	}
}
