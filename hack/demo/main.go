// Command demo shows the life of ENIs on three nodes, on a machine without AWS:
// EC2, the metadata service and the VPC are simulated; API server, agents,
// coordinators, the AWS SDK and the kernel's network are real. Run it with
// `make demo`.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/klog/v2"

	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
)

// exitInterrupted is what shells report of a program that Ctrl-C has ended.
const exitInterrupted = 128 + int(syscall.SIGINT)

type options struct {
	keep     bool
	programs string
	metrics  string // file
}

func main() {
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	o, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err == nil {
		err = netns.Elevate(netns.Elevation{})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		return 1
	}
	klog.SetSlogLogger(slog.New(slog.DiscardHandler)) // client-go's; errors are returned too

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	// The kernel sends SIGPIPE for each of the simulator's connections that its client has
	// closed, too. As with `make demo | head`, the screen notices by itself.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return play(ctx, o, newScreen(os.Stdout, cancel))
}

// play runs the demo and clears up behind it, whatever happens.
func play(ctx context.Context, o options, out *screen) int {
	d, err := newDemo(o, out)
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		return 1
	}
	err = errors.Join(d.play(ctx), d.recording.end())
	interrupted := ctx.Err() != nil
	if err != nil && !interrupted {
		d.explain(err)
	}
	if stopped := d.stop(err != nil); stopped != nil {
		out.printf("\nFAILED to stop everything: %v\nAll logs are in %s.\n", stopped, d.dir)
		return 1
	}
	if err == nil || interrupted || len(d.processes) == 0 { // otherwise the logs are worth keeping
		if err := os.RemoveAll(d.dir); err != nil {
			out.printf("\nFAILED to clean up: %v\n", err)
			return 1
		}
	}
	switch {
	case interrupted && d.kept:
		out.printf("\nStopped.\n")
		return 0
	case interrupted:
		out.printf("\nInterrupted. All processes have been stopped.\n")
		return exitInterrupted
	case err != nil:
		return 1
	}
	out.printf("\nENIs left: %d\n", d.left)
	return 0
}

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.BoolVar(&o.keep, "keep", os.Getenv("KEEP") != "" && os.Getenv("KEEP") != "0", "keep the cluster running until Ctrl-C when the ENIs are ready (also KEEP=1)")
	flags.StringVar(&o.metrics, "metrics", "", "file for the metrics of all agents and coordinators, recorded twice a second until the NodeENIs are deleted")
	flags.StringVar(&o.programs, "programs", "", "directory with eni-agent, eni-coordinator, and the CNI plugins in cni/ (default: build them)")
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		flags.SetOutput(os.Stdout)
		fmt.Println("demo shows the life cycle of ENIs on three nodes, without AWS. To run it, use `make demo`.\n\nFlags:")
		flags.PrintDefaults()
	case err == nil && flags.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	return o, err
}
