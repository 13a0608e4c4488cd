package files

import (
	"cmp"
	"context"
	"errors"
	"log/slog"

	"github.com/aws-multi-eni/aws-multi-eni/agent"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// Nothing is a Source that wants no ENI, for an agent that removes them all. It
// keeps the state file, so that what is interrupted can go on.
type Nothing struct {
	file    *StateFile
	state   State
	changed func(v1alpha1.NodeENIStateStatus)
}

var _ agent.Source = (*Nothing)(nil)

// NewNothing makes one. cluster may be "": then the state tells it, or
// DefaultCluster is meant. changed is called with each new report.
func NewNothing(file *StateFile, instanceID, cluster string, log *slog.Logger, changed func(v1alpha1.NodeENIStateStatus)) (*Nothing, error) {
	state, err := open(file, instanceID, cluster, log)
	if err != nil {
		return nil, err
	}
	state.Cluster = cmp.Or(cluster, state.Cluster, DefaultCluster)
	state.Metadata.Name = cmp.Or(state.Metadata.Name, instanceID)
	return &Nothing{file: file, state: state, changed: changed}, nil
}

// Cluster is the value of the ENIs' cluster tag.
func (n *Nothing) Cluster() string { return n.state.Cluster }

// Node is the node's name.
func (n *Nothing) Node() string { return n.state.Metadata.Name }

// Snapshot implements agent.Source.
func (n *Nothing) Snapshot() (agent.Snapshot, bool) { return agent.Snapshot{NodeExists: true}, true }

// Changed implements agent.Source.
func (n *Nothing) Changed() <-chan struct{} { return nil }

// Load implements agent.Source.
func (n *Nothing) Load(context.Context) (v1alpha1.NodeENIStateStatus, error) {
	return *n.state.Status.DeepCopy(), nil
}

// Save implements agent.Source.
func (n *Nothing) Save(_ context.Context, report v1alpha1.NodeENIStateStatus) error {
	n.state.Status = report
	n.changed(report)
	return n.file.write(n.state)
}

// Counts implements agent.Source: nothing is known of other nodes.
func (n *Nothing) Counts(context.Context, string) (v1alpha1.NodeCounts, error) {
	return v1alpha1.NodeCounts{}, errors.ErrUnsupported
}

// Refresh implements agent.Source.
func (n *Nothing) Refresh(context.Context) error { return nil }
