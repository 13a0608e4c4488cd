package docs

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// diagrams are the Mermaid blocks of that type.
func diagrams(t *testing.T, kind string) []block {
	t.Helper()
	var all []block
	for _, p := range pages(t) {
		for _, b := range p.blocks {
			if b.lang == "mermaid" && strings.HasPrefix(b.text, kind) {
				all = append(all, b)
			}
		}
	}
	return all
}

var phase = regexp.MustCompile(`(?m)^\s*Phase\w+\s+Phase = "(\w+)"$`)

var transition = regexp.MustCompile(`(?m)^\s*(\S+) --> ([^\s:]+)`)

// The diagram of an ENI's life has the phases of the API, and no others.
func TestStates(t *testing.T) {
	shown := map[string]bool{}
	for _, d := range diagrams(t, "stateDiagram-v2") {
		for _, m := range transition.FindAllStringSubmatch(d.text, -1) {
			shown[m[1]], shown[m[2]] = true, true
		}
	}
	delete(shown, "[*]")
	phases := phase.FindAllStringSubmatch(read(t, "api/v1alpha1/nodeenistate.go"), -1)
	if len(phases) < 5 {
		t.Fatalf("only the phases %v found", phases)
	}
	for _, m := range phases {
		if !shown[m[1]] {
			t.Errorf("the phase %s is not in the diagram", m[1])
		}
		delete(shown, m[1])
	}
	for name := range shown {
		t.Errorf("the API has no phase %s", name)
	}
}

var class = regexp.MustCompile(`(?s)class (\w+) \{\n(.*?)\n\s*\}`)

// The diagram of the types has their fields, and no others.
func TestTypes(t *testing.T) {
	types := map[string]reflect.Type{}
	for _, v := range []any{
		v1alpha1.NodeENISpec{}, v1alpha1.IPv4{}, v1alpha1.IPv6{}, v1alpha1.ConnectionTracking{}, v1alpha1.ENAExpress{}, v1alpha1.NodeENIStatus{}, v1alpha1.NodeCounts{}, v1alpha1.Attachment{},
		v1alpha1.NodeENIStateStatus{}, v1alpha1.ENIState{},
	} {
		types[reflect.TypeOf(v).Name()] = reflect.TypeOf(v)
	}
	for _, d := range diagrams(t, "classDiagram") {
		for _, m := range class.FindAllStringSubmatch(d.text, -1) {
			of, ok := types[m[1]]
			if !ok {
				continue // an object, in words
			}
			delete(types, m[1])
			var shown []string
			for line := range strings.SplitSeq(m[2], "\n") {
				if words := strings.Fields(line); len(words) > 0 {
					shown = append(shown, words[0])
				}
			}
			slices.Sort(shown)
			if want := fields(of); !slices.Equal(shown, want) {
				t.Errorf("%s is shown with\n\t%v\nand has\n\t%v", m[1], shown, want)
			}
		}
	}
	for name := range types {
		t.Errorf("%s is in no diagram", name)
	}
}

func fields(of reflect.Type) []string {
	var all []string
	for i := range of.NumField() {
		name, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}
