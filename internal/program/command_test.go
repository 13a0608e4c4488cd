package program

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"
	"testing"
)

// What is wrong is printed once, by whoever gets the error.
func TestParseFlags(t *testing.T) {
	for _, test := range []struct {
		args, err, printed string
	}{
		{"-n 7", "", ""},
		{"-n x", `invalid value "x" for flag -n: parse error; see --help`, ""},
		{"-m 7", "flag provided but not defined: -m; see --help", ""},
		{"-n 7 more", `unexpected argument "more"; see --help`, ""},
		{"--help", flag.ErrHelp.Error(), "about"},
	} {
		t.Run(test.args, func(t *testing.T) {
			var printed strings.Builder
			flags := flag.NewFlagSet("test", flag.ContinueOnError)
			flags.SetOutput(&printed)
			flags.Int("n", 0, "a number")
			flags.Usage = func() { fmt.Fprint(flags.Output(), "about") }
			err := ParseFlags(flags, strings.Fields(test.args))
			if test.err == "" && err != nil || test.err != "" && (err == nil || err.Error() != test.err) {
				t.Errorf("the error is %v, want %s", err, test.err)
			}
			if errors.Is(err, flag.ErrHelp) != (test.args == "--help") || printed.String() != test.printed {
				t.Errorf("printed is %q", printed.String())
			}
		})
	}
}

// twelve is an error with an exit code of its own.
type twelve struct{}

func (twelve) Error() string { return "twelve" }
func (twelve) ExitCode() int { return 12 }

func TestExitCode(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		want int
	}{
		"success":      {nil, 0},
		"help":         {flag.ErrHelp, 0},
		"a signal":     {fmt.Errorf("listing: %w", context.Canceled), 0},
		"an error":     {errors.New("x"), 1},
		"one with own": {fmt.Errorf("x: %w", twelve{}), 12},
	} {
		if got := exitCode(test.err); got != test.want {
			t.Errorf("%s: the exit code is %d, want %d", name, got, test.want)
		}
	}
}
