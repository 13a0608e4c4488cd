package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"

	"github.com/aws-multi-eni/aws-multi-eni/coordinator"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
	"github.com/aws-multi-eni/aws-multi-eni/internal/program"
)

const aboutUninstall = `eni-coordinator uninstall deletes all NodeENIs and waits until they are gone, and
their ENIs with them. Agents and a coordinator have to run meanwhile: they do the
work. Whatever else is installed stays. It may be interrupted and run again.
`

func uninstall(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet(name+" uninstall", flag.ContinueOnError)
	kubeconfig := flags.String("kubeconfig", os.Getenv("KUBECONFIG"), "kubeconfig file (default $KUBECONFIG, then the pod's service account)")
	namespace := flags.String("namespace", "eni-system", "namespace of the coordinators' Lease, which tells whether one of them works")
	timeout := flags.Duration("timeout", 10*time.Minute, "how long to wait")
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), aboutUninstall, "\nFlags:\n")
		flags.PrintDefaults()
	}
	if err := program.ParseFlags(flags, args); err != nil {
		return err
	}
	if *timeout <= 0 {
		return errors.New("--timeout must be above 0")
	}
	config, err := kube.Config(*kubeconfig)
	if err != nil {
		return err
	}
	config.UserAgent = program.UserAgent(name + "-uninstall")
	client, err := kube.NewClient(config, config.UserAgent)
	if err != nil {
		return err
	}
	leases, err := coordinationv1.NewForConfig(kube.Bounded(config))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	u := coordinator.Uninstall{
		Kube: client, Leases: leases, Namespace: *namespace, Out: os.Stdout,
		Poll: time.Second, Tell: 15 * time.Second,
	}
	return u.Run(ctx)
}
