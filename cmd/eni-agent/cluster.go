package main

import (
	"context"
	"errors"

	"github.com/aws-multi-eni/aws-multi-eni/agent"
	"github.com/aws-multi-eni/aws-multi-eni/agent/apiserver"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
	"github.com/aws-multi-eni/aws-multi-eni/internal/program"
)

// inCluster connects the agent with Kubernetes. It gets no Collector: there the
// coordinator detaches and deletes.
func inCluster(ctx context.Context, o options, cfg *agent.Config, systemd *supervisor) (end func(), err error) {
	// A wrong file is told before IMDS is waited for.
	kubeConfig, err := kube.Config(o.kubeconfig)
	if err != nil {
		return nil, err
	}
	_, err = onInstance(ctx, cfg, systemd.waiting)
	var wrong *wrongRegionError
	switch {
	case errors.As(err, &wrong):
		// An agent that ended would say so in its log only. One that stays idle says
		// it where people look: in the NodeENIs' status, and as an Event.
		cfg.Problem = agent.Problem{Reason: agent.ReasonWrongRegion, Message: wrong.Error()}
	case err != nil:
		return nil, err
	}
	// client-go's five requests a second make an agent slow to start that has
	// many NodeENIs to read; the API server has limits of its own.
	kubeConfig.QPS, kubeConfig.Burst = 50, 100
	kubeConfig.UserAgent = program.UserAgent(name)
	client, err := kube.NewClient(kubeConfig, kubeConfig.UserAgent)
	if err != nil {
		return nil, err
	}
	if o.cluster == "" {
		if o.cluster, err = program.Await(ctx, cfg.Log, systemd.waiting, "the API server", client.ClusterID); err != nil {
			return nil, err
		}
	}
	source, err := apiserver.New(kubeConfig, client, o.node, cfg.Identity.InstanceID, cfg.Log)
	if err != nil {
		return nil, err
	}
	if o.onDemand {
		cfg.OnDemand = &agent.OnDemand{Claims: source.OnDemand(), Idle: o.onDemandIdle, Files: o.claimFiles}
	}
	defer systemd.during("the NodeENIs, the Node, and its NodeENIState from the API server; see the log")()
	if err := source.Run(ctx); err != nil {
		return nil, err
	}
	cfg.Cluster, cfg.Node, cfg.Source = o.cluster, o.node, source
	// The last reconcile, after ctx has ended, reports Events too.
	events := kube.NewRecorder(context.WithoutCancel(ctx), client, kube.EventSource{Component: name, Host: o.node}, cfg.Log)
	cfg.Recorder = events
	cfg.NodeReadiness = agent.NodeReadiness{StartupTaint: o.startupTaint, Labels: o.readyLabels, PodResources: o.pods, Patcher: source}
	go preflight(ctx, o, *cfg, client, events)
	return func() {}, nil
}
