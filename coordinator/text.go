package coordinator

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

const (
	// maxNamed is how many nodes a condition's message names.
	maxNamed = 3
	// maxWords bounds, in bytes, what a message takes over from elsewhere.
	maxWords = v1alpha1.MaxAttachmentMessageLength
)

// shorten keeps a hundred messages of agents well below an object's limits.
func shorten(text string) string {
	const more = "…"
	if len(text) <= maxWords {
		return text
	}
	end := maxWords - len(more)
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + more
}

func selectorText(selector map[string]string) string {
	var labels []string
	for _, key := range slices.Sorted(maps.Keys(selector)) {
		labels = append(labels, key+"="+selector[key])
	}
	return strings.Join(labels, ",")
}

// sample names the first few.
func sample(all []string) string {
	if len(all) <= maxNamed {
		return strings.Join(all, "; ")
	}
	return fmt.Sprintf("%s; and %d more", strings.Join(all[:maxNamed], "; "), len(all)-maxNamed)
}
