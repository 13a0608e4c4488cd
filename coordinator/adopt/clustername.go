package adopt

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// checkName returns an error if agents or coordinators are installed that have another
// cluster name: they would not recognize the adopted ENIs, and agents would create others.
func (r *Run) checkName(ctx context.Context, own programs) error {
	for _, w := range slices.Concat(own.DaemonSets, own.Deployments) {
		for _, container := range w.Spec.Template.Spec.Containers {
			name, readable := clusterName(container.Args)
			if container.Name != "eni-agent" && container.Name != "eni-coordinator" || !readable {
				continue // such as a sidecar
			}
			if name == "" {
				id, err := r.Kube.ClusterID(ctx)
				if err != nil {
					return err
				}
				name = id
			}
			if name != r.Cluster {
				return fmt.Errorf("%s/%s has the cluster name %s, but this command has %s; nothing was changed; run the command again with --cluster-name %[3]s", w.Metadata.Namespace, w.Metadata.Name, name, r.Cluster)
			}
		}
	}
	return nil
}

// clusterName is the value of --cluster-name among the arguments of a container, "" if there
// is none. It is not readable if the kubelet takes it from a variable.
func clusterName(args []string) (name string, readable bool) {
	for i, arg := range args {
		flag, value, found := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if flag != "cluster-name" || !strings.HasPrefix(arg, "-") {
			continue
		}
		if !found && i+1 < len(args) {
			value = args[i+1]
		}
		name = value
	}
	return name, !strings.Contains(name, "$(")
}
