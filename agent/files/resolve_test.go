package files

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// nodeENI makes a NodeENI of a text such as data, or data@3 for device index 3, or
// data+4 for four secondary addresses.
func nodeENI(text string) NodeENI {
	n := NodeENI{Name: text, Spec: v1alpha1.NodeENISpec{DeviceIndex: 1}}
	if name, count, ok := strings.Cut(text, "+"); ok {
		n.Name, n.Spec.IPv4 = name, &v1alpha1.IPv4{}
		_, _ = fmt.Sscan(count, &n.Spec.IPv4.SecondaryAddresses)
	}
	if name, index, ok := strings.Cut(text, "@"); ok {
		n.Name = name
		_, _ = fmt.Sscan(index, &n.Spec.DeviceIndex)
	}
	return n
}

func nodeENIs(text string) []NodeENI {
	var all []NodeENI
	for _, name := range strings.Fields(text) {
		all = append(all, nodeENI(name))
	}
	return all
}

// good is a file that holds NodeENIs; bad is one that is wrong.
func good(name, held string) parsed { return parsed{name: name, nodeENIs: nodeENIs(held)} }
func bad(name string) parsed        { return parsed{name: name, err: errors.New("wrong")} }

// file is one as it was taken in before.
func file(name, held string) File { return File{Name: name, NodeENIs: nodeENIs(held)} }

func unknown(name string) File { return File{Name: name, Error: "wrong", Unknown: true} }

// text is what counts, in a few words: file: NodeENIs (why not what it holds).
func (m memory) text() string {
	var parts []string
	for _, f := range m.files {
		part := f.Name + ":"
		for _, n := range f.NodeENIs {
			part += fmt.Sprintf(" %s@%d", n.Name, n.Spec.DeviceIndex)
			if n.Spec.IPv4 != nil {
				part += fmt.Sprintf("+%d", n.Spec.IPv4.SecondaryAddresses)
			}
		}
		if f.Unknown {
			part += " ?"
		}
		if f.Error != "" {
			part += " (" + f.Error + ")"
		}
		parts = append(parts, part)
	}
	if len(m.gone) > 0 {
		parts = append(parts, "gone: "+strings.Join(m.gone, " "))
	}
	return strings.Join(parts, "; ")
}

func TestResolve(t *testing.T) {
	const both = `(the NodeENI "x" is in a and in b: rename or remove all but one of them)`
	for _, test := range []struct {
		name   string
		before memory
		now    []parsed
		want   string
	}{
		{"new files", memory{}, []parsed{good("a", "x y"), good("b", "z")}, "a: x@1 y@1; b: z@1"},
		{"one bad file does not stop the others", memory{}, []parsed{bad("a"), good("b", "x")}, "a: (wrong); b: x@1"},
		{"a file that becomes bad counts for what it held", memory{files: []File{file("a", "x y"), file("b", "z")}},
			[]parsed{bad("a"), good("b", "z w")}, "a: x@1 y@1 (wrong); b: z@1 w@1"},
		{"and still does the next time", memory{files: []File{{Name: "a", Error: "wrong", NodeENIs: nodeENIs("x")}}}, []parsed{bad("a")}, "a: x@1 (wrong)"},
		{"a file that is good again", memory{files: []File{{Name: "a", Error: "wrong", NodeENIs: nodeENIs("x")}}}, []parsed{good("a", "y")}, "a: y@1"},
		{"a file that is removed", memory{files: []File{file("a", "x"), file("b", "y")}}, []parsed{good("b", "y")}, "b: y@1"},
		{"a bad file that is removed", memory{files: []File{{Name: "a", Error: "wrong", NodeENIs: nodeENIs("x")}}}, nil, ""},
		{"a file that is renamed", memory{files: []File{file("a", "x")}}, []parsed{good("b", "x")}, "b: x@1"},
		{"a NodeENI that moves to another file", memory{files: []File{file("a", "x y"), file("b", "z")}},
			[]parsed{good("a", "x"), good("b", "y z")}, "a: x@1; b: y@1 z@1"},

		{"the same name in two new files", memory{}, []parsed{good("a", "x y"), good("b", "x z")}, "a: " + both + "; b: " + both},
		{"the one that had it before goes on", memory{files: []File{file("b", "x")}}, []parsed{good("a", "x"), good("b", "x y")}, "a: " + both + "; b: x@1 y@1"},
		{"also when that is bad now", memory{files: []File{file("b", "x")}}, []parsed{good("a", "x"), bad("b")}, "a: " + both + "; b: x@1 (wrong)"},
		{"a copy, and then the first is removed", memory{files: []File{{Name: "a", Error: "both"}, file("b", "x")}}, []parsed{good("a", "x")}, "a: x@1"},
		{"what a refused file held before may collide in its turn", memory{files: []File{file("a", "x"), file("b", "y")}},
			[]parsed{good("a", "x"), good("b", "x z"), good("c", "y")},
			`a: x@1; b: y@1 (the NodeENI "x" is in a and in b: rename or remove all but one of them); c: (the NodeENI "y" is in b and in c: rename or remove all but one of them)`},

		{"a changed device index", memory{files: []File{file("a", "x@2 y")}}, []parsed{good("a", "x@3 y")},
			`a: x@2 y@1 (NodeENI "x": spec.deviceIndex: Invalid value: 3: cannot be changed from 2 to 3, because an attached ENI keeps its device index: ` +
				`remove the NodeENI from the file, wait until eni-agent status no longer shows its ENIs, and add it again; or give the new NodeENI another name)`},
		{"more addresses", memory{files: []File{file("a", "x+2")}}, []parsed{good("a", "x+3")}, "a: x@1+3"},
		{"fewer addresses", memory{files: []File{file("a", "x+2")}}, []parsed{good("a", "x+1 y")},
			`a: x@1+2 (NodeENI "x": spec.ipv4.secondaryAddresses: Invalid value: 1: secondaryAddresses cannot be lowered or removed, because pods may use the addresses: ` +
				`remove the NodeENI from the file, wait until eni-agent status no longer shows its ENIs, and add it again; or give the new NodeENI another name)`},
		{"in a file of another name", memory{files: []File{file("a", "x@2")}}, []parsed{good("a", "x@2"), good("b", "y")}, "a: x@2; b: y@1"},
		{"of a NodeENI that was taken out before", memory{files: []File{file("a", "y")}}, []parsed{good("a", "x@3 y")}, "a: x@3 y@1"},

		{"nothing is known from before: a bad file may hold anything", memory{lost: true}, []parsed{bad("a"), good("b", "x")}, "a: ? (wrong); b: x@1"},
		{"so may two that collide", memory{lost: true}, []parsed{good("a", "x"), good("b", "x")}, "a: ? " + both + "; b: ? " + both},
		{"until it is good", memory{files: []File{unknown("a"), file("b", "x")}}, []parsed{good("a", "y"), good("b", "x")}, "a: y@1; b: x@1"},
		{"what is removed meanwhile is known to be gone", memory{files: []File{unknown("a"), file("b", "x y")}}, []parsed{bad("a"), good("b", "y")}, "a: ? (wrong); b: y@1; gone: x"},
		{"and stays so", memory{files: []File{unknown("a")}, gone: []string{"x"}}, []parsed{bad("a")}, "a: ? (wrong); gone: x"},
		{"until it is there again", memory{files: []File{unknown("a")}, gone: []string{"x"}}, []parsed{bad("a"), good("b", "x")}, "a: ? (wrong); b: x@1"},
		{"or all is known", memory{files: []File{unknown("a")}, gone: []string{"x"}}, []parsed{good("a", "y")}, "a: y@1"},
		{"a new bad file holds nothing, when all was known before", memory{files: []File{file("b", "x")}}, []parsed{bad("a"), good("b", "x")}, "a: (wrong); b: x@1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := resolve(test.before, test.now).text(); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

// Whatever happens to files: no NodeENI counts twice, none goes that is still in
// a file that is wrong, and one that stays keeps its device index.
func TestResolveProperties(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 0))
		m := memory{lost: r.IntN(2) == 0}
		for step := range 20 {
			var now []parsed
			for _, name := range []string{"a", "b", "c"} {
				switch r.IntN(6) {
				case 0:
				case 1:
					now = append(now, bad(name))
				default:
					now = append(now, good(name, randomNames(r)))
				}
			}
			before := m
			m = resolve(before, now)
			if problem := unsafe(before, m); problem != "" {
				t.Fatalf("seed %d, step %d: %s\nbefore: %s\nafter:  %s", seed, step, problem, before.text(), m.text())
			}
		}
	}
}

func randomNames(r *rand.Rand) string {
	var all []string
	for _, name := range []string{"x", "y", "z"} {
		if r.IntN(2) == 0 {
			all = append(all, fmt.Sprintf("%s@%d", name, 1+r.IntN(2)))
		}
	}
	return strings.Join(all, " ")
}

func unsafe(before, after memory) string {
	indexes, counts := map[string]int32{}, map[string]int{}
	for _, f := range before.files {
		for _, n := range f.NodeENIs {
			indexes[n.Name] = n.Spec.DeviceIndex
		}
	}
	for _, f := range after.files {
		for _, n := range f.NodeENIs {
			if counts[n.Name]++; counts[n.Name] > 1 {
				return n.Name + " counts twice"
			}
			if old, ok := indexes[n.Name]; ok && old != n.Spec.DeviceIndex {
				return n.Name + " has changed its device index"
			}
		}
		i := slices.IndexFunc(before.files, func(b File) bool { return b.Name == f.Name })
		if f.Error == "" || i < 0 {
			continue
		}
		for _, name := range names(before.files[i]) {
			if !holds(f, name) {
				return name + " has gone with a file that is wrong"
			}
		}
	}
	return ""
}
