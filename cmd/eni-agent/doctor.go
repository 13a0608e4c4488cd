package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/agent"
	"github.com/aws-multi-eni/aws-multi-eni/agent/doctor"
	"github.com/aws-multi-eni/aws-multi-eni/agent/files"
	"github.com/aws-multi-eni/aws-multi-eni/imds"
	"github.com/aws-multi-eni/aws-multi-eni/internal/awsconfig"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
	"github.com/aws-multi-eni/aws-multi-eni/internal/program"
)

const aboutDoctor = `eni-agent doctor checks whether an agent can work on this node, and shows how to
fix what is wrong. It checks credentials and permissions (with dry runs), subnets, limits,
and other software on the host and in the cluster that changes ENIs. It changes
nothing. It exits with 1 if a check fails.

Run it with the flags of the agent. Without --node-name and --nodeeni-dir, it skips
the checks that need NodeENIs.

Usage:
  eni-agent doctor [flags]

Examples:
  # In a cluster
  eni-agent doctor --node-name=node-1 --kubeconfig=/etc/eni-agent/kubeconfig

  # For a standalone agent
  eni-agent doctor --nodeeni-dir=/etc/eni-agent/nodeeni.d --node-labels=ng=multi-eni
`

// examine is the subcommand doctor.
func examine(ctx context.Context, args []string) error {
	var o options
	own := flag.NewFlagSet(name+" doctor", flag.ContinueOnError)
	output := own.String("o", "table", "output format: table or json")
	hostRoot := own.String("host-root", "/", "path of the host's root file system, such as /host in a pod of kubectl debug node/NODE")
	timeout := own.Duration("timeout", time.Minute, "how long the checks may take")
	flags := flag.NewFlagSet(own.Name(), flag.ContinueOnError)
	o.define(flags)
	own.VisitAll(func(f *flag.Flag) { flags.Var(f.Value, f.Name, f.Usage) })
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), aboutDoctor, "\nFlags, in addition to those of eni-agent:\n")
		own.SetOutput(flags.Output())
		own.PrintDefaults()
	}
	if err := program.ParseFlags(flags, args); err != nil {
		return err
	}
	if *output != "table" && *output != "json" {
		return fmt.Errorf("-o %s: must be table or json", *output)
	}
	if _, err := program.Logger(os.Stderr, o.LogFormat, o.LogLevel); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	facts, title, err := gather(ctx, o, *hostRoot)
	if err != nil {
		return err
	}
	results := doctor.Check(facts)
	if *output == "json" {
		err = doctor.PrintJSON(os.Stdout, results)
	} else {
		err = doctor.PrintTable(os.Stdout, title, results)
	}
	if err == nil && doctor.Failed(results) {
		err = errors.New("some checks failed")
	}
	return err
}

// gather collects the facts, top to bottom; what is missing makes those that
// depend on it missing.
func gather(ctx context.Context, o options, hostRoot string) (facts doctor.Facts, title string, err error) {
	metadata, err := imds.New(ctx)
	if err != nil {
		return facts, "", err
	}
	facts.IMDS, facts.DefaultMTU = doctor.GatherIMDS(ctx, metadata), o.defaultMTU
	who := facts.IMDS.Identity
	if o.standsAlone() {
		facts.Wanted = o.gatherFiles(ctx, metadata)
		o.node, o.cluster = cmp.Or(o.node, who.InstanceID), cmp.Or(o.cluster, files.DefaultCluster)
	} else {
		o.gatherCluster(ctx, &facts)
	}
	awsConfig, err := awsconfig.Load(ctx, metadata)
	switch {
	case err == nil:
		facts.Credentials = doctor.GatherCredentials(ctx, awsConfig)
	case facts.IMDS.Err == nil: // or it is the Region that is missing
		facts.Credentials = &doctor.Credentials{Err: err}
	}
	if facts.IMDS.Err == nil && facts.Credentials.Err == nil {
		asker := doctor.Asker{EC2: eni.NewClient(awsConfig), Cluster: o.cluster, Node: o.node, Identity: who}
		facts.EC2 = doctor.GatherEC2(ctx, asker, facts.Wanted)
	}
	facts.Kernel = doctor.GatherKernel()
	if o.pods || facts.Wanted.ForPods() {
		facts.Pods = o.gatherPods(hostRoot)
		facts.Pods.Ask(ctx, hostRoot)
	}
	var kubelet *doctor.Kubelet
	facts.Host, kubelet, facts.HostHidden = doctor.GatherHost(hostRoot, who.MAC)
	facts.Kubelet = facts.Kubelet.With(kubelet)
	if facts.OnDemand != nil && facts.Host != nil {
		facts.OnDemand.Look(hostRoot, facts.Kubelet)
	}
	if facts.IMDS.Err == nil {
		facts.Nodeadm = doctor.GatherNodeadm(ctx, metadata, hostRoot)
	}
	return facts, fmt.Sprintf("Node %s, instance %s, cluster %s", orDash(o.node), orDash(who.InstanceID), orDash(o.cluster)), nil
}

// gatherFiles reads the NodeENI files, and the node's labels.
func (o options) gatherFiles(ctx context.Context, metadata *imds.Client) *doctor.Wanted {
	w := &doctor.Wanted{From: o.directory, Standalone: true, Labels: o.labels}
	if w.NodeENIs, w.WrongFiles, w.Err = files.Preview(o.directory); w.Err != nil {
		return w
	}
	if o.labelsFromTags {
		w.Labels, w.Err = labelsFrom(metadata, o.labels)(ctx)
	}
	return w
}

// gatherCluster reads what the API server has for this node, and the cluster's id.
func (o *options) gatherCluster(ctx context.Context, facts *doctor.Facts) {
	if o.node == "" && o.kubeconfig == "" {
		return // nothing says that there is a cluster
	}
	client, from, err := o.kubeClient()
	if err == nil && o.node == "" {
		err = errors.New("the node name is unknown; set --node-name")
	}
	if err != nil {
		facts.Wanted = &doctor.Wanted{From: "the API server", Err: err}
		return
	}
	facts.Wanted, facts.Kubelet = doctor.GatherNode(ctx, client, o.node, facts.IMDS.Identity.InstanceID, from, true)
	facts.CNI = doctor.GatherCNI(ctx, client)
	if o.cluster == "" && facts.Wanted.Err == nil {
		o.cluster, facts.Wanted.Err = client.ClusterID(ctx)
	}
	if o.onDemand || facts.Wanted.OnDemand() {
		facts.OnDemand = &doctor.OnDemand{API: doctor.GatherOnDemandAPI(ctx, client, o.node), DRA: doctor.GatherDRA(ctx, client, o.node)}
	}
}

func (o options) gatherPods(hostRoot string) *doctor.Pods {
	return doctor.GatherPods(hostRoot, o.cniBinDir, program.Version, o.podFiles.NetworksDir, o.podFiles.DataDir)
}

func (o options) kubeClient() (client *kube.Client, from string, err error) {
	cfg, err := kube.Config(o.kubeconfig)
	if err != nil {
		return nil, "", err
	}
	client, err = kube.NewClient(cfg, program.UserAgent(name+"-doctor"))
	return client, cfg.Host, err
}

// preflight makes those of the checks that need neither EC2 nor IMDS, and tells what is
// not well in the log, and as Events of the Node where there is one. It runs beside
// the agent.
func preflight(ctx context.Context, o options, cfg agent.Config, client *kube.Client, events *kube.Recorder) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	facts := doctor.Facts{Kernel: doctor.GatherKernel()}
	if o.pods {
		facts.Pods = o.gatherPods("/")
	}
	if client != nil {
		_, facts.Kubelet = doctor.GatherNode(ctx, client, cfg.Node, cfg.Identity.InstanceID, "", false)
		facts.CNI = doctor.GatherCNI(ctx, client)
	}
	var kubelet *doctor.Kubelet
	facts.Host, kubelet, _ = doctor.GatherHost("/", cfg.Identity.MAC)
	facts.Kubelet = facts.Kubelet.With(kubelet)
	for _, r := range doctor.Bad(doctor.Check(facts)) {
		cfg.Log.Warn("preflight check failed", "check", r.Check, "message", r.Message, "advice", r.Action)
		if events != nil {
			events.Once(kube.NodeRef(cfg.Node), kube.EventWarning, r.Reason(), fmt.Sprintf("%s: %s; %s", r.Check, r.Message, r.Action))
		}
	}
}
