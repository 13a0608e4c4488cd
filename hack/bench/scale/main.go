// Command scale measures how a large fleet comes up, changes and goes: real
// agents, a real API server and a real coordinator, against a simulated EC2 with
// its documented limits. Run it with `make bench-scale`; see package fleet for
// what is real.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/result"
)

func main() {
	if os.Getenv(workerEnv) != "" {
		work()
		return
	}
	result.Main("scale", func(ctx context.Context, r *result.Result) (bool, error) {
		plans, partial, err := parsePlans(os.Getenv("SIZES"), os.Getenv("PHASES"))
		if err != nil {
			return false, err
		}
		var all []*figures
		for _, p := range plans {
			f, failed := measure(ctx, p)
			if failed != nil {
				err = fmt.Errorf("%s: %w", p.size, failed)
				break // what has been measured in an hour is not lost
			}
			all = append(all, f)
		}
		if len(all) > 0 {
			report(r, all)
		}
		return len(all) > 0 && !partial, err
	})
}
