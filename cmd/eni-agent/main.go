// Command eni-agent gives the node it runs on the ENIs that NodeENIs ask for.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"

	"github.com/aws-multi-eni/aws-multi-eni/agent"
	"github.com/aws-multi-eni/aws-multi-eni/agent/hostnet"
	"github.com/aws-multi-eni/aws-multi-eni/imds"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
	"github.com/aws-multi-eni/aws-multi-eni/internal/program"
)

const name = "eni-agent"

const usage = `eni-agent gives the node it runs on the ENIs that NodeENIs ask for.

  eni-agent [flags]    serve, until SIGTERM
  eni-agent version    print the version

Flags:
`

type options struct {
	node, cluster, kubeconfig string
	logFormat, logLevel       string
}

func main() {
	os.Exit(program.Main(name, serve, map[string]program.Command{
		"version": program.PrintVersion,
	}))
}

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.StringVar(&o.node, "node-name", os.Getenv("NODE_NAME"), "name of this Node in Kubernetes (default $NODE_NAME)")
	flags.StringVar(&o.cluster, "cluster-name", "", "value of the ENIs' cluster tag; agent and coordinator must agree (default the UID of the namespace kube-system)")
	flags.StringVar(&o.kubeconfig, "kubeconfig", os.Getenv("KUBECONFIG"), "kubeconfig file (default $KUBECONFIG, then the pod's service account)")
	flags.StringVar(&o.logFormat, "log-format", "text", "text or json")
	flags.StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error")
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), usage)
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q; see --help", flags.Arg(0))
	}
	if o.node == "" {
		return o, errors.New("the node's name is not known; set --node-name, or NODE_NAME from the field spec.nodeName")
	}
	return o, nil
}

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
	return agent.New(agent.Config{
		Cluster:  o.cluster,
		Node:     o.node,
		Identity: identity,
		EC2:      eni.NewClient(awsConfig),
		Source:   source,
		Links:    host,
		Metadata: metadata,
		Recorder: kube.NewRecorder(ctx, client, kube.EventSource{Component: name, Host: o.node}, log),
		Log:      log,
	}).Run(ctx)
}
