// Package smoke tests what can be tested of the smoke script without an AWS account.
package smoke

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// noTools is a PATH on which every tool that could create something leaves a trace.
func noTools(t *testing.T) (path, trace string) {
	t.Helper()
	dir := t.TempDir()
	trace = filepath.Join(dir, "trace")
	for _, tool := range []string{"aws", "kubectl", "helm"} {
		if err := os.WriteFile(filepath.Join(dir, tool), []byte("#!/bin/sh\necho $0 $* >>"+trace+"\nexit 1\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir + ":" + os.Getenv("PATH"), trace
}

func TestRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"nothing":                 {nil, "nothing happens without --yes"},
		"no --yes":                {[]string{"--cluster", "c", "--subnets", "subnet-1"}, "nothing happens without --yes"},
		"no subnets":              {[]string{"--yes", "--cluster", "c"}, "--subnets is missing"},
		"no cluster":              {[]string{"--yes", "--subnets", "subnet-1"}, "--cluster is missing"},
		"nodes without groups":    {[]string{"--yes", "--subnets", "subnet-1", "--use-nodes", "a,b"}, "--use-nodes needs --security-groups"},
		"a flag that is unknown":  {[]string{"--yes", "--force", "x"}, "there is no flag --force"},
		"a flag without a value":  {[]string{"--yes", "--subnets"}, "--subnets needs a value"},
		"clean-up without a run":  {[]string{"cleanup"}, "cleanup needs --run"},
		"help":                    {[]string{"--help"}, "It costs money"},
		"help says it is untried": {[]string{"--help"}, "NOBODY HAS EVER RUN THIS SCRIPT AGAINST AWS"},
	} {
		t.Run(name, func(t *testing.T) {
			path, trace := noTools(t)
			cmd := exec.Command("./smoke.sh", test.args...)
			cmd.Env = append(os.Environ(), "PATH="+path)
			out, err := cmd.CombinedOutput()
			if exit := new(exec.ExitError); !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.Contains(string(out), test.want) {
				t.Errorf("%v, want exit code 2 and %q in\n%s", err, test.want, out)
			}
			if calls, err := os.ReadFile(trace); err == nil {
				t.Errorf("it called %s", calls)
			}
		})
	}
}

// Every flag that the help names is read, and every one that is read is named.
func TestHelpIsComplete(t *testing.T) {
	script, err := os.ReadFile("smoke.sh")
	if err != nil {
		t.Fatal(err)
	}
	help, code, _ := strings.Cut(string(script), "\nset -euo")
	n := 0
	for line := range strings.Lines(code) {
		flag, _, ok := strings.Cut(strings.TrimSpace(line), ") ")
		if !ok || !strings.HasPrefix(flag, "--") {
			continue
		}
		n++
		if !strings.Contains(help, "\n#   "+flag+" ") && !strings.Contains(help, flag+" RUN") {
			t.Errorf("the help does not name %s", flag)
		}
	}
	if n < 10 {
		t.Errorf("found %d flags only", n)
	}
	for _, named := range strings.Split(help, "\n#   --")[1:] {
		name, _, _ := strings.Cut(named, " ")
		if !strings.Contains(code, "--"+name+")") {
			t.Errorf("nothing reads --%s", name)
		}
	}
}
