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
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/prometheus/procfs"
	"k8s.io/klog/v2"
)

// Main is what the benchmark programs have in common: it measures until a signal
// comes, prints what was found, and saves it if measure says so. It runs from the top
// of the tree. A size or a count that misses its goal is an error.
func Main(name string, measure func(Bench, *Result) (save bool)) {
	klog.SetSlogLogger(slog.New(slog.DiscardHandler)) // client-go's; errors are returned too
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	err := run(ctx, name, measure)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, name string, measure func(Bench, *Result) bool) error {
	r := &Result{Name: name, Taken: time.Now().UTC().Truncate(time.Second)}
	var err error
	if r.Commit, err = commit(ctx); err != nil {
		return err
	}
	if r.Machine, err = thisMachine(); err != nil {
		return err
	}
	save := false
	err = Try(ctx, func(b Bench) { save = measure(b, r) })
	if len(r.Figures)+len(r.Tables) > 0 {
		r.Print(os.Stdout)
	}
	if save {
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
		CPU: cmp.Or(cpus[0].ModelName, "CPU of unknown model"), Cores: runtime.NumCPU(), Memory: *memory.MemTotalBytes, Kernel: "Linux " + strings.Join(kernel, " "),
		Go: runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH, Load: load.Load1,
	}, nil
}

func (m Machine) String() string {
	return fmt.Sprintf("%s, %d cores, %.1f GiB, %s, %s", m.CPU, m.Cores, float64(m.Memory)/(1<<30), m.Kernel, m.Go)
}

// Print writes the result as text: figures, tables, what is missed.
func (r *Result) Print(w io.Writer) {
	fmt.Fprintf(w, "%s\n%s, %s\n%s\n\n", r.Name, r.Taken.Format("2006-01-02 15:04 MST"), r.Commit, r.Machine)
	rows := [][]string{}
	for _, f := range r.Figures {
		met := ""
		if !f.Met() {
			met = "MISSED"
		}
		rows = append(rows, []string{f.Name, f.Measured(), f.Wanted(), met, f.Note})
	}
	columns(w, rows)
	for _, t := range r.Tables {
		fmt.Fprintf(w, "\n%s\n", t.Title)
		columns(w, append([][]string{t.Columns}, t.Rows...))
	}
	if missed := len(r.Missed()); missed > 0 {
		fmt.Fprintf(w, "\n%d of %d figures miss their goal.\n", missed, len(r.Figures))
	}
}

func columns(w io.Writer, rows [][]string) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(t, "  "+strings.TrimRight(strings.Join(row, "\t"), "\t"))
	}
	t.Flush()
}
