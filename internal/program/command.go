package program

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
)

// Version is the release, such as v0.1.0; the linker sets it.
var Version = "dev"

// UserAgent is how a program names itself to the API server, whose managedFields show
// what is before the slash.
func UserAgent(name string) string { return name + "/" + Version }

// Command is one thing that a program does. It ends when ctx ends.
type Command func(ctx context.Context, args []string) error

// Main runs the subcommand that the first argument names, or serve when it
// names none, until SIGTERM or SIGINT, and returns the exit code: 0 also for
// --help and for an end by signal, that of the error if it has one, and 1 otherwise.
func Main(name string, serve Command, subcommands map[string]Command) int {
	command, args := serve, os.Args[1:]
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		if named, ok := subcommands[args[0]]; ok {
			command, args = named, args[1:]
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	err := command(ctx, args)
	code := exitCode(err)
	if code != 0 {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
	}
	return code
}

func exitCode(err error) int {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, flag.ErrHelp) {
		return 0
	}
	type coded interface {
		error
		ExitCode() int
	}
	if own, ok := errors.AsType[coded](err); ok {
		return own.ExitCode()
	}
	return 1
}

// PrintVersion is the subcommand version.
func PrintVersion(context.Context, []string) error {
	_, err := fmt.Println(Version)
	return err
}

// Flags makes the flag set of a command. --help prints about, then the flags. The text has
// paragraphs and the sections Usage and Examples, which hack/docs turns into docs/cli.md.
func Flags(name, about string) *flag.FlagSet {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), about, "\nFlags:\n")
		flags.PrintDefaults()
	}
	return flags
}

// ParseFlags parses the flags of a command that takes no other arguments. It returns an
// error for a wrong one, and prints the usage for --help only.
func ParseFlags(flags *flag.FlagSet, args []string) error {
	out := flags.Output()
	flags.SetOutput(io.Discard)
	err := flags.Parse(args)
	flags.SetOutput(out)
	switch {
	case errors.Is(err, flag.ErrHelp):
		flags.Usage()
		return err
	case err != nil:
		return fmt.Errorf("%w; see --help", err)
	case flags.NArg() > 0:
		return fmt.Errorf("unexpected argument %q; see --help", flags.Arg(0))
	}
	return nil
}
