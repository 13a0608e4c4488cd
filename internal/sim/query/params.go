package query

import (
	"encoding/base64"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// params are the parameters of one call. The reading methods note which ones
// the action knows, so that the rest can be refused, and keep the first error
// for err.
type params struct {
	values map[string]string
	known  map[string]bool
	first  error
}

// parse takes over a form, without what belongs to the protocol rather than to
// the action.
func parse(form url.Values) (*params, error) {
	p := &params{values: make(map[string]string, len(form)), known: make(map[string]bool, len(form))}
	for name, values := range form {
		switch {
		case name == "Action" || name == "Version" || strings.HasPrefix(name, "X-Amz-"):
		case len(values) > 1:
			return p, cloud.Errorf("InvalidQueryParameter", "The parameter %s is given %d times", name, len(values))
		case !utf8.ValidString(name) || !utf8.ValidString(values[0]):
			return p, cloud.Errorf("InvalidQueryParameter", "The parameter %q is not valid UTF-8", name)
		default:
			p.values[name] = values[0]
		}
	}
	return p, nil
}

// err is the first thing that was wrong: a value, or a parameter that the
// action does not know.
func (p *params) err() error {
	if p.first != nil {
		return p.first
	}
	var unknown []string
	for name := range p.values {
		if !p.known[name] {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) > 0 {
		return cloud.Errorf("UnknownParameter", "The parameter %s is not recognized", slices.Min(unknown))
	}
	return nil
}

func (p *params) fail(code, format string, args ...any) {
	if p.first == nil {
		p.first = cloud.Errorf(code, format, args...)
	}
}

func (p *params) get(name string) (string, bool) {
	p.known[name] = true
	value, ok := p.values[name]
	return value, ok
}

// text is a parameter, or "" without it.
func (p *params) text(name string) string {
	value, _ := p.get(name)
	return value
}

// base64 is what a parameter encodes.
func (p *params) base64(name string) string {
	decoded, err := base64.StdEncoding.DecodeString(p.text(name))
	if err != nil {
		p.fail("InvalidUserData.Malformed", "Invalid BASE64 encoding of user data")
	}
	return string(decoded)
}

// required is a parameter that must be there.
func (p *params) required(name string) string {
	value, _ := p.get(name)
	if value == "" {
		p.missing(name)
	}
	return value
}

func (p *params) missing(name string) {
	p.fail("MissingParameter", "The request must contain the parameter %s", lowerFirst(name))
}

// optionalFlag is a truth value, or nil without it.
func (p *params) optionalFlag(name string) *bool {
	value, ok := p.get(name)
	if !ok {
		return nil
	}
	switch strings.ToLower(value) {
	case "true", "1":
		return new(true)
	case "false", "0":
		return new(false)
	}
	p.fail("InvalidParameterValue", "Invalid value '%s' for %s. Expecting a boolean.", value, lowerFirst(name))
	return nil
}

// flag is a truth value, false without it.
func (p *params) flag(name string) bool {
	value := p.optionalFlag(name)
	return value != nil && *value
}

// optionalNumber is a number of 32 bits, or nil without it.
func (p *params) optionalNumber(name string) *int {
	value, ok := p.get(name)
	if !ok {
		return nil
	}
	n, err := strconv.ParseInt(value, 10, 32)
	if err != nil {
		p.fail("InvalidParameterValue", "Invalid value '%s' for %s. Expecting an integer.", value, lowerFirst(name))
		return nil
	}
	return new(int(n))
}

// number is a number of 32 bits, 0 without it.
func (p *params) number(name string) int {
	if n := p.optionalNumber(name); n != nil {
		return *n
	}
	return 0
}

// address is an IPv4 address; the zero one without it.
func (p *params) address(name string) netip.Addr {
	return parameter(p, name, "an IPv4 address", func(text string) (netip.Addr, bool) {
		a, err := netip.ParseAddr(text)
		return a, err == nil && a.Is4()
	})
}

// ipv6Address is an IPv6 address; the zero one without it.
func (p *params) ipv6Address(name string) netip.Addr {
	return parameter(p, name, "an IPv6 address", func(text string) (netip.Addr, bool) {
		a, err := netip.ParseAddr(text)
		return a, err == nil && a.Is6() && !a.Is4In6() && a.Zone() == ""
	})
}

// prefix is an IPv4 or IPv6 prefix; the zero one without it.
func (p *params) prefix(name string) netip.Prefix {
	return parameter(p, name, "a prefix", func(text string) (netip.Prefix, bool) {
		prefix, err := netip.ParsePrefix(text)
		return prefix, err == nil
	})
}

// parameter reads a parameter of a kind; the zero value without it.
func parameter[T any](p *params, name, kind string, parse func(string) (T, bool)) T {
	var none T
	text, ok := p.get(name)
	if !ok {
		return none
	}
	value, ok := parse(text)
	if !ok {
		p.fail("InvalidParameterValue", "Invalid value '%s' for %s. Expecting %s.", text, lowerFirst(name), kind)
		return none
	}
	return value
}

// list is a flattened list: Name.1, Name.2 and so on.
func (p *params) list(name string) []string {
	var list []string
	for _, element := range p.elements(name) {
		if value, ok := p.get(element); ok {
			list = append(list, value)
		}
	}
	return list
}

// elements returns the names of the elements of a flattened list, such as
// Filter.1 and Filter.2, in the order of their numbers.
func (p *params) elements(name string) []string {
	seen := make(map[int]bool)
	var indexes []int
	for full := range p.values {
		rest, ok := strings.CutPrefix(full, name+".")
		if !ok {
			continue
		}
		digits, _, _ := strings.Cut(rest, ".")
		index, err := strconv.Atoi(digits)
		if err != nil || index < 1 || strconv.Itoa(index) != digits || seen[index] {
			continue // not an element: refused as an unknown parameter
		}
		seen[index] = true
		indexes = append(indexes, index)
	}
	slices.Sort(indexes)
	names := make([]string, len(indexes))
	for i, index := range indexes {
		names[i] = name + "." + strconv.Itoa(index)
	}
	return names
}

// ignore accepts parameters, also lists and structures, that make no
// difference here.
func (p *params) ignore(names ...string) {
	for full := range p.values {
		if head, _, _ := strings.Cut(full, "."); slices.Contains(names, head) {
			p.known[full] = true
		}
	}
}

// unsupported refuses parameters that EC2 has and the simulation has not.
func (p *params) unsupported(names ...string) {
	for full := range p.values {
		if head, _, _ := strings.Cut(full, "."); slices.Contains(names, head) {
			p.fail("UnsupportedOperation", "The parameter %s is not supported by this simulation of EC2", head)
		}
	}
}

func lowerFirst(name string) string {
	first, size := utf8.DecodeRuneInString(name)
	return string(unicode.ToLower(first)) + name[size:]
}
