package main

import (
	"context"
	"fmt"
	"os"

	"github.com/aws-multi-eni/aws-multi-eni/coordinator/adopt"
	"github.com/aws-multi-eni/aws-multi-eni/imds"
	"github.com/aws-multi-eni/aws-multi-eni/internal/awsconfig"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
	"github.com/aws-multi-eni/aws-multi-eni/internal/program"
)

const aboutAdopt = `eni-coordinator adopt takes over the ENIs of aws-multi-eni-controller where they are. It
gives them the tags by which agents recognize their ENIs. Addresses, links, and traffic
stay as they are. With --undo, it gives the ENIs back.

An administrator runs it, with their own AWS credentials and kubeconfig. The former
controller must be stopped. By default, it shows what it would do, and changes nothing.
You can interrupt it and run it again. docs/migration.md describes the whole migration.

It exits with 0 if nothing is left to do, with 1 if it could not read the state, and with
2 if programs must be stopped first, or if it refused ENIs, or if changes failed.

Usage:
  eni-coordinator adopt [flags]

Examples:
  # See what it would do
  AWS_REGION=us-east-1 eni-coordinator adopt --kubeconfig=$HOME/.kube/config
  # Do it
  AWS_REGION=us-east-1 eni-coordinator adopt --kubeconfig=$HOME/.kube/config --dry-run=false
`

func adoptENIs(ctx context.Context, args []string) error {
	run := adopt.Run{Out: os.Stdout}
	flags := program.Flags(name+" adopt", aboutAdopt)
	kubeconfig := flags.String("kubeconfig", os.Getenv("KUBECONFIG"), "path of a kubeconfig file (default $KUBECONFIG, then the pod's service account)")
	flags.StringVar(&run.Cluster, "cluster-name", "", "cluster name, which is the value of the ENIs' tag networking.k8s.aws/cluster; must be the same as for agents and coordinators (default the UID of the namespace kube-system)")
	flags.BoolVar(&run.DryRun, "dry-run", true, "show what the command would do, and change nothing")
	flags.BoolVar(&run.Undo, "undo", false, "give the adopted ENIs back to the former controller")
	if err := program.ParseFlags(flags, args); err != nil {
		return err
	}
	if err := eni.CheckCluster(run.Cluster); err != nil {
		return fmt.Errorf("--cluster-name: %w", err)
	}
	config, err := kube.Config(*kubeconfig)
	if err != nil {
		return err
	}
	config.QPS, config.Burst = 100, 200
	if run.Kube, err = kube.NewClient(config, program.UserAgent(name+"-adopt")); err != nil {
		return err
	}
	metadata, err := imds.New(ctx)
	if err != nil {
		return err
	}
	awsConfig, err := awsconfig.Load(ctx, metadata)
	if err != nil {
		return err
	}
	if run.Named = run.Cluster != ""; !run.Named {
		if run.Cluster, err = run.Kube.ClusterID(ctx); err != nil {
			return err
		}
	}
	run.EC2, run.Region = eni.NewClient(awsConfig), awsConfig.Region
	return run.Do(ctx)
}
