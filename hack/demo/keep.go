package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

const keepText = `The cluster runs until you press Ctrl-C here. To try it out, open another terminal in
the source tree and set these variables:

  export KUBECONFIG=%s
  export ENI_SIM_ADMIN=%s
  export AWS_ENDPOINT_URL_EC2=%s AWS_REGION=%s AWS_DEFAULT_REGION=%[4]s
  export AWS_ACCESS_KEY_ID=simulated AWS_SECRET_ACCESS_KEY=simulated

Some commands to try:

  kubectl get nodeenis                          the NodeENIs, and how many nodes are ready
  kubectl get nodeenistates -o yaml             the report of each agent
  kubectl label node node-1 ng-                 remove the ENIs of a node
  kubectl label node node-1 ng=multi-eni        add new ENIs to it
  kubectl delete nodeeni storage                delete a NodeENI with its ENIs
  kubectl describe node node-1                  the Events of a node's ENIs
  aws ec2 describe-network-interfaces           the ENIs in the simulated EC2
  %-45[5]s run a command on a node
  tail -f %[6]s/agent-node-1.log

This cluster has neither kubelets nor a controller manager, so no pods run, and the
NodeENIState of a Node that you delete remains. docs/simulator.md describes more that
you can try, such as EC2 failures and terminated instances.
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
	d.out.chapter("7. Try it out")
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
