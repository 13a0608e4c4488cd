package kube

import (
	"strings"
	"testing"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/api/validation"
)

func TestEventName(t *testing.T) {
	const number = 1_700_000_000_000_000_001
	for _, about := range []string{"data", strings.Repeat("n", 253), strings.Repeat("n", 235) + "-." + strings.Repeat("n", 16)} {
		name := eventName(about, number)
		if problems := validation.NameIsDNSSubdomain(name, false); len(problems) > 0 {
			t.Errorf("%s: %v", name, problems)
		}
		if name == eventName(about, number+1) {
			t.Errorf("%s is not unique", name)
		}
	}
}

func TestTruncate(t *testing.T) {
	for text, want := range map[string]string{
		"short":            "short",
		"ten and more":     "ten and...",
		"from \u201331 on": "from ...",
	} {
		if got := truncate(text, 10); got != want || !utf8.ValidString(got) {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
