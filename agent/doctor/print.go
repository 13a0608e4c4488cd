package doctor

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

var marks = map[Status]string{OK: "✓", Warning: "!", Failure: "✗", Skipped: "–"}

// PrintTable writes the results for people.
func PrintTable(w io.Writer, title string, results []Result) error {
	width := 0
	counts := map[Status]int{}
	for _, r := range results {
		width = max(width, utf8.RuneCountInString(r.Check))
		counts[r.Status]++
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", title)
	for _, r := range results {
		pad := strings.Repeat(" ", width-utf8.RuneCountInString(r.Check))
		fmt.Fprintf(&b, "%s  %s%s  %s\n", marks[r.Status], r.Check, pad, v1alpha1.Printable(r.Message)) // tags and the like are of others
		if r.Action != "" {
			fmt.Fprintf(&b, "   %s  → %s\n", strings.Repeat(" ", width), v1alpha1.Printable(r.Action))
		}
	}
	fmt.Fprintf(&b, "\n%d ok, %s, %d failed, %d not checked\n", counts[OK], count(counts[Warning], "warning"), counts[Failure], counts[Skipped])
	_, err := io.WriteString(w, b.String())
	return err
}

// PrintJSON writes the results for programs.
func PrintJSON(w io.Writer, results []Result) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(struct {
		OK     bool     `json:"ok"`
		Checks []Result `json:"checks"`
	}{!Failed(results), results})
}
