package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/aws-multi-eni/aws-multi-eni/agent"
	"github.com/aws-multi-eni/aws-multi-eni/agent/cniplugin"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/claimnetwork"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/podnetwork"
	"github.com/aws-multi-eni/aws-multi-eni/internal/program"
)

type options struct {
	node, cluster, kubeconfig string
	defaultMTU                int32
	releaseDelay              time.Duration
	eniCounters, pods         bool
	podFiles                  agent.PodFiles
	cniBinDir                 string
	onDemand                  bool
	onDemandIdle              time.Duration
	claimFiles                agent.ClaimFiles
	program.Options

	// In Kubernetes.
	startupTaint, readyLabels bool

	// Without Kubernetes.
	directory, stateFile string
	labels               map[string]string
	labelsFromTags       bool
}

// standsAlone says whether the agent runs without Kubernetes.
func (o options) standsAlone() bool { return o.directory != "" }

// Flags that apply in one mode only.
var (
	clusterFlags    = []string{"kubeconfig", "startup-taint", "node-ready-labels", "on-demand", "on-demand-idle", "claims-dir", "claims-data-dir"}
	standaloneFlags = []string{"node-labels", "node-labels-from-tags", "state-file"}
)

const defaultStateFile = "/var/lib/eni-agent/state.json"

func parse(args []string) (options, error) {
	var o options
	flags := program.Flags(name, usage)
	o.define(flags)
	if err := program.ParseFlags(flags, args); err != nil {
		return o, err
	}
	var given []string
	flags.Visit(func(f *flag.Flag) { given = append(given, f.Name) })
	return o, o.validate(given)
}

// define defines the agent's flags.
func (o *options) define(flags *flag.FlagSet) {
	flags.StringVar(&o.node, "node-name", os.Getenv("NODE_NAME"), "name of the node; with Kubernetes, that of its Node object (default $NODE_NAME; for a standalone agent, then the instance ID)")
	flags.StringVar(&o.cluster, "cluster-name", "", "cluster name, which is the value of the ENIs' tag networking.k8s.aws/cluster; must be the same for all agents and coordinators of a cluster (default the UID of the namespace kube-system; for a standalone agent, standalone)")
	flags.StringVar(&o.kubeconfig, "kubeconfig", os.Getenv("KUBECONFIG"), "path of a kubeconfig file (default $KUBECONFIG, then the pod's service account)")
	flags.BoolVar(&o.startupTaint, "startup-taint", false, "remove the taint "+v1alpha1.StartupTaint+" from the Node when all of its ENIs are ready")
	flags.BoolVar(&o.readyLabels, "node-ready-labels", false, "label the Node with "+v1alpha1.ReadyLabelPrefix+"NAME="+v1alpha1.ReadyLabelValue+" for each NodeENI whose ENIs are ready")
	flags.StringVar(&o.directory, "nodeeni-dir", "", "run as a standalone agent, which reads NodeENIs from the files (*.yaml, *.yml, *.json) in this directory instead of from Kubernetes, and which also detaches and deletes its own ENIs")
	flags.Func("node-labels", "standalone agent: `labels` of the node, such as ng=multi-eni,zone=a", func(text string) (err error) {
		if o.labels, err = labels.ConvertSelectorToLabelsMap(text); err != nil {
			return errors.New("must be labels such as ng=multi-eni,zone=a: " + strings.TrimPrefix(err.Error(), "<nil>: "))
		}
		return nil
	})
	flags.BoolVar(&o.labelsFromTags, "node-labels-from-tags", false, "standalone agent: use the instance's tags as labels of the node; --node-labels takes precedence")
	flags.StringVar(&o.stateFile, "state-file", defaultStateFile, "standalone agent: path of the file in which the agent keeps its report")
	o.Define(flags, "127.0.0.1:9480")
	flags.BoolVar(&o.eniCounters, "eni-counters", true, "serve the counters of the kernel and of the ENA driver for each ENI on /metrics; each scrape queries the devices")
	flags.BoolVar(&o.pods, "pods", false, "offer the ENIs of NodeENIs with spec.pods to pods, through the CNI plugin eni")
	definePodFiles(flags, &o.podFiles, "with --pods: ")
	flags.StringVar(&o.cniBinDir, "cni-bin-dir", cniplugin.DefaultDir, "with --pods: `directory` in which the container runtime looks for CNI plugins; the agent warns about missing plugins")
	flags.BoolVar(&o.onDemand, "on-demand", false, "offer the ENIs of NodeENIs with attach: OnDemand to ResourceClaims")
	flags.DurationVar(&o.onDemandIdle, "on-demand-idle", time.Minute, "with --on-demand: how long to keep an ENI attached after its last ResourceClaim, so that the next one gets it at once")
	defineClaimFiles(flags, &o.claimFiles, "with --on-demand: ")
	flags.Func("default-mtu", "MTU, in `bytes`, of the links whose NodeENI has mtu 0; 0 keeps the MTU that the driver set (default 0)", o.setDefaultMTU)
	flags.DurationVar(&o.releaseDelay, "release-delay", 5*time.Second, "how long to wait before releasing ENIs after the node has lost a label that a NodeENI selects; at most "+agent.MaxReleaseDelay.String())
}

// definePodFiles defines the flags for the paths of the files that the agent and the CNI
// plugin share.
func definePodFiles(flags *flag.FlagSet, p *agent.PodFiles, when string) {
	flags.StringVar(&p.NetworksDir, "pods-dir", podnetwork.DefaultNetworksDir, when+"`directory` of the network files, from which the CNI plugin reads what NodeENIs offer; networksDir in the plugin's configuration")
	definePodsDataDir(flags, &p.DataDir, when)
}

// defineClaimFiles defines the flags for the paths of the files that the agent and eni-dra
// share.
func defineClaimFiles(flags *flag.FlagSet, f *agent.ClaimFiles, when string) {
	flags.StringVar(&f.ClaimsDir, "claims-dir", claimnetwork.DefaultClaimsDir, when+"`directory` of the claim files, from which eni-dra reads which ENIs ResourceClaims have")
	flags.StringVar(&f.DataDir, "claims-data-dir", claimnetwork.DefaultDataDir, when+"`directory` in which eni-dra records which pods have which ENIs")
}

func definePodsDataDir(flags *flag.FlagSet, dir *string, when string) {
	flags.StringVar(dir, "pods-data-dir", podnetwork.DefaultDataDir, when+"`directory` in which the CNI plugin records which pods have which addresses; dataDir in the plugin's configuration")
}

// validate refuses flags that make no sense together.
func (o options) validate(given []string) error {
	if err := eni.CheckCluster(o.cluster); err != nil {
		return fmt.Errorf("--cluster-name: %w", err)
	}
	if o.releaseDelay < 0 || o.releaseDelay > agent.MaxReleaseDelay {
		return fmt.Errorf("--release-delay=%v: must be from 0s to %v, because the coordinator waits 15s (--release-grace) for an agent before it detaches an ENI", o.releaseDelay, agent.MaxReleaseDelay)
	}
	if o.onDemandIdle < 0 {
		return fmt.Errorf("--on-demand-idle=%v: must not be negative", o.onDemandIdle)
	}
	if o.onDemand && (!filepath.IsAbs(o.claimFiles.ClaimsDir) || !filepath.IsAbs(o.claimFiles.DataDir)) {
		return errors.New("--claims-dir and --claims-data-dir must be absolute paths, like in the flags of eni-dra")
	}
	if o.pods && (!filepath.IsAbs(o.podFiles.NetworksDir) || !filepath.IsAbs(o.podFiles.DataDir)) {
		return errors.New("--pods-dir and --pods-data-dir must be absolute paths, like in the configuration of the CNI plugin")
	}
	if !o.standsAlone() {
		if slices.Contains(given, "nodeeni-dir") {
			return errors.New("--nodeeni-dir is empty; set it to the directory of the NodeENI files")
		}
		if other := among(given, standaloneFlags); other != "" {
			return fmt.Errorf("%s is only for a standalone agent; set --nodeeni-dir as well, or remove this flag", other)
		}
		if o.node == "" {
			return errors.New("the node name is unknown; set --node-name, or set NODE_NAME from the field spec.nodeName")
		}
		return nil
	}
	switch other := among(given, clusterFlags); {
	case other != "":
		return fmt.Errorf("%s cannot be used with --nodeeni-dir, which runs the agent without Kubernetes; remove one of them", other)
	case len(o.labels) == 0 && !o.labelsFromTags:
		return errors.New("the node has no labels, so no NodeENI can select it; set --node-labels or --node-labels-from-tags")
	case o.stateFile == "":
		return errors.New("--state-file is empty; the agent needs it to find its ENIs again after a restart")
	}
	return nil
}

func (o *options) setDefaultMTU(text string) error {
	mtu, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		return errors.New("must be a number of bytes, such as 9001")
	}
	o.defaultMTU = int32(mtu)
	return v1alpha1.CheckMTU(o.defaultMTU)
}

// among lists those of the given flags that are of a mode.
func among(given, of []string) string {
	var found []string
	for _, name := range given {
		if slices.Contains(of, name) {
			found = append(found, "--"+name)
		}
	}
	return strings.Join(found, ", ")
}
