package coordinator

import (
	"fmt"
	"testing"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// fleet is the size that budgets are for: 1,000 nodes with two ENIs each.
const fleet = 1000

// The decisions of one sweep when nothing is left over.
func BenchmarkLeftOverOfFleet(b *testing.B) {
	e, ev := wantedENI(), wantedEvidence()
	b.ReportAllocs()
	for b.Loop() {
		for range 2 * fleet {
			if v := leftOver(testCluster, e, ev); v.collect() {
				b.Fatal(v)
			}
		}
	}
}

// A NodeENI's status, summed up from all reports.
func BenchmarkStatusOfFleet(b *testing.B) {
	n := validNodeENI()
	n.Spec.SubnetID, n.Spec.SubnetIDs = "", []string{subnetA, subnetB}
	var reports []nodeReport
	for i := range fleet {
		reports = append(reports, reported(fmt.Sprintf("node-%04d", i), entry(subnetA, v1alpha1.PhaseReady, ""), entry(subnetB, v1alpha1.PhaseReady, "")))
	}
	b.ReportAllocs()
	for b.Loop() {
		if status := statusOf(n, reports, testNow); status.Nodes.Ready != fleet {
			b.Fatal(status.Nodes)
		}
	}
}
