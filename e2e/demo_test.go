package e2e

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

// demoTimeout is more than any of the demo's own deadlines lets it take.
const demoTimeout = 5 * time.Minute

// demoRun is a run of the demo. Whatever it leaves behind bears the name of tmp.
type demoRun struct {
	t   *testing.T
	cmd *exec.Cmd
	tmp string
	out *output
}

// startDemo starts the demo with the programs of the directory.
func startDemo(t *testing.T, programs string, args ...string) *demoRun {
	t.Helper()
	root, err := testbed.Root(t.Context())
	if err := errors.Join(err, built(), pluginsBuilt()); err != nil {
		t.Fatal(err)
	}
	build := []string{"build", "-o", demoProgram()}
	if canRace() {
		build = append(build, "-race")
	}
	compile := exec.CommandContext(t.Context(), "go", append(build, "./hack/demo")...)
	compile.Dir = root
	if out, err := compile.CombinedOutput(); err != nil {
		t.Fatalf("building the demo: %v\n%s", err, out)
	}
	d := &demoRun{t: t, tmp: t.TempDir(), out: &output{}}
	ctx, cancel := context.WithTimeout(context.Background(), demoTimeout)
	t.Cleanup(cancel)
	d.cmd = exec.CommandContext(ctx, demoProgram(), append(args, "-programs", programs)...)
	d.cmd.Env = append(os.Environ(), "TMPDIR="+d.tmp, "KEEP=")
	d.cmd.Stdout, d.cmd.Stderr = d.out, d.out
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return d
}

func demoProgram() string { return filepath.Join(programs, "demo") }

// end waits for the demo's end, and checks its exit code and that no process is
// left of it. It returns what was printed.
func (d *demoRun) end(code int) string {
	d.t.Helper()
	err := d.cmd.Wait()
	out := d.out.String()
	if d.cmd.ProcessState.ExitCode() != code {
		d.t.Fatalf("the demo ended with %v, want exit code %d:\n%s", err, code, out)
	}
	cmdlines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil || len(cmdlines) == 0 {
		d.t.Fatalf("no processes in /proc: %v", err)
	}
	for _, path := range cmdlines {
		cmdline, _ := os.ReadFile(path) // it may have ended meanwhile
		if bytes.Contains(cmdline, []byte(d.tmp)) {
			d.t.Errorf("the demo has left a process: %q", cmdline)
		}
	}
	return out
}

// wantNoFiles checks that the demo has cleared up.
func (d *demoRun) wantNoFiles() {
	d.t.Helper()
	left, err := os.ReadDir(d.tmp)
	if err != nil || len(left) > 0 {
		d.t.Errorf("the demo has left files: %v %v", left, err)
	}
}

func TestDemo(t *testing.T) {
	d := startDemo(t, programs)
	out := d.end(0)
	if !strings.HasSuffix(out, "\nENIs left: 0\n") {
		t.Errorf("the demo does not end with ENIs left: 0:\n%s", out)
	}
	for _, want := range []string{"Ready as storage0", "20001:\tfrom 10.0.16.", "5 echo requests, 5 replies", "reader → writer: 5 echo requests, 5 replies", "took 0 EC2 calls", "both NodeENIs are deleted"} {
		if !strings.Contains(out, want) {
			t.Errorf("the demo does not show %q:\n%s", want, out)
		}
	}
	d.wantNoFiles()
}

func TestDemoLeftRunning(t *testing.T) {
	d := startDemo(t, programs, "-keep")
	for end := time.Now().Add(patience); !strings.Contains(d.out.String(), "Ctrl-C"); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not yours after %v:\n%s", patience, d.out)
		}
	}
	_, after, _ := strings.Cut(d.out.String(), "export KUBECONFIG=")
	kubeconfig, _, _ := strings.Cut(after, "\n")
	// As the kernel does when a client of the simulator has closed its connection.
	if err := d.cmd.Process.Signal(syscall.SIGPIPE); err != nil {
		t.Fatal(err)
	}
	tryReadme(t, kubeconfig)
	if err := d.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	d.end(0)
	d.wantNoFiles()
}

// tryReadme does what the README does with a demo that was left running: its
// first NodeENI gets an ENI on every node.
func tryReadme(t *testing.T, kubeconfig string) {
	t.Helper()
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(readme), "```yaml\n")
	example, _, _ := strings.Cut(after, "```")
	nodeENIs, err := v1alpha1.ParseNodeENIs([]byte(example))
	if err != nil || len(nodeENIs) != 1 {
		t.Fatalf("the README's NodeENI: %d of them, %v", len(nodeENIs), err)
	}
	access, err := kube.Config(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	client, err := kube.NewClient(access, "readme")
	if err != nil {
		t.Fatal(err)
	}
	if err := client.API.Post().Resource(kube.NodeENIs).Body(nodeENIs[0]).Do(t.Context()).Error(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		var now v1alpha1.NodeENI
		if err := client.API.Get().Resource(kube.NodeENIs).Name(nodeENIs[0].Name).Do(t.Context()).Into(&now); err != nil {
			t.Fatal(err)
		}
		if now.Status.Nodes.Ready == 3 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the README's NodeENI after %v: %+v", patience, now.Status)
		}
	}
}

// An agent that does not even start.
func TestDemoFailsLoudly(t *testing.T) {
	broken := t.TempDir()
	for name, program := range map[string]string{"eni-agent": "false", "eni-coordinator": "true"} {
		path, err := exec.LookPath(program)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(broken, name)); err != nil {
			t.Fatal(err)
		}
	}
	d := startDemo(t, broken)
	out := d.end(1)
	for _, want := range []string{"FAILED: agent-node-1 has exited", "All logs are in " + d.tmp} {
		if !strings.Contains(out, want) {
			t.Errorf("the demo does not say %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, "ENIs left") {
		t.Errorf("the demo ends as if all were well:\n%s", out)
	}
}

// output is what a running program has printed.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

var _ io.Writer = (*output)(nil)

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}
