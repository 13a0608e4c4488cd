package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/aws-multi-eni/aws-multi-eni/agent"
	"github.com/aws-multi-eni/aws-multi-eni/agent/hostnet"
	"github.com/aws-multi-eni/aws-multi-eni/imds"
	"github.com/aws-multi-eni/aws-multi-eni/internal/awsconfig"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/program"
)

// loopLimit is the time within which the agent's loop has to come round. What
// it does itself, netlink above all, takes milliseconds.
const loopLimit = time.Minute

// serve wires the agent, top to bottom.
func serve(ctx context.Context, args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	service, err := o.Start(ctx, "eni_agent")
	if err != nil {
		return err
	}
	log, health := service.Log, service.Health
	if program.OnEveryAddress(o.HTTPAddress) {
		log.Warn("--http-address listens on all addresses of this host, including those of its ENIs; use a single address such as 127.0.0.1:9480", "address", o.HTTPAddress)
	}
	systemd := newSupervisor(ctx, log)
	context.AfterFunc(ctx, systemd.stopping)
	cfg := agent.Config{Log: log, Metrics: agent.NewMetrics(service.Metrics), DefaultMTU: o.defaultMTU, ReleaseDelay: o.releaseDelay}

	// What is wanted? The API server tells, or files. Who am I? IMDS tells.
	connect := inCluster
	if o.standsAlone() {
		connect = standAlone
	}
	end, err := connect(ctx, o, &cfg, systemd)
	if err != nil {
		return err
	}
	defer end()

	// What is there? EC2 and netlink tell.
	host, err := hostnet.Open()
	if err != nil {
		return err
	}
	defer host.Close()
	cfg.Links = host
	if o.pods {
		cfg.Pods = &o.podFiles
		cfg.PodCounters = agent.NewPodCounters(service.Metrics, o.podFiles.DataDir, log)
	}
	if o.eniCounters {
		cfg.Counters = agent.NewCounters(service.Metrics, host, log)
	}

	log.Info("starting", "node", cfg.Node, "instance", cfg.Identity.InstanceID, "type", cfg.Identity.InstanceType, "zone", cfg.Identity.Zone, "region", cfg.Identity.Region, "account", cfg.Identity.AccountID, "cluster", cfg.Cluster)
	heartbeat := program.NewHeartbeat("agent's loop", loopLimit)
	cfg.Beat = func() {
		heartbeat.Beat()
		cfg.Metrics.Heartbeat()
		systemd.alive()
	}
	cfg.BeatEvery = systemd.every(loopLimit / 6)
	a := agent.New(cfg)
	health.Live("loop", heartbeat.Check)
	health.Ready("agent", a.Ready)
	systemd.follow(func() error { return errors.Join(heartbeat.Check(), a.Ready()) })
	return a.Run(ctx)
}

// onInstance fills in who this instance is, and how its EC2 is reached. waiting, unless
// nil, is told what is waited for.
func onInstance(ctx context.Context, cfg *agent.Config, waiting func(string)) (*imds.Client, error) {
	metadata, err := imds.New(ctx)
	if err != nil {
		return nil, err
	}
	cfg.Metadata = metadata
	cfg.Identity, err = program.Await(ctx, cfg.Log, waiting, "IMDS", metadata.Identity)
	if err != nil {
		return nil, err
	}
	if cfg.Identity.PartitionAssumed {
		cfg.Log.Warn("IMDS does not provide the partition (services/partition); deriving it from the name of the Region", "region", cfg.Identity.Region, "partition", cfg.Identity.Partition)
	}
	var awsConfig aws.Config
	awsConfig, err = awsconfig.Load(ctx, metadata)
	if err != nil {
		return nil, err
	}
	cfg.EC2 = eni.NewClient(cfg.Metrics.Calls().Instrument(awsConfig))
	return metadata, checkRegion(awsConfig.Region, cfg.Identity)
}

// wrongRegionError: EC2 would be asked in another Region than the instance's. It knows
// nothing of the instance there, so nothing it says must be believed.
type wrongRegionError struct{ configured, region string }

func (e *wrongRegionError) Error() string {
	return fmt.Sprintf("the AWS Region is set to %s, but IMDS reports that this instance is in %s, and EC2 knows its ENIs only there; "+
		"unset AWS_REGION (awsRegion in the Helm chart, or region in an AWS configuration file), so that the agent uses the Region of the instance", e.configured, e.region)
}

func checkRegion(configured string, here imds.Identity) error {
	if configured == here.Region {
		return nil
	}
	return &wrongRegionError{configured, here.Region}
}
