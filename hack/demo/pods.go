package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/sim"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

// podNetwork is the configuration of a NetworkAttachmentDefinition for the sample with pods.
const (
	podNetwork = `{"cniVersion": "1.0.0", "name": "storage", "type": "eni", "nodeENI": "storage"}`
	podLink    = "net1"
)

// attachedPod is a pod with its address of an ENI.
type attachedPod struct {
	*testbed.Pod
	address netip.Addr
}

// attachPods gives pods on two nodes addresses of their nodes' ENIs, lets them ping each
// other, and ends them.
func (d *demo) attachPods(ctx context.Context) error {
	d.out.chapter("6. Attach pods to an ENI with the CNI plugin")
	d.out.text(`In this demo, a pod is a network namespace. It is attached as Multus attaches a
pod to a NetworkAttachmentDefinition with this configuration:`)
	d.out.printf("\n")
	d.out.text(podNetwork)
	d.out.printf("\n")
	d.out.text(fmt.Sprintf("%-8s %-8s %-11s %-13s %-16s %s", "POD", "NODE", "ZONE", "ADDRESS", "PREFIX", "ATTACHED IN"))
	before := d.callsOfAgents()
	var pods []attachedPod
	for _, p := range [][2]string{{"reader", pinging}, {"writer", pinged}} {
		pod, err := d.attach(ctx, p[0], p[1])
		if pod.Pod != nil {
			defer pod.Remove() //nolint:errcheck // its namespace ends with the demo at the latest
		}
		if err != nil {
			return fmt.Errorf("attach the pod %s on %s: %w", p[0], p[1], err)
		}
		pods = append(pods, pod)
	}
	d.out.printf("\n")
	for i, from := range pods {
		to := pods[1-i]
		took, err := ping(from.Namespace, from.address, to.address, numberOfRequests)
		if err != nil {
			return errors.Join(err, d.noDrops())
		}
		d.out.text(fmt.Sprintf("%s → %s: %d echo requests, %d replies, slowest after %.2f ms",
			from.Name, to.Name, numberOfRequests, len(took), float64(slices.Max(took))/float64(time.Millisecond)))
	}
	for _, p := range pods {
		if err := p.Detach(ctx, podLink, podNetwork); err != nil {
			return fmt.Errorf("detach the pod %s: %w", p.Name, err)
		}
	}
	if err := d.noDrops(); err != nil {
		return err
	}
	d.out.text(fmt.Sprintf("the VPC dropped no packets; attaching and detaching the pods took %d EC2 calls", d.callsOfAgents()-before))
	return nil
}

// callsOfAgents counts the EC2 calls of all nodes.
func (d *demo) callsOfAgents() int {
	n := 0
	for _, call := range d.tb.Sim.Cloud().Calls() {
		if slices.ContainsFunc(d.tb.Sim.Nodes(), func(n sim.Node) bool { return cloud.AccessKeyID(n.ID) == call.SourceID }) {
			n++
		}
	}
	return n
}

// attach makes a pod on a node, attaches it and shows what it has.
func (d *demo) attach(ctx context.Context, name, node string) (attachedPod, error) {
	made, err := d.tb.NewPod(node, name)
	if err != nil {
		return attachedPod{}, err
	}
	pod := attachedPod{Pod: made}
	began := time.Now()
	result, err := made.Attach(ctx, podLink, podNetwork)
	took := time.Since(began)
	if err != nil {
		return pod, err
	}
	if len(result.IPs) == 0 {
		return pod, errors.New("the plugin assigned no address")
	}
	pod.address, _ = netip.AddrFromSlice(result.IPs[0].Address.IP)
	pod.address = pod.address.Unmap()
	for _, e := range d.tb.ENIs() {
		for _, prefix := range e.IPv4Prefixes {
			if prefix.Contains(pod.address) {
				d.out.text(fmt.Sprintf("%-8s %-8s %-11s %-13s %-16s %.0f ms", name, node, made.Node.Zone, pod.address, prefix, float64(took)/float64(time.Millisecond)))
				return pod, nil
			}
		}
	}
	return pod, fmt.Errorf("%v does not belong to any ENI in EC2", pod.address)
}
