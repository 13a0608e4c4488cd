package main

import "fmt"

// how says how the figures were taken.
func how() []string {
	return []string{
		fmt.Sprintf("A kube-apiserver with etcd, a coordinator and %d agents are real processes on this one machine, each agent in the network namespace of its node, where it talks netlink to the kernel. EC2, the metadata service and the VPC are simulated (internal/sim) by the benchmark's own process: a Describe takes 60 ms, any other call 300 ms, a link appears 700 ms after its attach was accepted. With \"EC2 in no time\" all of these take 2 ms. etcd does not wait for its disk.", nodes),
		"A sample is a node that has nothing: no ENI in EC2, no entry in its report, no subnet or group looked up. It gets the label that a NodeENI selects (one subnet, by name; one group, by name; MTU 1500; deleteOnTermination), and loses it again when its ENI is Ready. It begins when the label is sent to the API server, and ends when somebody who watches NodeENIStates has seen Ready.",
		"EC2's own time is the union of two things: when a call of that node was under way, by the simulator's log, and the time from the arrival of the attach call to RTM_NEWLINK in the node's namespace. All that remains counts as own time, also what HTTP, the API server and waiting for one of the machine's cores take.",
		"What the kernel does is seen by a listener on the node's netlink, and timed when the benchmark's process reads it.",
		"A link is a veth end that is created in the node's namespace with the ENI's MAC. It has no driver to start and no udev that renames it; with real hardware that comes on top.",
		fmt.Sprintf("\"%d ENIs on one node\" are as many NodeENIs, all selected by one label. \"Others change the node\" adds and deletes an address on the node's loopback link, as pods that come and go do.", enisPerNode),
		"An agent looks at the host at once when something on it changes, and then again after 100 ms at the earliest, or after 10 ms while it awaits a link. So what somebody deletes again and again stays away for 100 ms each time.",
		"Nodes share this machine's kernel: laps wait until the links of those before are gone, because the kernel takes links away under one lock for all namespaces.",
	}
}
