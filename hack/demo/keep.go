package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

const keepText = `Until you press Ctrl-C here, play with it from another terminal, in the source tree:

  export KUBECONFIG=%s
  export ENI_SIM_ADMIN=%s
  export AWS_ENDPOINT_URL_EC2=%s AWS_REGION=%s AWS_DEFAULT_REGION=%[4]s
  export AWS_ACCESS_KEY_ID=simulated AWS_SECRET_ACCESS_KEY=simulated

  kubectl get nodeenis                          what is wanted, and how many nodes have it
  kubectl get nodeenistates -o yaml             what each agent reports
  kubectl label node node-1 ng-                 take its ENIs from a node
  kubectl label node node-1 ng=multi-eni        and give it new ones
  kubectl delete nodeeni storage                collect the ENIs of a NodeENI
  kubectl describe node node-1                  the events of a node's ENIs
  aws ec2 describe-network-interfaces           what the simulated EC2 has
  %-45[5]s run a command on a node
  tail -f %[6]s/agent-node-1.log

The Nodes have no kubelet, and there is no controller manager: no pod runs, and the
report of a Node that you delete stays. More to try, such as faults of EC2 and
terminated instances: docs/simulator.md.
`

// leaveRunning shows how to use what runs, until Ctrl-C.
func (d *demo) leaveRunning(ctx context.Context) error {
	kubeconfig, err := d.tb.AdminKubeconfig()
	if err != nil {
		return err
	}
	root, err := testbed.Root(ctx)
	if err != nil {
		return err
	}
	d.out.chapter("7. It is all yours")
	d.out.text(fmt.Sprintf(keepText, kubeconfig, d.tb.Sim.AdminURL(), d.tb.Sim.EC2URL(), d.tb.Sim.Topology().Region,
		simProgram(root, d.programs)+" exec node-1 -- ip addr", d.dir))
	d.kept = true
	<-ctx.Done()
	return ctx.Err()
}

// simProgram is how to call eni-sim from the top of the source tree: built, as
// make does, or not.
func simProgram(root, programs string) string {
	built := filepath.Join(programs, "eni-sim")
	if _, err := os.Stat(built); err != nil {
		return "go run ./cmd/eni-sim"
	}
	if short, err := filepath.Rel(root, built); err == nil && filepath.IsLocal(short) {
		return short
	}
	return built
}
