// Command ondemand measures ENIs on demand on a large fleet: what slices and claims cost
// the API server and the scheduler, and how long pods wait for their ENIs. Real are the
// agents, the API server, the scheduler, and the coordinator; EC2 is simulated, with its
// documented limits. Run it with `make bench-ondemand`.
package main

import (
	"os"
	"strconv"

	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/result"
)

func main() {
	plan := size{nodes: 1000, pods: 500, single: 40}
	result.Main("ondemand", os.Getenv("NODES") != "" || os.Getenv("PODS") != "", func(b *result.Bench, r *result.Result) {
		for name, n := range map[string]*int{"NODES": &plan.nodes, "PODS": &plan.pods} {
			if text := os.Getenv(name); text != "" {
				var err error
				*n, err = strconv.Atoi(text)
				b.Must(err)
			}
		}
		plan.single = min(plan.single, plan.nodes)
		report(r, measure(b, plan))
	})
}

// size is how large the fleet is, and how many pods claim an ENI of it.
type size struct {
	nodes  int
	pods   int // at once
	single int // one after the other
}

// bound is the least time in seconds that EC2's bucket lets so many calls of
// AttachNetworkInterface take.
func (s size) bound() float64 { return max(0, float64(s.pods-50)/5) }
