// Package fleet runs many agents on one machine, to see how they, the
// coordinator, the API server and EC2's limits get along at the size of a large
// cluster.
//
// Real are: the agent's loop with its Kubernetes source, Recorder and metrics;
// client-go with a connection of its own per agent, TLS, and a token bound to
// the agent's Node; the AWS SDK with a connection of its own per agent; the API
// server with etcd, CRDs, RBAC and admission policy; the coordinator, in a
// process of its own. Simulated are EC2 (internal/sim) and, in memory, each
// node's links and metadata service.
package fleet
