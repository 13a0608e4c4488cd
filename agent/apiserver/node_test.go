package apiserver

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// A Node that was patched need not have come by the watch to be known; one that
// was deleted is not. When the watch still shows an older one after a minute, that
// is the Node: of a backup that etcd was restored from.
func TestNewestNode(t *testing.T) {
	n := &node{name: "node-a", informer: informer(nil, &kube.Node{}), changed: make(chan struct{}, 1), absences: NewAbsences(nil, nil, nil)}
	version := func(v string) *kube.Node {
		return &kube.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-a", ResourceVersion: v}}
	}
	for _, step := range []struct {
		watched, fresh string
		age            time.Duration
		want           string
	}{
		{"", "", 0, ""}, {"", "9", 0, "9"}, {"8", "", 0, "8"}, {"8", "9", 0, "9"}, {"9", "9", 0, "9"}, {"10", "9", 0, "10"}, {"8", "no number", 0, "8"},
		{"8", "9", freshFor, "8"}, {"10", "9", freshFor, "10"}, {"", "9", freshFor, "9"},
	} {
		n.fresh = nil
		if step.fresh != "" {
			n.setFresh(version(step.fresh))
			n.read = n.read.Add(-step.age)
		}
		if err := n.informer.GetStore().Replace(nil, ""); err != nil {
			t.Fatal(err)
		}
		if step.watched != "" {
			if err := n.informer.GetStore().Add(version(step.watched)); err != nil {
				t.Fatal(err)
			}
		}
		got := ""
		if shown := n.current(); shown != nil {
			got = shown.ResourceVersion
		}
		if got != step.want {
			t.Errorf("watched %q, patched %q %v ago: %q, want %q", step.watched, step.fresh, step.age, got, step.want)
		}
	}
	if n.handler().OnDelete(version("8")); n.fresh != nil {
		t.Error("a Node that was deleted is still known")
	}
}

// The problem says what to do: a providerID cannot be changed.
func TestNodeProblem(t *testing.T) {
	for providerID, words := range map[string][]string{
		"aws:///us-east-1a/i-0123456789abcdef0": nil,
		"k3s://node-a":                          {"does not name an EC2 instance", "cannot be changed", "to register the Node again"},
		"":                                      {"does not name an EC2 instance"},
		"aws:///us-east-1a/i-0fedcba9876543210": {"runs on instance i-0123456789abcdef0", "--node-name", "cannot be changed"},
	} {
		problem := NodeProblem(&kube.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-a"}, Spec: kube.NodeSpec{ProviderID: providerID}}, "i-0123456789abcdef0")
		if (problem == "") != (words == nil) {
			t.Errorf("%q: the problem is %q", providerID, problem)
		}
		for _, word := range words {
			if !strings.Contains(problem, word) {
				t.Errorf("%q: the problem %q does not say %q", providerID, problem, word)
			}
		}
	}
}
