package v1alpha1_test

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// Every name that a NodeENI can have makes a label, and the longest ones make
// different ones.
func TestReadyLabel(t *testing.T) {
	label := strings.Repeat("a", 63)
	for name, want := range map[string]string{
		"storage":                  "nodeeni.networking.k8s.aws/storage",
		"a.storage-2":              "nodeeni.networking.k8s.aws/a.storage-2",
		label[:63]:                 "nodeeni.networking.k8s.aws/" + label,
		label + "b":                "nodeeni.networking.k8s.aws/" + label[:52] + "-97aa7c540d",
		label + "c":                "nodeeni.networking.k8s.aws/" + label[:52] + "-36fc061545",
		label[:51] + ".b." + label: "nodeeni.networking.k8s.aws/" + label[:51] + ".-f9d6592197",
	} {
		got := v1alpha1.ReadyLabel(name)
		if got != want {
			t.Errorf("%s has the label %s, want %s", name, got, want)
		}
		if errs := validation.IsQualifiedName(got); len(errs) > 0 {
			t.Errorf("%s is no label: %v", got, errs)
		}
	}
}
