// Command latency measures how fast an agent is: from a node's label to Ready, from
// a link's appearance to its configuration, from a deleted rule to its return, from
// the loss of the label to the report that the link is down. Agents, coordinator and
// API server are real processes, the links are the kernel's; EC2 is simulated. Run it
// with `make bench-latency`.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"k8s.io/klog/v2"

	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/result"
	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

func main() {
	programs := flag.String("programs", "", "directory with eni-agent and eni-coordinator; by default they are built")
	short := flag.Bool("short", false, "take a tenth of the samples and save nothing: to see whether it works")
	flag.Parse()
	err := netns.Elevate(netns.Elevation{PrivateNetwork: true})
	if err == nil {
		klog.SetSlogLogger(slog.New(slog.DiscardHandler)) // client-go's; errors are returned too
		err = runUntilSignal(*programs, *short)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "latency:", err)
		os.Exit(1)
	}
}

func runUntilSignal(programs string, short bool) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	return run(ctx, programs, short)
}

func run(ctx context.Context, programs string, short bool) (err error) {
	r, err := result.New(ctx, "latency", "Latency")
	if err != nil {
		return err
	}
	root, err := testbed.Root(ctx)
	if err != nil {
		return err
	}
	b, err := newBed(ctx, programs)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.stop()) }()
	m, err := b.measure(ctx, amounts(short))
	if err != nil {
		return b.explained(err)
	}
	if err := m.write(r); err != nil {
		return err
	}
	r.Print(os.Stdout)
	if !short {
		if err := r.Save(filepath.Join(root, result.Dir)); err != nil {
			return err
		}
	}
	return r.Err()
}
