// Command scale measures how a large fleet comes up, changes and goes: real
// agents, a real API server and a real coordinator, against a simulated EC2 with
// its documented limits. Run it with `make bench-scale`; see package fleet for
// what is real.
package main

import (
	"os"

	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/result"
)

func main() {
	if os.Getenv(workerEnv) != "" {
		work()
		return
	}
	result.Main("scale", func(t result.Bench, r *result.Result) bool {
		plans, partial, err := parsePlans(os.Getenv("SIZES"), os.Getenv("PHASES"))
		t.Must(err)
		var all []*figures
		for _, p := range plans {
			f := &figures{size: p.size, outcomes: map[phase]*outcome{}}
			if err := result.Try(t.Context(), func(t result.Bench) { measure(t, p, f) }); err != nil {
				t.Errorf("%s: %v", p.size, err)
				break // what has been measured in an hour is not lost
			}
			all = append(all, f)
		}
		if len(all) > 0 {
			report(r, all)
		}
		return len(all) > 0 && !partial
	})
}
