package main

import (
	"regexp"
	"strings"
)

var notInAnchor = regexp.MustCompile(`[^\p{L}\p{N}\-_ ]`)

// anchor is what GitHub makes of a heading.
func anchor(heading string) string {
	return strings.ReplaceAll(notInAnchor.ReplaceAllString(strings.ToLower(heading), ""), " ", "-")
}
