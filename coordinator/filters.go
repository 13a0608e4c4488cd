package coordinator

import (
	"maps"
	"slices"

	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// filters are what EC2 is asked for: all ENIs of the cluster, or those with one of the
// values. They also say which ENIs an answer is about.
type filters struct {
	all    bool
	values map[filterValue]bool
}

type filterValue struct {
	by    eni.Selector
	value string
}

func (f *filters) add(by eni.Selector, values ...string) {
	if f.values == nil {
		f.values = map[filterValue]bool{}
	}
	for _, value := range values {
		f.values[filterValue{by, value}] = true
	}
}

func (f *filters) merge(other filters) {
	f.all = f.all || other.all
	for v := range other.values {
		f.add(v.by, v.value)
	}
}

// without are the filters without those that the other ones cover.
func (f *filters) without(other filters) filters {
	rest := filters{all: f.all && !other.all, values: maps.Clone(f.values)}
	maps.DeleteFunc(rest.values, func(v filterValue, _ bool) bool { return other.cover(v.by, v.value) })
	return rest
}

// cover says whether they select all ENIs with the value.
func (f *filters) cover(by eni.Selector, value string) bool {
	return f.all || f.values[filterValue{by, value}]
}

// filter is what one call asks for.
type filter struct {
	by     eni.Selector
	values []string
}

// calls are the calls that the filters take. Those by id come first: their answers are
// short, and are about ENIs that are being detached and deleted.
func (f *filters) calls() (all []filter) {
	values := map[eni.Selector][]string{}
	for v := range f.values {
		values[v.by] = append(values[v.by], v.value)
	}
	for _, by := range []eni.Selector{eni.ByID, eni.ByNode, eni.ByNodeENI} {
		slices.Sort(values[by])
		for part := range slices.Chunk(values[by], eni.SelectorLimit) {
			all = append(all, filter{by, part})
		}
	}
	return all
}
