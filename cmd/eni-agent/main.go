// Command eni-agent creates, attaches, and configures the ENIs that NodeENIs request for
// the node on which it runs.
package main

import (
	"os"

	"github.com/aws-multi-eni/aws-multi-eni/internal/program"
)

const name = "eni-agent"

const usage = `eni-agent creates, attaches, and configures the ENIs that NodeENIs request for the
node on which it runs. A standalone agent runs without Kubernetes and reads NodeENIs
from files.

Usage:
  eni-agent [flags]               run the agent until it receives SIGTERM
  eni-agent status [flags]        show the ENIs of a standalone agent
  eni-agent cleanup [flags]       remove the ENIs of a standalone agent
  eni-agent doctor [flags]        check whether an agent can work on this node
  eni-agent install-cni [flags]   install the CNI plugin eni
  eni-agent version               print the version

Examples:
  # The agent of the node node-1 of a cluster
  eni-agent --node-name=node-1 --kubeconfig=/etc/eni-agent/kubeconfig

  # A standalone agent
  eni-agent --nodeeni-dir=/etc/eni-agent/nodeeni.d --node-labels=ng=multi-eni
`

func main() {
	os.Exit(program.Main(name, serve, map[string]program.Command{
		"status":  status,
		"cleanup": cleanup,
		"doctor":  examine,
		"version": program.PrintVersion,

		"install-cni": installCNI,
	}))
}
