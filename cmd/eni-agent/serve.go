package main

import (
	"context"
	"os"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/agent"
	"github.com/aws-multi-eni/aws-multi-eni/agent/hostnet"
	"github.com/aws-multi-eni/aws-multi-eni/imds"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
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
	log, err := program.Logger(os.Stderr, o.logFormat, o.logLevel)
	if err != nil {
		return err
	}
	health := program.NewHealth(log)
	if err := health.Serve(ctx, o.httpAddress); err != nil {
		return err
	}

	// Who am I? IMDS tells, and the Region with it.
	metadata, err := imds.New(ctx)
	if err != nil {
		return err
	}
	identity, err := program.Await(ctx, log, "IMDS", metadata.Identity)
	if err != nil {
		return err
	}
	awsConfig, err := program.AWSConfig(ctx, func(context.Context) (string, error) { return identity.Region, nil })
	if err != nil {
		return err
	}

	// What is wanted? The API server tells.
	kubeConfig, err := kube.Config(o.kubeconfig)
	if err != nil {
		return err
	}
	// client-go's five requests a second make an agent slow to start that has
	// many NodeENIs to read; the API server has limits of its own.
	kubeConfig.QPS, kubeConfig.Burst = 50, 100
	client, err := kube.NewClient(kubeConfig, name)
	if err != nil {
		return err
	}
	if o.cluster == "" {
		if o.cluster, err = program.Await(ctx, log, "the API server", client.ClusterID); err != nil {
			return err
		}
	}
	source, err := agent.NewKubernetes(kubeConfig, client, o.node, identity.InstanceID, log)
	if err != nil {
		return err
	}
	if err := source.Run(ctx); err != nil {
		return err
	}

	// What is there? EC2 and netlink tell.
	host, err := hostnet.Open()
	if err != nil {
		return err
	}
	defer host.Close()

	log.Info("starting", "node", o.node, "instance", identity.InstanceID, "type", identity.InstanceType, "zone", identity.Zone, "cluster", o.cluster)
	heartbeat := program.NewHeartbeat("agent's loop", loopLimit)
	a := agent.New(agent.Config{
		Cluster:   o.cluster,
		Node:      o.node,
		Identity:  identity,
		EC2:       eni.NewClient(awsConfig),
		Source:    source,
		Links:     host,
		Metadata:  metadata,
		Recorder:  kube.NewRecorder(ctx, client, kube.EventSource{Component: name, Host: o.node}, log),
		Log:       log,
		Beat:      heartbeat.Beat,
		BeatEvery: loopLimit / 6,
	})
	health.Live("loop", heartbeat.Check)
	health.Ready("agent", a.Ready)
	return a.Run(ctx)
}
