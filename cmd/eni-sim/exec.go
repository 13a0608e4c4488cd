package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"

	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim"
)

const aboutExec = `eni-sim exec runs a command in the network namespace of a node of a running simulator,
with the environment of that node. NODE is the name of a node or the ID of its
instance.

Usage:
  eni-sim exec [--admin URL] NODE -- CMD [ARG...]

Examples:
  eni-sim exec node-1 -- ip address

Flags:
`

// execOnNode becomes a command in a node's namespace. It only returns when
// that fails.
func execOnNode(args []string) error {
	flags := flag.NewFlagSet(name+" exec", flag.ContinueOnError)
	admin := flags.String("admin", cmp.Or(os.Getenv("ENI_SIM_ADMIN"), "http://127.0.0.1:4567"), "`URL` of the simulator's admin endpoint; $ENI_SIM_ADMIN overrides the default")
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), aboutExec)
		flags.PrintDefaults()
	}
	if err := parseFlags(flags, args); err != nil {
		return err
	}
	command := flags.Args()
	if len(command) > 1 && command[1] == "--" {
		command = append(command[:1:1], command[2:]...)
	}
	if len(command) < 2 {
		return errors.New("exec: want NODE -- CMD; see " + name + " exec --help")
	}
	ctx, client := context.Background(), sim.NewClient(*admin)
	info, err := client.Info(ctx)
	if unreachable := new(url.Error); errors.As(err, &unreachable) {
		return fmt.Errorf("%w; is it running? It prints its admin endpoint when it starts; set --admin or $ENI_SIM_ADMIN to it", err)
	}
	if err != nil {
		return err
	}
	instance, err := client.Instance(ctx, command[0])
	if err != nil {
		return err
	}
	if instance.Namespace == "" {
		return fmt.Errorf("%s has no namespace: the simulator runs with --no-network", instance.Name)
	}
	program, err := exec.LookPath(command[1])
	if err != nil {
		return err
	}
	env := nodeEnv(os.Environ(), instance.Env)
	err = enter(instance.Namespace, program, command[1:], env)
	if errors.Is(err, os.ErrPermission) && info.UserNamespace {
		return enterUserNamespace(info.PID, instance.Namespace, program, command[2:], env)
	}
	return err
}

// nodeEnv is the environment of a command on a node. Credentials and endpoints of the
// shell stay out of it: on a node, an SDK must find those of the instance.
func nodeEnv(shell, node []string) []string {
	env := slices.Clone(node)
	for _, variable := range shell {
		name, _, _ := strings.Cut(variable, "=")
		switch name {
		case "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_EC2_METADATA_DISABLED",
			"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_EC2", "AWS_EC2_METADATA_SERVICE_ENDPOINT":
		default:
			env = append(env, variable)
		}
	}
	return env
}

func enter(namespace, program string, args, env []string) error {
	ns, err := netns.Open(namespace)
	if err != nil {
		return err
	}
	return ns.Do(func() error { return syscall.Exec(program, args, env) })
}

// enterUserNamespace enters the simulator's user namespace on the way. A
// program with threads, as every Go program is one, may not do that itself.
func enterUserNamespace(pid int, namespace, program string, args, env []string) error {
	nsenter, err := exec.LookPath("nsenter")
	if err != nil {
		return fmt.Errorf("to enter the simulator's user namespace, nsenter (of util-linux) is needed: %w", err)
	}
	line := append([]string{
		nsenter, "--preserve-credentials", fmt.Sprintf("--user=/proc/%d/ns/user", pid), "--net=" + namespace, "--", program,
	}, args...)
	return syscall.Exec(nsenter, line, env)
}
