package v1alpha1_test

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// Every name that a NodeENI can have makes a label and a resource, and the longest ones
// make different ones.
func TestNamesOnTheNode(t *testing.T) {
	label := strings.Repeat("a", 63)
	for name, want := range map[string]string{
		"storage":                  "storage",
		"a.storage-2":              "a.storage-2",
		label[:63]:                 label,
		label + "b":                label[:52] + "-97aa7c540d",
		label + "c":                label[:52] + "-36fc061545",
		label[:51] + ".b." + label: label[:51] + ".-f9d6592197",
	} {
		for got, want := range map[string]string{
			v1alpha1.ReadyLabel(name):  "nodeeni.networking.k8s.aws/" + want,
			v1alpha1.PodResource(name): "networking.k8s.aws/" + want,
		} {
			if got != want {
				t.Errorf("%s has %s, want %s", name, got, want)
			}
			if errs := validation.IsQualifiedName(got); len(errs) > 0 {
				t.Errorf("%s is no name of a label or resource: %v", got, errs)
			}
		}
	}
}

// Multus finds the device by the value of an attribute, which has at most 64 characters, and
// by the extended resource of a DeviceClass.
func TestDeviceResource(t *testing.T) {
	long := strings.Repeat("a", 41)
	for name, want := range map[string]string{
		"inspection": "inspection",
		long:         long,
		long + "b":   long[:30] + "-56b035e42f",
	} {
		got := v1alpha1.DeviceResource(name)
		if got != "eni.networking.k8s.aws/"+want || len(got) > 64 || len(validation.IsQualifiedName(got)) > 0 {
			t.Errorf("%s has %s", name, got)
		}
	}
}

// A pod that requests a resource may tolerate the taint of the same key.
func TestNoResourceIsTheStartupTaint(t *testing.T) {
	if got, want := v1alpha1.PodResource("eni-not-ready"), "networking.k8s.aws/eni-not-ready-98b5b40f92"; got != want {
		t.Errorf("the resource is %s, want %s", got, want)
	}
}
