package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/aws-multi-eni/aws-multi-eni/agent"
	"github.com/aws-multi-eni/aws-multi-eni/agent/files"
	"github.com/aws-multi-eni/aws-multi-eni/imds"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
	"github.com/aws-multi-eni/aws-multi-eni/internal/program"
)

// standAlone connects the agent with files instead of Kubernetes.
func standAlone(ctx context.Context, o options, cfg *agent.Config, systemd *supervisor) (end func(), err error) {
	stateFile, err := files.Lock(o.stateFile)
	if errors.Is(err, files.ErrInUse) {
		return nil, fmt.Errorf("%w: check whether the service (systemctl status eni-agent) or eni-agent cleanup is already running", err)
	}
	if err != nil {
		return nil, err
	}
	go stateFile.Beat(ctx.Done(), systemd.unready)
	metadata, err := onInstance(ctx, cfg, systemd.waiting)
	if err != nil {
		return nil, err
	}
	source := files.Config{
		Directory:  o.directory,
		StateFile:  stateFile,
		Node:       cmp.Or(o.node, cfg.Identity.InstanceID),
		InstanceID: cfg.Identity.InstanceID,
		Cluster:    cmp.Or(o.cluster, files.DefaultCluster),
		Labels:     o.labels,
		Changed:    systemd.changed,
		Log:        cfg.Log,
	}
	if o.labelsFromTags {
		source.AskLabels = labelsFrom(metadata, o.labels)
		if source.Labels, err = program.Await(ctx, cfg.Log, systemd.waiting, "the instance's tags", source.AskLabels); err != nil {
			return nil, err
		}
	}
	follow, err := files.New(source)
	if err != nil {
		return nil, err
	}
	go follow.Run(ctx)
	cfg.Cluster, cfg.Node, cfg.Source = source.Cluster, source.Node, follow
	cfg.Collector, cfg.Recorder = cfg.EC2, noEvents{}
	go preflight(ctx, o, *cfg, nil, nil)
	return stateFile.Unlock, nil
}

// labelsFrom gives the instance's tags as labels; own ones come first.
func labelsFrom(metadata *imds.Client, own map[string]string) func(context.Context) (map[string]string, error) {
	return func(ctx context.Context) (map[string]string, error) {
		tags, err := metadata.Tags(ctx)
		if err != nil {
			return nil, err
		}
		maps.Copy(tags, own)
		return tags, nil
	}
}

// noEvents is the Recorder where there is nowhere to write Events to: what they
// would say is in the log too.
type noEvents struct{}

func (noEvents) Event(kube.ObjectReference, string, string, string, ...any) {}
