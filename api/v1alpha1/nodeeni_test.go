package v1alpha1_test

import (
	"testing"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

func TestSelects(t *testing.T) {
	type labels = map[string]string
	for _, test := range []struct {
		name           string
		selector, node labels
		want           bool
	}{
		{"every label", labels{"a": "1", "b": ""}, labels{"a": "1", "b": "", "c": "3"}, true},
		{"another value", labels{"a": "1"}, labels{"a": "2"}, false},
		{"an empty value is not an absent label", labels{"a": ""}, labels{}, false},
		{"one of two", labels{"a": "1", "b": "2"}, labels{"a": "1"}, false},
		{"an empty selector", labels{}, labels{"a": "1"}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := v1alpha1.NodeENI{Spec: v1alpha1.NodeENISpec{NodeSelector: test.selector}}
			if got := n.Selects(test.node); got != test.want {
				t.Errorf("%v, want %v", got, test.want)
			}
		})
	}
}
