package v1alpha1_test

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// full is a NodeENI that uses most fields.
func full() *v1alpha1.NodeENI {
	return &v1alpha1.NodeENI{ObjectMeta: metav1.ObjectMeta{Name: "data"}, Spec: v1alpha1.NodeENISpec{
		NodeSelector:       map[string]string{"ng": "multi-eni", "topology.kubernetes.io/zone": "us-east-1a"},
		SubnetIDs:          []string{"subnet-0123456789abcdef0", "subnet-0123456789abcdef1"},
		SubnetNames:        []string{"data", "storage"},
		SecurityGroupIDs:   []string{"sg-0123456789abcdef0", "sg-0123456789abcdef1"},
		SecurityGroupNames: []string{"data"},
		DeviceIndex:        2, MTU: 9001, Addressing: v1alpha1.AddressingHost, InterfaceName: "data0", Description: "data",
		Tags: map[string]string{"team": "net", "env": "prod", "cost-center": "42"},
	}}
}

func BenchmarkValidate(b *testing.B) {
	n := full()
	b.ReportAllocs()
	for b.Loop() {
		v1alpha1.Default(n)
		if errs := v1alpha1.ValidateNodeENI(n); len(errs) > 0 {
			b.Fatal(errs)
		}
	}
}

func BenchmarkSelects(b *testing.B) {
	n := full()
	labels := map[string]string{"ng": "multi-eni", "topology.kubernetes.io/zone": "us-east-1a", "kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux"}
	b.ReportAllocs()
	for b.Loop() {
		if !n.Selects(labels) {
			b.Fatal("it does not select the node")
		}
	}
}

const file = `apiVersion: networking.k8s.aws/v1alpha1
kind: NodeENI
metadata: {name: data}
spec:
  nodeSelector: {ng: multi-eni}
  subnetNames: [data]
  securityGroupNames: [data]
  addressing: Host
  mtu: 9001
`

func BenchmarkParse(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if all, err := v1alpha1.ParseNodeENIs([]byte(file)); err != nil || len(all) != 1 {
			b.Fatal(all, err)
		}
	}
}
