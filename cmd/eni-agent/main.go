// Command eni-agent gives the node it runs on the ENIs that NodeENIs ask for.
package main

import (
	"os"

	"github.com/aws-multi-eni/aws-multi-eni/internal/program"
)

const name = "eni-agent"

const usage = `eni-agent gives the node it runs on the ENIs that NodeENIs ask for.

  eni-agent [flags]            serve, until SIGTERM
  eni-agent status [flags]     show what an agent without Kubernetes has
  eni-agent cleanup [flags]    take the ENIs of an agent without Kubernetes away again
  eni-agent doctor [flags]     tell what would keep the agent from its work here
  eni-agent install-cni --to   put the CNI plugin eni where the container runtime finds it
  eni-agent version            print the version

Without Kubernetes, NodeENIs are files in a directory:

  eni-agent --nodeeni-dir /etc/eni-agent/nodeeni.d --node-labels ng=multi-eni
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
