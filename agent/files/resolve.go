package files

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// parsed is a file as it is now: its NodeENIs, or what is wrong with it.
type parsed struct {
	name     string
	nodeENIs []NodeENI
	err      error
}

// memory is what is known of the files.
type memory struct {
	files []File
	// gone are NodeENIs that were removed while some file is Unknown.
	gone []string
	// lost: nothing is known of what the files held before, as when the agent
	// runs for the first time or its state file was lost.
	lost bool
}

// resolve takes in what the files are now. A file counts as a whole: one that is
// wrong, or collides with another one, counts for what it held before, so that no
// slip of the pen takes an ENI from its node. Only a file that is removed, or is
// good and no longer holds a NodeENI, ends that NodeENI.
func resolve(before memory, now []parsed) memory {
	r := resolver{before: before, held: map[string]File{}}
	for _, f := range before.files {
		r.held[f.Name] = f
	}
	for _, p := range now {
		r.files = append(r.files, File{Name: p.name, NodeENIs: p.nodeENIs})
		if p.err != nil {
			r.refuse(len(r.files)-1, p.err)
		}
	}
	r.refuseUpdates()
	for r.refuseCollisions() {
	}
	return memory{files: r.files, gone: r.gone()}
}

type resolver struct {
	before memory
	held   map[string]File // by name
	files  []File
}

// refuse lets a file count for what it held before.
func (r *resolver) refuse(i int, err error) {
	name := r.files[i].Name
	held, known := r.held[name]
	r.files[i] = File{
		Name: name, Error: err.Error(), NodeENIs: held.NodeENIs,
		Unknown: held.Unknown || !known && r.before.lost,
	}
}

// refuseUpdates refuses files that change what cannot be changed. The API server
// does so in a cluster.
func (r *resolver) refuseUpdates() {
	specs := map[string]v1alpha1.NodeENISpec{}
	for _, f := range r.before.files {
		for _, n := range f.NodeENIs {
			specs[n.Name] = n.Spec
		}
	}
	for i, f := range r.files {
		for _, n := range f.NodeENIs {
			before, ok := specs[n.Name]
			if !ok {
				continue
			}
			if errs := v1alpha1.ValidateNodeENIUpdate(&n.Spec, &before); len(errs) > 0 {
				r.refuse(i, fmt.Errorf("NodeENI %q: %w: remove the NodeENI from the file, wait until eni-agent status no longer shows its ENIs, and add it again; "+
					"or give the new NodeENI another name", n.Name, errs.ToAggregate()))
				break
			}
		}
	}
}

// refuseCollisions refuses files that hold a NodeENI of the same name. The one
// that has held it before is in the right. It says whether it has refused any:
// what a refused file held before may collide again.
func (r *resolver) refuseCollisions() bool {
	holders := map[string][]int{}
	for i, f := range r.files {
		for _, n := range f.NodeENIs {
			holders[n.Name] = append(holders[n.Name], i)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(holders)) {
		if len(holders[name]) < 2 {
			continue
		}
		names := make([]string, len(holders[name]))
		for n, i := range holders[name] {
			names[n] = r.files[i].Name
		}
		refused := false
		for _, i := range holders[name] {
			if !holds(r.held[r.files[i].Name], name) {
				r.refuse(i, fmt.Errorf("the NodeENI %q is in %s: rename or remove all but one of them", name, strings.Join(names, " and in ")))
				refused = true
			}
		}
		if refused {
			return true
		}
	}
	return false
}

func holds(f File, name string) bool {
	return slices.ContainsFunc(f.NodeENIs, func(n NodeENI) bool { return n.Name == name })
}

// gone are the NodeENIs that are known to have been removed. They count only
// while it is not known what a file holds.
func (r *resolver) gone() []string {
	if !slices.ContainsFunc(r.files, func(f File) bool { return f.Unknown }) {
		return nil
	}
	gone := sets.New(r.before.gone...)
	for _, f := range r.before.files {
		gone.Insert(names(f)...)
	}
	for _, f := range r.files {
		gone.Delete(names(f)...)
	}
	return sets.List(gone)
}

func names(f File) []string {
	var all []string
	for _, n := range f.NodeENIs {
		all = append(all, n.Name)
	}
	return all
}

// loses says whether a NodeENI that counted before does not any more.
func loses(before, after []File) bool {
	left := sets.New[string]()
	for _, f := range after {
		left.Insert(names(f)...)
	}
	for _, f := range before {
		if !left.HasAll(names(f)...) {
			return true
		}
	}
	return false
}
