package testbed

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
)

// NodeENIDir is where the agent that stands alone on a node has its files.
func (tb *Testbed) NodeENIDir(node string) string {
	return filepath.Join(tb.cfg.Dir, node, "nodeeni.d")
}

// StateFile is where the agent that stands alone on a node has its report.
func (tb *Testbed) StateFile(node string) string {
	return filepath.Join(tb.cfg.Dir, node, "state.json")
}

// StartStandAlone starts the agent of a node without Kubernetes, in that node's
// namespace, with more environment.
func (tb *Testbed) StartStandAlone(node string, env []string, args ...string) (*Process, error) {
	n, err := tb.Sim.Node(node)
	if err != nil {
		return nil, err
	}
	args = append([]string{"--nodeeni-dir", tb.NodeENIDir(node), "--state-file", tb.StateFile(node)}, args...)
	return start("agent-"+node, tb.cfg.Dir, n.Namespace, slices.Concat(tb.env(n), tb.skewed("agent-"+node), env), tb.agentProgram(), args...)
}

// RunAgent runs a subcommand of the agent on a node, to its end, and returns what
// it has written to stdout and to stderr, and its exit code.
func (tb *Testbed) RunAgent(ctx context.Context, node string, args ...string) (stdout, stderr string, code int, err error) {
	n, err := tb.Sim.Node(node)
	if err != nil {
		return "", "", 0, err
	}
	cmd := exec.Command(tb.agentProgram(), args...)
	cmd.Env = tb.env(n)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := n.Namespace.Start(cmd); err != nil {
		return "", "", 0, fmt.Errorf("run %v on %s: %w", args, node, err)
	}
	stop := context.AfterFunc(ctx, func() { cmd.Process.Signal(syscall.SIGKILL) }) //nolint:errcheck // it may have ended already
	defer stop()
	err = cmd.Wait()
	if cmd.ProcessState == nil {
		return "", "", 0, err
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode(), nil
}

func (tb *Testbed) agentProgram() string { return filepath.Join(tb.cfg.Programs, "eni-agent") }
