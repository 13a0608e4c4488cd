package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws-multi-eni/aws-multi-eni/agent/cniplugin"
	"github.com/aws-multi-eni/aws-multi-eni/internal/program"
)

const aboutInstallCNI = `eni-agent install-cni copies the CNI plugin eni to the directory in which the container
runtime looks for plugins. It atomically replaces another version of the plugin, and
refuses to replace any other program.

Usage:
  eni-agent install-cni --to=DIRECTORY [flags]

Examples:
  eni-agent install-cni --from=/opt/cni/bin/eni --to=/usr/lib/cni
`

// installCNI is the subcommand install-cni.
func installCNI(ctx context.Context, args []string) error {
	flags := program.Flags(name+" install-cni", aboutInstallCNI)
	from := flags.String("from", "/"+cniplugin.Name, "path of the plugin's `file`")
	to := flags.String("to", "", "required: `directory` in which the container runtime looks for CNI plugins: "+cniplugin.Dirs)
	if err := program.ParseFlags(flags, args); err != nil {
		return err
	}
	if *to == "" {
		return errors.New("set --to to the directory in which the container runtime looks for CNI plugins: " + cniplugin.Dirs)
	}
	done, err := cniplugin.Install(ctx, *from, *to)
	if err != nil {
		return err
	}
	file := *to + "/" + cniplugin.Name
	switch {
	case !done.Changed:
		fmt.Printf("%s is already %s\n", file, done.Before)
	case done.Before == "":
		fmt.Printf("%s is now %s\n", file, program.Version)
	default:
		fmt.Printf("%s is now %s (was %s)\n", file, program.Version, done.Before)
	}
	return nil
}
