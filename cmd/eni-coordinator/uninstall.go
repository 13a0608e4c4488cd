package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"

	"github.com/aws-multi-eni/aws-multi-eni/coordinator"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
	"github.com/aws-multi-eni/aws-multi-eni/internal/program"
)

const aboutUninstall = `eni-coordinator uninstall deletes all NodeENIs and waits until they and their ENIs are
gone. The agents and a coordinator must keep running, because they do the work. It
does not delete anything else. You can interrupt it and run it again. It exits with 1
if NodeENIs remain after --timeout.

It deletes nothing unless you set --delete-all-nodeenis, or the Helm release in
--helm-release is being uninstalled.

Usage:
  eni-coordinator uninstall [flags]

Examples:
  eni-coordinator uninstall --delete-all-nodeenis --kubeconfig=$HOME/.kube/config
`

func uninstall(ctx context.Context, args []string) error {
	flags := program.Flags(name+" uninstall", aboutUninstall)
	kubeconfig := flags.String("kubeconfig", os.Getenv("KUBECONFIG"), "path of a kubeconfig file (default $KUBECONFIG, then the pod's service account)")
	namespace := flags.String("namespace", "eni-system", "namespace of the coordinators' Lease, which shows whether one of them leads")
	timeout := flags.Duration("timeout", 10*time.Minute, "how long to wait until the NodeENIs and their ENIs are gone")
	all := flags.Bool("delete-all-nodeenis", false, "delete all NodeENIs of the cluster and their ENIs")
	helmRelease := flags.String("helm-release", "", "for the chart's Job eni-uninstall: delete all NodeENIs only if Helm's record of this release (NAMESPACE/NAME.vREVISION) shows that Helm is uninstalling it")
	crds := flags.Bool("delete-crds", false, "with --helm-release: delete the CustomResourceDefinitions after the last NodeENI")
	if err := program.ParseFlags(flags, args); err != nil {
		return err
	}
	if *timeout <= 0 {
		return errors.New("--timeout must be greater than 0")
	}
	if *all == (*helmRelease != "") {
		return errors.New("nothing was deleted: to delete all NodeENIs of the cluster and their ENIs, use --delete-all-nodeenis; " +
			"the Job of the Helm chart uses --helm-release instead")
	}
	var release coordinator.Release
	if *helmRelease != "" {
		var err error
		if release, err = coordinator.ParseRelease(*helmRelease); err != nil {
			return fmt.Errorf("--helm-release: %w", err)
		}
	} else if *crds {
		return errors.New("--delete-crds requires --helm-release")
	}
	config, err := kube.Config(*kubeconfig)
	if err != nil {
		return err
	}
	config.QPS, config.Burst = 100, 200 // Helm's record is one of several objects
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
		Poll: time.Second, Explain: 15 * time.Second,
	}
	if *all {
		return u.Run(ctx)
	}
	return u.RunFor(ctx, release, *crds)
}
