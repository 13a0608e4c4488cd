// Command eni-dra moves the ENIs of ResourceClaims into pods.
package main

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/dra"
	"github.com/aws-multi-eni/aws-multi-eni/internal/claimnetwork"
	"github.com/aws-multi-eni/aws-multi-eni/internal/driver"
	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
	"github.com/aws-multi-eni/aws-multi-eni/internal/program"
)

const name = "eni-dra"

const usage = `eni-dra moves the ENIs of ResourceClaims into pods, and back when the pods end. It runs
on each node next to eni-agent, which creates the ENIs. It is a DRA plugin of the kubelet
and an NRI plugin of the container runtime.

Usage:
  eni-dra [flags]    run until it receives SIGTERM
  eni-dra version    print the version

Examples:
  # With the root directory of the kubelet on k0s
  eni-dra --kubelet-dir=/var/lib/k0s/kubelet
`

const (
	// patience is how long preparing a claim waits for the agent. The kubelet waits for 45 s.
	patience = 30 * time.Second
	// moveLimit is how long one move may take. It usually takes less than 100 ms.
	moveLimit = time.Minute
)

func main() {
	os.Exit(program.Main(name, serve, map[string]program.Command{"version": program.PrintVersion}))
}

func serve(ctx context.Context, args []string) error {
	flags := program.Flags(name, usage)
	var o program.Options
	o.Define(flags, "127.0.0.1:9481")
	cfg := dra.Config{Patience: patience}
	flags.StringVar(&cfg.ClaimsDir, "claims-dir", claimnetwork.DefaultClaimsDir, "`directory` in which the agent writes the ENIs of claims")
	flags.StringVar(&cfg.DataDir, "claims-data-dir", claimnetwork.DefaultDataDir, "`directory` in which to record which pods have ENIs")
	flags.StringVar(&cfg.KubeletDir, "kubelet-dir", driver.DefaultKubeletDir, "root `directory` of the kubelet; it must have the same path here and for the kubelet")
	flags.StringVar(&cfg.NRISocket, "nri-socket", driver.DefaultNRISocket, "`path` of the NRI socket of the container runtime")
	flags.StringVar(&cfg.SysctlDir, "sysctl-dir", "/proc/sys/net", "`directory` in which to write sysctls of the network of pods; in a container, /proc/sys/net is read-only, so mount that of the host")
	if err := program.ParseFlags(flags, args); err != nil {
		return err
	}
	service, err := o.Start(ctx, "eni_dra")
	if err != nil {
		return err
	}
	host, err := netns.Open("/proc/self/ns/net")
	if err != nil {
		return err
	}
	cfg.Log, cfg.Metrics, cfg.Heartbeat = service.Log, dra.NewMetrics(service.Metrics), program.NewHeartbeat("move of ENIs", moveLimit)
	plugin := dra.New(cfg, host)
	dra.Observe(service.Metrics, plugin)
	service.Health.Live("moves", cfg.Heartbeat.Check)
	service.Health.Ready("kubelet", plugin.Kubelet)
	service.Health.Ready("runtime", plugin.Runtime)
	return errors.Join(plugin.Run(ctx), host.Close())
}
