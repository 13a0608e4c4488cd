// Package coordinator does what one process in the cluster has to do: it
// collects the ENIs that are left over when nodes depart and NodeENIs go, and
// it sums the agents' reports up in the status of each NodeENI. Nothing here
// stands in the way of a node that comes up.
//
// One leader works, the others watch. Two that both believe they lead do no
// harm: every action rests on what EC2 and the API server show, says the same
// when said twice, and is refused by EC2 when the facts have moved on.
//
// Each part of the state has one owner (docs/architecture.md has the order of a sweep):
//
//	caches, history    what the API server shows, and what was seen to go
//	triggers           connect changes to queue and marks, which wake the loops
//	sweeper            describes, decides (leftOver, nextStep) and has steps carried out
//	verifier           holds what EC2 shows against Nodes and reports
//	statusWriter       writes what statusOf sums up, at a bounded rate
package coordinator
