// Command scale measures how a large fleet comes up, changes and goes: real
// agents, a real API server and a real coordinator, against a simulated EC2 with
// its documented limits. Run it with `make bench-scale`; see package fleet for
// what is real.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/klog/v2"

	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/result"
)

func main() {
	klog.SetSlogLogger(slog.New(slog.DiscardHandler)) // client-go's; errors are returned too
	do := run
	if os.Getenv(workerEnv) != "" {
		do = work
	}
	if err := do(); err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

func run() error {
	plans, partial, err := parsePlans(os.Getenv("SIZES"), os.Getenv("PHASES"))
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	r, err := result.New(ctx, "scale", "Scale: a fleet of agents")
	if err != nil {
		return err
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
	if len(all) == 0 {
		return err
	}
	summarize(r, all)
	r.Print(os.Stdout)
	if partial {
		return errors.Join(err, r.Err())
	}
	return errors.Join(err, r.Save(result.Dir), r.Err())
}
