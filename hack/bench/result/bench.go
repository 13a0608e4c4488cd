package result

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
	"k8s.io/klog/v2"
)

// Main is what the benchmark programs have in common: it measures until a signal comes,
// prints what was found, and saves it, unless the benchmark is a short one that only shows
// whether it works. It runs from the top of the tree. A size or a count that misses its
// goal is an error.
func Main(name string, short bool, measure func(*Bench, *Result)) {
	klog.SetSlogLogger(slog.New(slog.DiscardHandler)) // client-go's; errors are returned too
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	err := run(ctx, name, short, measure)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, name string, short bool, measure func(*Bench, *Result)) error {
	r := &Result{Name: name, Taken: time.Now().UTC().Truncate(time.Second)}
	var errCommit, errMachine error
	r.Commit, errCommit = commit(ctx)
	r.Machine, errMachine = thisMachine()
	if err := errors.Join(errCommit, errMachine); err != nil {
		return err
	}
	measured := false
	err := Try(ctx, func(b *Bench) {
		measure(b, r)
		measured = len(r.Figures) > 0
	})
	if !measured {
		return err
	}
	r.Print(os.Stdout)
	if !short {
		err = errors.Join(err, r.Save(Dir))
	}
	return errors.Join(err, r.Err())
}

// commit names the tree's commit, and says when there is more in it than that; what
// benchmarks have written does not count.
func commit(ctx context.Context) (string, error) {
	head, err := git(ctx, "rev-parse", "--short=12", "HEAD")
	if err != nil {
		return "", err
	}
	changed, err := git(ctx, "status", "--porcelain", "--", ":(top)", ":(top,exclude)"+Dir, ":(top,exclude)"+Dir+".md")
	if changed != "" {
		head += " with changes"
	}
	return head, err
}

func git(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "git", args...).Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w; figures say of which commit they are, so take them in a clone", args[0], err)
	}
	return strings.TrimSpace(string(out)), nil
}

// Machine is what figures were taken on.
type Machine struct {
	CPU    string  `json:"cpu"`
	Cores  int     `json:"cores"`
	Memory uint64  `json:"memoryBytes"`
	Kernel string  `json:"kernel"`
	Go     string  `json:"go"`
	Load   float64 `json:"load"` // the mean of the minute before; a busy machine is slower
}

func thisMachine() (Machine, error) {
	proc, err := procfs.NewDefaultFS()
	if err != nil {
		return Machine{}, err
	}
	memory, errMemory := proc.Meminfo()
	load, errLoad := proc.LoadAvg()
	kernel, errKernel := proc.SysctlStrings("kernel.osrelease")
	cpus, errCPU := proc.CPUInfo()
	if err := errors.Join(errMemory, errLoad, errKernel, errCPU); err != nil {
		return Machine{}, err
	}
	return Machine{
		CPU:    cmp.Or(cpus[0].ModelName, "CPU of unknown model"),
		Cores:  runtime.NumCPU(),
		Memory: *memory.MemTotalBytes,
		Kernel: "Linux " + strings.Join(kernel, " "),
		Go:     runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH,
		Load:   load.Load1,
	}, nil
}

func (m Machine) String() string {
	return fmt.Sprintf("%s, %d cores, %.1f GiB, %s, %s", m.CPU, m.Cores, float64(m.Memory)/(1<<30), m.Kernel, m.Go)
}

// Print writes the result as text.
func (r *Result) Print(w io.Writer) {
	fmt.Fprintf(w, "%s\n%s, %s\n%s\n\n", r.Name, r.Taken.Format("2006-01-02 15:04 MST"), r.Commit, r.Machine)
	for _, f := range r.Figures {
		fmt.Fprintln(w, strings.TrimSpace(f.String()+"  "+f.Note))
	}
	for _, t := range r.Tables {
		fmt.Fprintf(w, "\n%s\n%s\n", t.Title, t)
	}
}

// Bench is a benchmark that runs, much as a testing.T is a test that runs. Its methods
// are for the goroutine that it was begun in.
type Bench struct {
	ctx      context.Context
	began    time.Time
	cleanups []func()
	errs     []error
}

// Try runs a benchmark, or a part of one that may fail alone.
func Try(ctx context.Context, run func(*Bench)) error {
	ctx, cancel := context.WithCancel(ctx)
	b := &Bench{ctx: ctx, began: time.Now()}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		run(b)
	}()
	<-ended
	cancel()
	for _, cleanup := range slices.Backward(b.cleanups) {
		cleanup()
	}
	return errors.Join(b.errs...)
}

// Context ends with the benchmark, before its cleanups.
func (b *Bench) Context() context.Context { return b.ctx }

// Cleanup has f called when the benchmark has ended; the last one is called first.
func (b *Bench) Cleanup(f func()) { b.cleanups = append(b.cleanups, f) }

// Check notes an error. The benchmark goes on.
func (b *Bench) Check(err error) {
	if err != nil {
		b.errs = append(b.errs, err)
	}
}

// Must ends the benchmark if there is an error.
func (b *Bench) Must(err error) {
	if b.Check(err); err != nil {
		runtime.Goexit()
	}
}

// Sleep ends the benchmark if that is interrupted.
func (b *Bench) Sleep(d time.Duration) {
	select {
	case <-time.After(d):
	case <-b.ctx.Done():
		b.Must(b.ctx.Err())
	}
}

// Say tells what is being done, which takes minutes.
func (b *Bench) Say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%7.1fs  %s\n", time.Since(b.began).Seconds(), fmt.Sprintf(format, args...))
}

// TempDir is a directory for programs and logs. It is kept if there are errors.
func (b *Bench) TempDir() string {
	dir, err := os.MkdirTemp("", "aws-multi-eni-bench-")
	b.Must(err)
	b.Cleanup(func() {
		if len(b.errs) > 0 {
			b.Check(fmt.Errorf("logs are in %s", dir))
			return
		}
		b.Check(os.RemoveAll(dir))
	})
	return dir
}
