package main

import (
	"context"
	"fmt"
)

const keepText = `Until you press Ctrl-C here, play with it from another terminal, in the source tree:

  export KUBECONFIG=%s
  export ENI_SIM_ADMIN=%s
  export AWS_ENDPOINT_URL_EC2=%s AWS_REGION=%s
  export AWS_ACCESS_KEY_ID=simulated AWS_SECRET_ACCESS_KEY=simulated

  kubectl get nodeenis                          what is wanted, and how many nodes have it
  kubectl get nodeenistates -o yaml             what each agent reports
  kubectl label node node-1 ng-                 take its ENIs from a node
  kubectl label node node-1 ng=multi-eni        and give it new ones
  kubectl delete nodeeni storage                collect the ENIs of a NodeENI
  aws ec2 describe-network-interfaces           what the simulated EC2 has
  go run ./cmd/eni-sim exec node-1 -- ip addr   run a command on a node
  tail -f %s/agent-node-1.log
`

// leaveRunning says how to play with what is there, until Ctrl-C.
func (d *demo) leaveRunning(ctx context.Context) error {
	kubeconfig, err := d.tb.AdminKubeconfig()
	if err != nil {
		return err
	}
	d.out.chapter("6. It is all yours")
	d.out.text(fmt.Sprintf(keepText, kubeconfig, d.tb.Sim.AdminURL(), d.tb.Sim.EC2URL(), d.tb.Sim.Topology().Region, d.dir))
	d.kept = true
	<-ctx.Done()
	return ctx.Err()
}
