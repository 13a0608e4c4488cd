// Command eni-coordinator collects ENIs that are left over and keeps the status
// of NodeENIs. Run two of them: one leads, the other waits.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"k8s.io/apimachinery/pkg/util/uuid"

	"github.com/aws-multi-eni/aws-multi-eni/coordinator"
	"github.com/aws-multi-eni/aws-multi-eni/imds"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
	"github.com/aws-multi-eni/aws-multi-eni/internal/program"
)

const name = "eni-coordinator"

const usage = `eni-coordinator collects ENIs that are left over and keeps the status of NodeENIs.

  eni-coordinator [flags]      serve, until SIGTERM
  eni-coordinator uninstall    with --delete-all-nodeenis: delete all NodeENIs, and wait until they are gone
  eni-coordinator version      print the version
`

type options struct {
	program.Options
	kubeconfig string
	config     coordinator.Config
}

func main() {
	os.Exit(program.Main(name, serve, map[string]program.Command{
		"uninstall": uninstall,
		"version":   program.PrintVersion,
	}))
}

func parse(args []string) (options, error) {
	var o options
	c := &o.config
	flags := program.Flags(name, usage)
	flags.StringVar(&o.kubeconfig, "kubeconfig", os.Getenv("KUBECONFIG"), "kubeconfig file (default $KUBECONFIG, then the pod's service account)")
	flags.StringVar(&c.Cluster, "cluster-name", "", "value of the ENIs' cluster tag; agent and coordinator must agree (default the UID of the namespace kube-system)")
	flags.StringVar(&c.Namespace, "namespace", "eni-system", "namespace of the Lease that the leader holds")
	flags.IntVar(&c.Concurrency, "max-concurrent-eni-cleanup", 3, "how many Detach calls run side by side, and how many Delete calls")
	flags.DurationVar(&c.SweepInterval, "sweep-interval", 5*time.Minute, "time between two full sweeps; ENIs that events concern are checked at once")
	flags.DurationVar(&c.ReleaseGrace, "release-grace", 15*time.Second, "time for the agent of an existing Node to take a link down before its ENI is detached; longer than the agents' --release-delay")
	flags.DurationVar(&c.NodeGrace, "node-grace", time.Minute, "time for a Node that was deleted to be registered again, before ENIs that are attached to its instance are detached")
	flags.DurationVar(&c.OrphanAge, "orphan-age", 10*time.Minute, "least age of an ENI that is collected although no deletion was seen")
	flags.DurationVar(&c.StatusInterval, "status-interval", 5*time.Second, "least time between two status updates of a NodeENI")
	flags.DurationVar(&c.PollInterval, "poll-interval", 2*time.Second, "least time between two describes of an ENI that is being collected")
	flags.DurationVar(&c.LeaseDuration, "lease-duration", 15*time.Second, "time that the others wait for a leader that does not renew the Lease")
	flags.DurationVar(&c.RenewDeadline, "lease-renew-deadline", 10*time.Second, "time in which a leader has to renew the Lease; otherwise it ends")
	flags.DurationVar(&c.RetryPeriod, "lease-retry-period", 2*time.Second, "time between two tries to get or renew the Lease")
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
	awsConfig, err := program.AWSConfig(ctx, metadata)
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
		return "", fmt.Errorf("the host's name: %w", err)
	}
	return host + "_" + string(uuid.NewUUID()), nil
}
