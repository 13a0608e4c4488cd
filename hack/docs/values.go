package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"
)

// values is a table of a values.yaml: every value that is not a map, with the comment
// above it.
func values(file string) (string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	var document yaml.Node
	if err := yaml.Unmarshal(data, &document); err != nil {
		return "", fmt.Errorf("%s: %w", file, err)
	}
	var b strings.Builder
	b.WriteString("| value | default | description |\n|---|---|---|\n")
	if err := rows(&b, "", document.Content[0]); err != nil {
		return "", fmt.Errorf("%s: %w", file, err)
	}
	return b.String(), nil
}

func rows(b *strings.Builder, prefix string, m *yaml.Node) error {
	for i := 0; i+1 < len(m.Content); i += 2 {
		key, value := m.Content[i], m.Content[i+1]
		name := prefix + key.Value
		said := comment(key)
		if value.Kind == yaml.MappingNode && len(value.Content) > 0 {
			if said != "" {
				fmt.Fprintf(b, "| **`%s`** | | %s |\n", name, said)
			}
			if err := rows(b, name+".", value); err != nil {
				return err
			}
			continue
		}
		var v any
		if err := value.Decode(&v); err != nil {
			return err
		}
		text, err := json.Marshal(v)
		if err != nil {
			return err
		}
		fmt.Fprintf(b, "| `%s` | `%s` | %s |\n", name, cell(string(text)), said)
	}
	return nil
}

// comment is the last paragraph of the comment above a key.
func comment(key *yaml.Node) string {
	paragraphs := strings.Split(strings.TrimSpace(key.HeadComment), "\n\n")
	var lines []string
	for line := range strings.SplitSeq(paragraphs[len(paragraphs)-1], "\n") {
		lines = append(lines, strings.TrimSpace(strings.TrimPrefix(line, "#")))
	}
	return cell(strings.Join(lines, " "))
}
