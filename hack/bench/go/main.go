// Command go runs the Go benchmarks of what agent and coordinator do again and again,
// and saves what they cost. Run it with `make bench-go`.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/result"
	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

const (
	// runs is how often each benchmark is taken; the medians count.
	runs     = 5
	duration = "200ms"
)

// packages are those with benchmarks, and what they are about.
var packages = []struct{ path, title string }{
	{"./agent", "The agent's decisions and reports"},
	{"./agent/inventory", "The agent's inventory of ENIs"},
	{"./agent/hostnet", "The host: netlink"},
	{"./internal/eni", "Requests to EC2 and its answers"},
	{"./api/v1alpha1", "NodeENIs"},
	{"./coordinator", "The coordinator's decisions, for 1,000 nodes with two ENIs each"},
}

func main() {
	short := flag.Bool("short", false, "run each benchmark once and save nothing: to see whether it works")
	flag.Parse()
	if err := run(*short); err != nil {
		fmt.Fprintln(os.Stderr, "go benchmarks:", err)
		os.Exit(1)
	}
}

func run(short bool) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	r, err := result.New(ctx, "go", "Go benchmarks")
	if err != nil {
		return err
	}
	root, err := testbed.Root(ctx)
	if err != nil {
		return err
	}
	count, long := runs, duration
	if short {
		count, long = 1, "1x"
	}
	var all []benchmark
	for _, p := range packages {
		out, err := bench(ctx, root, p.path, count, long)
		if err != nil {
			return err
		}
		some, err := parse(out)
		if err != nil {
			return fmt.Errorf("%s: %w", p.path, err)
		}
		r.Tables = append(r.Tables, table(p.title, some))
		all = append(all, some...)
	}
	r.How = []string{
		fmt.Sprintf("`go test -bench . -benchmem -benchtime %s -count %d` of the packages agent, agent/inventory, agent/hostnet, internal/eni, api/v1alpha1 and coordinator, one after the other; the median of each benchmark counts.", duration, runs),
		"The benchmarks of the host talk to the kernel, in a network namespace with 300 pods as the Amazon VPC CNI makes them: a link and a route each, and two rules. Their times are mostly the kernel's. All others run in memory alone.",
		"Bytes and allocations do not depend on the machine; tests hold the ones that matter.",
	}
	if r.Figures, err = figures(all); err != nil {
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

// bench runs the benchmarks of a package.
func bench(ctx context.Context, root, path string, count int, long string) (io.Reader, error) {
	fmt.Fprintf(os.Stderr, "%s ...\n", path)
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", ".", "-benchmem",
		"-benchtime", long, "-count", strconv.Itoa(count), path)
	cmd.Dir = root
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("go test -bench of %s: %w\n%s", path, err, &out)
	}
	return &out, nil
}
