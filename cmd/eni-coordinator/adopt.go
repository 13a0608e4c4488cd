package main

import (
	"context"
	"fmt"
	"os"

	"github.com/aws-multi-eni/aws-multi-eni/coordinator/adopt"
	"github.com/aws-multi-eni/aws-multi-eni/imds"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
	"github.com/aws-multi-eni/aws-multi-eni/internal/program"
)

const aboutAdopt = `eni-coordinator adopt takes over the ENIs of aws-multi-eni-controller where they are:
it gives them the tags by which agents know their ENIs. Addresses, links and traffic
stay as they are. With --undo, it gives the ENIs back.

An administrator runs it, with AWS credentials and a kubeconfig of their own. The
former controller must be stopped. It shows what it would do, and changes nothing
without --dry-run=false. It may be interrupted and run again.

Exit codes: 0 when there is nothing left to do, 1 when the state is not known, 2 when
programs must be stopped first, or ENIs were refused, or changes failed.
`

func adoptENIs(ctx context.Context, args []string) error {
	run := adopt.Run{Out: os.Stdout}
	flags := program.Flags(name+" adopt", aboutAdopt)
	kubeconfig := flags.String("kubeconfig", os.Getenv("KUBECONFIG"), "kubeconfig file (default $KUBECONFIG, then the pod's service account)")
	flags.StringVar(&run.Cluster, "cluster-name", "", "value of the ENIs' cluster tag; the same as that of agents and coordinator (default the UID of the namespace kube-system)")
	flags.BoolVar(&run.DryRun, "dry-run", true, "show what would be done, and change nothing")
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
	awsConfig, err := program.AWSConfig(ctx, metadata)
	if err != nil {
		return err
	}
	if run.Cluster == "" {
		if run.Cluster, err = run.Kube.ClusterID(ctx); err != nil {
			return err
		}
	}
	run.EC2, run.Region = eni.NewClient(awsConfig), awsConfig.Region
	return run.Do(ctx)
}
