// Package iam decides, as AWS IAM does, whether a policy allows a request. It
// knows of the policy language what the policies in packaging/iam use, and
// refuses a policy with anything else.
package iam

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Policy is an identity-based policy.
type Policy struct {
	Version    string
	Statements []Statement `json:"Statement"`
}

// Statement allows or denies actions on resources under conditions.
type Statement struct {
	Sid       string
	Effect    string
	Actions   list                       `json:"Action"`
	Resources list                       `json:"Resource"`
	Condition map[string]map[string]list `json:",omitempty"` // by operator and key
}

// list is one string or several.
type list []string

func (l *list) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*l = list{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(l))
}

// Parse reads a policy. What this package does not know is an error.
func Parse(data []byte) (Policy, error) {
	var p Policy
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&p); err != nil {
		return p, err
	}
	if p.Version != "2012-10-17" {
		return p, fmt.Errorf("version %q has no policy variables; want 2012-10-17", p.Version)
	}
	for _, s := range p.Statements {
		if s.Effect != "Allow" && s.Effect != "Deny" {
			return p, fmt.Errorf("statement %s: effect %q", s.Sid, s.Effect)
		}
		if len(s.Actions) == 0 || len(s.Resources) == 0 {
			return p, fmt.Errorf("statement %s has no action or no resource", s.Sid)
		}
		for operator := range s.Condition {
			if operators[operator] == nil {
				return p, fmt.Errorf("statement %s: condition operator %s is not known here", s.Sid, operator)
			}
		}
	}
	return p, nil
}

// Keys is the context of a request: the values of each condition key. A key's
// name counts in any case.
type Keys map[string][]string

func (k Keys) get(name string) []string {
	for key, values := range k {
		if strings.EqualFold(key, name) {
			return values
		}
	}
	return nil
}

// Resource is something that a request is about.
type Resource struct {
	ARN  string
	Keys Keys
}

// Request is one call. Every resource must be allowed; a call about none, such as
// a describe, has the resource "*".
type Request struct {
	Action    string // with its service: ec2:CreateTags
	Keys      Keys   // that hold for all resources
	Resources []Resource
}

// Allows says whether the policy allows the request.
func (p Policy) Allows(r Request) bool {
	return len(p.Refused(r)) == 0
}

// Refused are the ARNs of the resources on which the request is not allowed.
func (p Policy) Refused(r Request) []string {
	resources := r.Resources
	if len(resources) == 0 {
		resources = []Resource{{ARN: "*"}}
	}
	var refused []string
	for _, resource := range resources {
		if !p.allows(r, resource) {
			refused = append(refused, resource.ARN)
		}
	}
	return refused
}

func (p Policy) allows(r Request, resource Resource) bool {
	allowed := false
	for _, s := range p.Statements {
		if s.applies(r, resource) {
			if s.Effect == "Deny" {
				return false
			}
			allowed = true
		}
	}
	return allowed
}

func (s Statement) applies(r Request, resource Resource) bool {
	keys := func(name string) []string {
		if values := resource.Keys.get(name); values != nil {
			return values
		}
		return r.Keys.get(name)
	}
	matches := func(patterns list, text string, match func(pattern, text string) bool) bool {
		return slices.ContainsFunc(patterns, func(pattern string) bool {
			full, ok := substitute(pattern, keys)
			return ok && match(full, text)
		})
	}
	action := func(pattern, text string) bool { return like(strings.ToLower(pattern), strings.ToLower(text)) }
	if !matches(s.Actions, r.Action, action) || !matches(s.Resources, resource.ARN, arnLike) {
		return false
	}
	for operator, conditions := range s.Condition {
		for key, patterns := range conditions {
			if !operators[operator](keys(key), func(value string, match func(pattern, text string) bool) bool {
				return matches(patterns, value, match)
			}) {
				return false
			}
		}
	}
	return true
}

// operators hold each value of a key against a condition's patterns.
var operators = map[string]func(values []string, matches func(value string, match func(pattern, text string) bool) bool) bool{
	"StringEquals": anyValue(func(pattern, text string) bool { return pattern == text }),
	"StringLike":   anyValue(like),
	"ArnEquals":    anyValue(arnLike),
	"ArnLike":      anyValue(arnLike),
	// It holds for a key without values too.
	"ForAllValues:StringLike": func(values []string, matches func(string, func(string, string) bool) bool) bool {
		return !slices.ContainsFunc(values, func(v string) bool { return !matches(v, like) })
	},
}

func anyValue(match func(pattern, text string) bool) func([]string, func(string, func(string, string) bool) bool) bool {
	return func(values []string, matches func(string, func(string, string) bool) bool) bool {
		return slices.ContainsFunc(values, func(v string) bool { return matches(v, match) })
	}
}

// substitute fills in policy variables. With one that the request does not have,
// the pattern matches nothing.
func substitute(pattern string, keys func(string) []string) (string, bool) {
	before, rest, found := strings.Cut(pattern, "${")
	if !found {
		return pattern, true
	}
	name, rest, _ := strings.Cut(rest, "}")
	values := keys(name)
	if len(values) != 1 {
		return "", false
	}
	rest, ok := substitute(rest, keys)
	return before + values[0] + rest, ok
}

// arnLike matches part by part, so that a wildcard does not reach beyond a colon,
// but in the last part.
func arnLike(pattern, arn string) bool {
	if pattern == "*" {
		return true
	}
	patterns, parts := strings.SplitN(pattern, ":", 6), strings.SplitN(arn, ":", 6)
	if len(patterns) != len(parts) {
		return false
	}
	for i := range parts {
		if !like(patterns[i], parts[i]) {
			return false
		}
	}
	return true
}

// like matches * for any text and ? for any character.
func like(pattern, text string) bool {
	for pattern != "" {
		switch {
		case pattern[0] == '*':
			for i := 0; i <= len(text); i++ {
				if like(pattern[1:], text[i:]) {
					return true
				}
			}
			return false
		case text == "" || pattern[0] != '?' && pattern[0] != text[0]:
			return false
		}
		pattern, text = pattern[1:], text[1:]
	}
	return text == ""
}
