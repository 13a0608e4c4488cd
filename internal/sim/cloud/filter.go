package cloud

import (
	"slices"
	"strings"
)

// Filter narrows a Describe call: one of the values must match, where * stands
// for any text, ? for any character, and a backslash takes their meaning away.
type Filter struct {
	Name   string
	Values []string
}

// field shows a resource's values under a filter's name to match, until one
// does.
type field[T any] func(resource T, match func(string) bool) bool

// compile turns filters into one condition: all of them must match.
func compile[T any](filters []Filter, fields map[string]field[T], tags func(T) map[string]string) (func(T) bool, error) {
	var conditions []func(T) bool
	for _, f := range filters {
		if f.Name == "" {
			return nil, Errorf("InvalidParameterValue", "The filter 'null' is invalid")
		}
		if len(f.Values) == 0 {
			return nil, Errorf("InvalidParameterValue", "The filter '%s' has no values", f.Name)
		}
		show, ok := fields[f.Name]
		key, isTag := strings.CutPrefix(f.Name, "tag:")
		switch {
		case ok:
		case isTag:
			show = func(r T, match func(string) bool) bool {
				value, ok := tags(r)[key]
				return ok && match(value)
			}
		case f.Name == "tag-key":
			show = func(r T, match func(string) bool) bool {
				for key := range tags(r) {
					if match(key) {
						return true
					}
				}
				return false
			}
		default:
			return nil, Errorf("InvalidParameterValue", "The filter '%s' is invalid", f.Name)
		}
		match := matcher(f.Values)
		conditions = append(conditions, func(r T) bool { return show(r, match) })
	}
	return func(r T) bool {
		for _, holds := range conditions {
			if !holds(r) {
				return false
			}
		}
		return true
	}, nil
}

// matcher says whether a value matches one of the patterns.
func matcher(patterns []string) func(string) bool {
	var exact, globs []string
	for _, p := range patterns {
		if strings.ContainsAny(p, `*?\`) {
			globs = append(globs, p)
		} else {
			exact = append(exact, p)
		}
	}
	return func(value string) bool {
		return slices.Contains(exact, value) ||
			slices.ContainsFunc(globs, func(p string) bool { return glob(p, value) })
	}
}

// glob matches with at most one backtrack point, the last star: linear in
// the length of pattern times value.
func glob(pattern, value string) bool {
	p, v := 0, 0
	star, mark := -1, 0
	for v < len(value) {
		if p < len(pattern) && pattern[p] == '*' {
			star, mark = p, v
			p++
			continue
		}
		if n := matchOne(pattern[p:], value[v]); n > 0 {
			p += n
			v++
			continue
		}
		if star < 0 {
			return false
		}
		mark++
		p, v = star+1, mark
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// matchOne returns how much of the pattern stands for the byte, 0 if it does
// not match.
func matchOne(pattern string, b byte) int {
	switch {
	case pattern == "":
		return 0
	case pattern[0] == '?':
		return 1
	case pattern[0] == '\\' && len(pattern) > 1 && pattern[1] == b:
		return 2
	case pattern[0] == b && (b != '\\' || len(pattern) == 1):
		return 1
	}
	return 0
}

// text is the field of one text.
func text[T any](of func(T) string) field[T] {
	return func(r T, match func(string) bool) bool { return match(of(r)) }
}

// flag is the field of a truth value.
func flag[T any](of func(T) bool) field[T] {
	return func(r T, match func(string) bool) bool {
		if of(r) {
			return match("true")
		}
		return match("false")
	}
}

// texts is the field of several texts.
func texts[T any](of func(T) []string) field[T] {
	return func(r T, match func(string) bool) bool { return slices.ContainsFunc(of(r), match) }
}
