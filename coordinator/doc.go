// Package coordinator does what one process in the cluster has to do: it
// collects the ENIs that are left over when nodes depart and NodeENIs go, and
// it sums the agents' reports up in the status of each NodeENI. Nothing here
// stands in the way of a node that comes up.
//
// One leader works, the others watch. Two that both believe they lead do no
// harm: every action rests on what EC2 and the API server show, says the same
// when said twice, and is refused by EC2 when the facts have moved on.
//
// The parts, each a loop or a pure function:
//
//	caches        what the API server shows, and which deletions were seen
//	leftOver      decides whether an ENI is left over, and why
//	nextStep      decides what to do about it now
//	sweeper       describes, decides, and has the steps carried out
//	scope         what a sweep describes: all, or what events concern
//	liveEvidence  asks the API server once more before each step
//	statusOf      sums reports up; statusWriter writes it, at a bounded rate
package coordinator
