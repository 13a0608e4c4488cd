package adopt

import (
	"strings"
	"testing"
)

func TestClusterName(t *testing.T) {
	for args, want := range map[string]string{
		"": "", "--log-level=debug": "", "--cluster-name=a": "a", "-cluster-name a --x": "a", "--cluster-name": "",
		"cluster-name=a": "", "--cluster-name=a --cluster-name=b": "b", "--cluster-name=$(NAME)": "unreadable",
	} {
		got, readable := clusterName(strings.Fields(args))
		if !readable {
			got = "unreadable"
		}
		if got != want {
			t.Errorf("%q: %q, want %q", args, got, want)
		}
	}
}
