// Command eni-sim simulates EC2, the instance metadata service and a VPC on one
// machine: in network namespaces, with real links. See docs/simulator.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim"
)

const name = "eni-sim"

const usage = `eni-sim simulates EC2, the instance metadata service, and a VPC on this machine. Each
node is a network namespace, and each attached ENI is a link in it. No traffic leaves
this machine, and you do not need an AWS account. Without root, it runs in a user
namespace.

Usage:
  eni-sim [flags]                                  run the simulator until Ctrl-C
  eni-sim exec [--admin URL] NODE -- CMD [ARG...]  run a command on a node of a running simulator

Examples:
  eni-sim --nodes=2
  eni-sim exec node-1 -- ip address

Flags:
`

func main() {
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	var err error
	if len(args) > 0 && args[0] == "exec" {
		err = execOnNode(args[1:])
	} else {
		err = simulate(args)
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(os.Stderr, name+":", err)
		return 1
	}
	return 0
}

func simulate(args []string) error {
	config, err := parse(args)
	if err != nil {
		return err
	}
	if !config.NoNetwork {
		if err := netns.Elevate(netns.Elevation{}); err != nil {
			return fmt.Errorf("the network needs namespaces: %w; or use --no-network", err)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	s, err := sim.Start(ctx, config)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w; is another simulator running? --ec2-listen and --admin-listen choose other addresses, with port 0 a free one", err)
	}
	if err != nil {
		return err
	}
	if err := describe(os.Stdout, s); err != nil {
		return errors.Join(err, s.Close())
	}
	<-ctx.Done()
	return s.Close()
}

func parse(args []string) (sim.Config, error) {
	var c sim.Config
	var file, nodeType, timing string
	var nodes int
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.StringVar(&file, "config", "", "topology `FILE`; built-in defaults replace what it leaves out")
	flags.IntVar(&nodes, "nodes", 0, "launch `N` nodes instead of those of the topology file (default 3)")
	flags.StringVar(&nodeType, "node-type", "", "with --nodes: instance `TYPE` of the nodes")
	flags.StringVar(&timing, "timing", "", "`TIMING` of EC2 instead of that of the topology file: realistic or instant (default realistic)")
	flags.BoolVar(&c.Topology.Throttle, "throttle", false, "throttle API calls with EC2's documented token buckets")
	flags.StringVar(&c.EC2Listen, "ec2-listen", "127.0.0.1:4566", "`HOST:PORT` of the EC2 API; port 0 selects a free port")
	flags.StringVar(&c.AdminListen, "admin-listen", "127.0.0.1:4567", "`HOST:PORT` of the admin endpoint, which has no authentication")
	flags.Func("forward", "`NAME=HOST:PORT` of a service that the nodes can reach, for example a kube-apiserver; can be repeated", func(text string) error {
		service, target, ok := strings.Cut(text, "=")
		if !ok {
			return errors.New("want NAME=HOST:PORT")
		}
		c.Forward = append(c.Forward, sim.Service{Name: service, Target: target})
		return nil
	})
	flags.BoolVar(&c.HostIMDS, "host-imds", false, "also serve the metadata service of each node on a port of this machine's loopback address")
	flags.BoolVar(&c.NoNetwork, "no-network", false, "simulate only EC2 and the metadata services, on loopback, without namespaces and links")
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), usage)
		flags.PrintDefaults()
	}
	if err := parseFlags(flags, args); err != nil {
		return c, err
	}
	if flags.NArg() > 0 {
		return c, fmt.Errorf("unexpected argument %q; see %s --help", flags.Arg(0), name)
	}
	throttle := c.Topology.Throttle
	if file != "" {
		var err error
		if c.Topology, err = sim.LoadTopology(file); err != nil {
			return c, err
		}
	}
	c.Topology.Throttle = c.Topology.Throttle || throttle
	if err := setNodes(&c.Topology, nodes, nodeType); err != nil {
		return c, err
	}
	return c, setTiming(&c.Topology, timing)
}

// parseFlags leaves it to run to print errors, and prints the help that was
// asked for where it can be piped.
func parseFlags(flags *flag.FlagSet, args []string) error {
	flags.SetOutput(io.Discard)
	err := flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		flags.SetOutput(os.Stdout)
		flags.Usage()
		return err
	}
	if err != nil {
		return fmt.Errorf("%w; see %s --help", err, flags.Name())
	}
	return nil
}

func setNodes(t *sim.Topology, n int, instanceType string) error {
	if n < 0 {
		return fmt.Errorf("--nodes %d: want 1 or more", n)
	}
	if n == 0 && t.Nodes == nil {
		n = 3
	}
	if n == 0 && instanceType != "" {
		return errors.New("--node-type goes with --nodes; the topology file names the types of its nodes")
	}
	if n > 0 {
		t.Nodes = sim.Nodes(n)
		for i := range t.Nodes {
			t.Nodes[i].Type = instanceType
		}
	}
	return nil
}

func setTiming(t *sim.Topology, timing string) error {
	realistic := sim.RealisticTiming()
	switch {
	case timing == "" && t.Timing != nil:
	case timing == "" || timing == "realistic":
		t.Timing = &realistic
	case timing == "instant":
		t.Timing = nil
	default:
		return fmt.Errorf("--timing %q: want realistic or instant", timing)
	}
	return nil
}
