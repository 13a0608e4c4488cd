package program

import (
	"strings"
	"testing"
)

type word string

// A line says nothing of what there is nothing to say about.
func TestLogLeavesOutWhatIsEmpty(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		var out strings.Builder
		log, err := Logger(&out, format, "info")
		if err != nil {
			t.Fatal(err)
		}
		var none error
		log.Info("told", "eni", "eni-1", "message", "", "grace", word(""), "error", none, "changes", 0, "ready", false)
		for part, want := range map[string]bool{"told": true, "eni-1": true, "changes": true, "ready": true, "message": false, "grace": false, "error": false} {
			if strings.Contains(out.String(), part) != want {
				t.Errorf("%s: %s is there: %v, want %v", out.String(), part, !want, want)
			}
		}
	}
}
