// Package kubectl is the kubectl plugin `kubectl eni`: it reads what the API server shows
// and prints what package diagnose makes of it. It changes nothing in the cluster.
package kubectl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/diagnose"
)

// Version is the release, such as v0.1.0; the linker sets it.
var Version = "dev"

// Exit codes.
const (
	exitReady      = 0 // all is Ready
	exitNotReady   = 1 // something is not Ready
	exitUsage      = 2 // a wrong argument or flag, or a name that does not exist
	exitUnreadable = 3 // the API server did not answer, or refused
)

const usage = `kubectl eni shows and explains the ENIs of aws-multi-eni.

Usage:
  kubectl eni status [NODEENI ...]         show what is not Ready, oldest problem first
  kubectl eni why NODE|NODEENI             explain why ENIs are not Ready, and what to do
  kubectl eni why NODE NODEENI             the same for one NodeENI on one node
  kubectl eni why pod/NAME                 explain why a pod does not have the ENI that it claims
  kubectl eni doctor NODE [-- FLAG ...]    run the agent's doctor on a node
  kubectl eni bundle                       collect everything that a support case needs in a file
  kubectl eni version                      print the version

Exit codes: 0 everything is Ready; 1 something is not Ready; 2 wrong usage, or no such object;
3 the API server did not answer or refused. "doctor" exits with the doctor's own code.

kubectl eni COMMAND --help lists the flags of a command.
`

const aboutAccess = `The other flags for access to the API server, which "kubectl options" lists, work too.`

// IO is what a command reads and writes.
type IO struct {
	Out, Err io.Writer
	// Color says whether Out may be colored, and Terminal whether it is a terminal.
	Color, Terminal bool
}

// command is one subcommand; run returns the exit code.
type command struct {
	about string
	flags func(*pflag.FlagSet) (run func(ctx context.Context, a *access, args []string, io IO) (int, error))
	least int // arguments
	most  int // -1: any number
}

var commands = map[string]command{
	"status": {about: "kubectl eni status [NODEENI ...] shows a line for each NodeENI, and everything that is not Ready.", flags: statusFlags, most: -1},
	"why":    {about: "kubectl eni why NODE|NODEENI, or NODE NODEENI, checks everything that an ENI needs, and stops at the first cause of a problem.\nA name may have the prefix node/ or nodeeni/. kubectl eni why pod/NAME, or pod/NAMESPACE/NAME, does the same for a pod that claims ENIs.", flags: whyFlags, least: 1, most: 2},
	"doctor": {about: "kubectl eni doctor NODE [-- FLAG ...] runs \"eni-agent doctor\" in the agent's pod on the node. Flags after -- are passed to the doctor.\nIt requires permission to create pods/exec in the agents' namespace.", flags: doctorFlags, least: 1, most: -1},
	"bundle": {about: "kubectl eni bundle writes a tar.gz file with everything that a support case needs. Its index.txt lists the contents and what could not be read.", flags: bundleFlags},
}

// Main runs the plugin and returns its exit code.
func Main(ctx context.Context, args []string, io IO) int {
	if len(args) == 0 || args[0] == "help" || args[0] == "--help" || args[0] == "-h" {
		fmt.Fprint(io.Out, usage)
		return exitReady
	}
	if args[0] == "version" || args[0] == "--version" {
		fmt.Fprintln(io.Out, version())
		return exitReady
	}
	c, ok := commands[args[0]]
	if !ok {
		return fail(io, exitUsage, fmt.Errorf("unknown command %q; see kubectl eni --help", args[0]))
	}
	flags := pflag.NewFlagSet("kubectl eni "+args[0], pflag.ContinueOnError)
	flags.SetOutput(io.Out)
	flags.SortFlags = false
	flags.Usage = func() { fmt.Fprintf(io.Out, "%s\n\n%s\n\nFlags:\n%s", c.about, aboutAccess, flags.FlagUsages()) }
	run := c.flags(flags)
	a := newAccess(flags)
	if err := flags.Parse(args[1:]); errors.Is(err, pflag.ErrHelp) {
		return exitReady
	} else if err != nil {
		return fail(io, exitUsage, fmt.Errorf("%w; see kubectl eni %s --help", err, args[0]))
	}
	if n := flags.NArg(); n < c.least {
		return fail(io, exitUsage, fmt.Errorf("a name is missing; see kubectl eni %s --help", args[0]))
	} else if c.most >= 0 && n > c.most {
		return fail(io, exitUsage, fmt.Errorf("%s has %d arguments, but accepts at most %d; see kubectl eni %[1]s --help", args[0], n, c.most))
	}
	code, err := run(ctx, a, flags.Args(), io)
	return fail(io, code, err)
}

// version is the release, or that of the module which "go install" built.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && Version == "dev" && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return Version
}

// fail prints an error, and returns the exit code.
func fail(io IO, code int, err error) int {
	if err == nil {
		return code
	}
	if errors.As(err, new(*diagnose.NameError)) || errors.As(err, new(usageError)) {
		code = exitUsage
	}
	first := "error: "
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintf(io.Err, "%s%s\n", first, v1alpha1.Printable(strings.TrimSuffix(line, "\n")))
		first = ""
	}
	return code
}

// usageError is a wrong flag or argument.
type usageError struct{ text string }

func (e usageError) Error() string { return e.text }

// checkOutput says whether the value of -o is one of those.
func checkOutput(output string, known ...string) error {
	if output == "" || slices.Contains(known, output) {
		return nil
	}
	return usageError{fmt.Sprintf("-o %s: must be one of %s", output, strings.Join(known, ", "))}
}

// Stdio is the process's own. Colors are for terminals only, and NO_COLOR and TERM=dumb
// switch them off.
func Stdio() IO {
	info, err := os.Stdout.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0
	color := terminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	if runtime.GOOS == "windows" && os.Getenv("WT_SESSION") == "" && os.Getenv("TERM") == "" {
		color = false // the console before Windows Terminal prints the sequences
	}
	return IO{Out: os.Stdout, Err: os.Stderr, Terminal: terminal, Color: color}
}
