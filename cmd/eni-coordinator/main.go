// Command eni-coordinator detaches and deletes leftover ENIs and writes the status of
// NodeENIs. Run two of them: one leads, and the other one waits.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"k8s.io/apimachinery/pkg/util/uuid"

	"github.com/aws-multi-eni/aws-multi-eni/coordinator"
	"github.com/aws-multi-eni/aws-multi-eni/imds"
	"github.com/aws-multi-eni/aws-multi-eni/internal/awsconfig"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
	"github.com/aws-multi-eni/aws-multi-eni/internal/program"
)

const name = "eni-coordinator"

const usage = `eni-coordinator detaches and deletes leftover ENIs and writes the status of NodeENIs.
Run two of them: one leads, and the other one waits.

Usage:
  eni-coordinator [flags]             run the coordinator until it receives SIGTERM
  eni-coordinator adopt [flags]       take over the ENIs of aws-multi-eni-controller, or give them back
  eni-coordinator uninstall [flags]   delete all NodeENIs and their ENIs
  eni-coordinator version             print the version

Examples:
  # Outside of the cluster, with your own credentials
  AWS_REGION=us-east-1 eni-coordinator --kubeconfig=$HOME/.kube/config
`

type options struct {
	program.Options
	kubeconfig string
	config     coordinator.Config
}

func main() {
	os.Exit(program.Main(name, serve, map[string]program.Command{
		"adopt":     adoptENIs,
		"uninstall": uninstall,
		"version":   program.PrintVersion,
	}))
}

func parse(args []string) (options, error) {
	var o options
	c := &o.config
	flags := program.Flags(name, usage)
	flags.StringVar(&o.kubeconfig, "kubeconfig", os.Getenv("KUBECONFIG"), "path of a kubeconfig file (default $KUBECONFIG, then the pod's service account)")
	flags.StringVar(&c.Cluster, "cluster-name", "", "cluster name, which is the value of the ENIs' tag networking.k8s.aws/cluster; must be the same for all agents and coordinators of a cluster (default the UID of the namespace kube-system)")
	flags.StringVar(&c.Namespace, "namespace", "eni-system", "namespace of the Lease with which the coordinators elect a leader")
	flags.BoolVar(&c.OnDemand, "on-demand", false, "report to ResourceClaims when a node is lost before its agent has attached the ENI, so that the scheduler tries another node; must be set if agents run with --on-demand")
	flags.IntVar(&c.Concurrency, "max-concurrent-eni-cleanup", 3, "maximum number of DetachNetworkInterface calls in parallel, and of DeleteNetworkInterface calls")
	flags.DurationVar(&c.SweepInterval, "sweep-interval", 5*time.Minute, "time between two sweeps through all ENIs of the cluster; after an event, the coordinator checks the ENIs concerned at once")
	flags.DurationVar(&c.ReleaseGrace, "release-grace", 15*time.Second, "how long to wait for the agent of an existing Node to deconfigure a link before detaching the ENI; must be longer than the agents' --release-delay")
	flags.DurationVar(&c.NodeGrace, "node-grace", time.Minute, "how long to wait for a deleted Node to be registered again before detaching the ENIs of its instance")
	flags.DurationVar(&c.OrphanAge, "orphan-age", 10*time.Minute, "minimum age of a leftover ENI that no event explains before it is deleted")
	flags.DurationVar(&c.StatusInterval, "status-interval", 5*time.Second, "minimum time between two status updates of a NodeENI")
	flags.DurationVar(&c.PollInterval, "poll-interval", 2*time.Second, "minimum time between two descriptions of an ENI that is being detached or deleted")
	flags.DurationVar(&c.LeaseDuration, "lease-duration", 15*time.Second, "how long the other coordinators wait for a leader that does not renew the Lease before they take over")
	flags.DurationVar(&c.RenewDeadline, "lease-renew-deadline", 10*time.Second, "how long a leader tries to renew the Lease before it exits")
	flags.DurationVar(&c.RetryPeriod, "lease-retry-period", 2*time.Second, "time between two attempts to acquire or renew the Lease")
	o.Define(flags, ":8080")
	if err := program.ParseFlags(flags, args); err != nil {
		return o, err
	}
	if err := eni.CheckCluster(c.Cluster); err != nil {
		return o, fmt.Errorf("--cluster-name: %w", err)
	}
	return o, c.Check()
}

// serve wires the coordinator, top to bottom.
func serve(ctx context.Context, args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	service, err := o.Start(ctx, "eni_coordinator")
	if err != nil {
		return err
	}
	log, metrics := service.Log, coordinator.NewMetrics(service.Metrics)

	// EC2: the Region comes from the environment, or from IMDS.
	metadata, err := imds.New(ctx)
	if err != nil {
		return err
	}
	awsConfig, err := awsconfig.Load(ctx, metadata)
	if err != nil {
		return err
	}

	// Kubernetes, which may come up after us.
	kubeConfig, err := kube.Config(o.kubeconfig)
	if err != nil {
		return err
	}
	// Each Detach and each Delete asks the API server three times before.
	kubeConfig.QPS, kubeConfig.Burst = 100, 200
	kubeConfig.UserAgent = program.UserAgent(name)
	client, err := kube.NewClient(kubeConfig, kubeConfig.UserAgent)
	if err != nil {
		return err
	}
	leases, err := coordinator.LeaseClient(kubeConfig, o.config.RenewDeadline)
	if err != nil {
		return err
	}
	cfg := o.config
	if cfg.Cluster == "" {
		if cfg.Cluster, err = program.Await(ctx, log, nil, "the API server", client.ClusterID); err != nil {
			return err
		}
	}

	if cfg.Identity, err = identity(); err != nil {
		return err
	}
	cfg.Kube, cfg.Leases, cfg.EC2, cfg.Log, cfg.Health = client, leases, eni.NewClient(metrics.Calls().Instrument(awsConfig)), log, service.Health
	cfg.Metrics, cfg.Region = metrics, awsConfig.Region
	cfg.Events = kube.NewRecorder(ctx, client, kube.EventSource{Component: name}, log)
	log.Info("starting", "identity", cfg.Identity, "cluster", cfg.Cluster, "region", awsConfig.Region)
	return coordinator.Run(ctx, cfg)
}

// identity tells candidates apart, also two on one host.
func identity() (string, error) {
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("get the host name: %w", err)
	}
	return host + "_" + string(uuid.NewUUID()), nil
}
