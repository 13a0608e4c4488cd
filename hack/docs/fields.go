package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// schema is the part of a CRD's schema that the tables show.
type schema struct {
	Description          string            `json:"description"`
	Type                 string            `json:"type"`
	Default              any               `json:"default"`
	Enum                 []any             `json:"enum"`
	Required             []string          `json:"required"`
	Properties           map[string]schema `json:"properties"`
	Items                *schema           `json:"items"`
	AdditionalProperties *schema           `json:"additionalProperties"`
}

// fields is a table of the fields at a path, such as "nodeenis spec", of a CRD.
func fields(argument string) (string, error) {
	words := strings.Fields(argument)
	if len(words) != 2 {
		return "", fmt.Errorf("fields of %q: want a resource and a path", argument)
	}
	data, err := os.ReadFile("manifests/crds/networking.k8s.aws_" + words[0] + ".yaml")
	if err != nil {
		return "", err
	}
	var crd struct {
		Spec struct {
			Versions []struct {
				Schema struct {
					OpenAPIV3Schema schema `json:"openAPIV3Schema"`
				} `json:"schema"`
			} `json:"versions"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(data, &crd); err != nil {
		return "", err
	}
	s := crd.Spec.Versions[0].Schema.OpenAPIV3Schema
	for name := range strings.SplitSeq(words[1], ".") {
		s = s.Properties[name]
		if s.Type == "array" {
			s = *s.Items
		}
	}
	if len(s.Properties) == 0 {
		return "", fmt.Errorf("the CRD of %s has no fields at %s", words[0], words[1])
	}
	var b strings.Builder
	b.WriteString("| field | type | default | description |\n|---|---|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		field := s.Properties[name]
		def := field.fallback()
		if slices.Contains(s.Required, name) {
			def = "required"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", name, field.typeName(), def, field.text())
	}
	return b.String(), nil
}

func (s schema) typeName() string {
	switch {
	case len(s.Enum) > 0:
		var values []string
		for _, v := range s.Enum {
			values = append(values, fmt.Sprintf("`%v`", v))
		}
		return strings.Join(values, ", ")
	case s.Items != nil:
		return "list of " + s.Items.typeName() + "s"
	case s.AdditionalProperties != nil:
		return "map of " + s.AdditionalProperties.typeName() + "s"
	}
	return s.Type
}

func (s schema) fallback() string {
	if s.Default == nil {
		return ""
	}
	text, err := json.Marshal(s.Default)
	if err != nil {
		return ""
	}
	return "`" + strings.Trim(string(text), `"`) + "`"
}

// text is the description on one line.
func (s schema) text() string {
	return cell(strings.ReplaceAll(cmp.Or(s.Description, "—"), "\n", " "))
}

// cell keeps a text within one cell of a table.
func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }
