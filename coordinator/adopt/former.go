// Package adopt makes the ENIs of aws-multi-eni-controller, which served the kind NodeENI
// before, ENIs of this project where they are, and gives them back. Read collects what the
// API server and EC2 show, decide and giveBack are pure functions, and the executor only
// changes tags of ENIs, and finalizers and status of NodeENIs.
package adopt

import (
	"fmt"
	"strings"
	"time"
)

// What the former controller leaves in EC2 and in the cluster.
const (
	// FormerTag and FormerTagValue are on every ENI that it created.
	FormerTag      = "kubernetes.io/cluster/managed-by"
	FormerTagValue = "nodeeni-controller"
	// FormerNodeENI and FormerNode are tags with the names of what an ENI is for.
	FormerNodeENI = "NodeENI"
	FormerNode    = "Node"
	// FormerFinalizer is on its NodeENIs.
	FormerFinalizer = "nodeeni.networking.k8s.aws/finalizer"
	// FormerStatus is the status of an attachment that is in order.
	FormerStatus = "attached"

	formerLease      = "nodeeni-controller-leader-election"
	formerController = "eni-controller"
	formerManager    = "eni-manager"
)

// workload is what matters of a Deployment or a DaemonSet.
type workload struct {
	Metadata struct {
		Name, Namespace string
		Generation      int64
	}
	Spec struct {
		Replicas *int32
		Template struct {
			Spec struct {
				Containers []struct {
					Name string
					Args []string
				}
			}
		}
	}
	Status struct {
		ObservedGeneration                             int64
		Replicas                                       int32
		DesiredNumberScheduled, CurrentNumberScheduled int32
	}
}

// pod is what matters of a Pod.
type pod struct {
	Metadata struct {
		Name, Namespace string
		Labels          map[string]string
	}
	Spec   struct{ NodeName string }
	Status struct{ Phase string }
}

func (p pod) runs() bool { return p.Status.Phase != "Succeeded" && p.Status.Phase != "Failed" }

// lease is what matters of a Lease.
type lease struct {
	Metadata struct{ Name, Namespace string }
	Spec     struct {
		HolderIdentity       string
		LeaseDurationSeconds int64
		RenewTime            time.Time
	}
}

// held says whether the Lease has a holder that has renewed it in time.
func (l lease) held(now time.Time) bool {
	return l.Spec.HolderIdentity != "" && now.Before(l.Spec.RenewTime.Add(time.Duration(l.Spec.LeaseDurationSeconds)*time.Second))
}

// programs is what the cluster shows of programs that must not run meanwhile.
type programs struct {
	Deployments, DaemonSets []workload
	Pods                    []pod
	Leases                  []lease
}

// blockers says which of the programs run, and how to stop each.
func (p programs) blockers(now time.Time) (all []string) {
	said := map[string]bool{}
	for _, d := range p.Deployments {
		replicas := int32(1)
		if d.Spec.Replicas != nil {
			replicas = *d.Spec.Replicas
		}
		if replicas = max(replicas, d.Status.Replicas); replicas == 0 {
			continue
		}
		said[d.Metadata.Namespace+"/"+d.Metadata.Name] = true
		all = append(all, fmt.Sprintf("Deployment %s/%s has %s; stop it:\n  kubectl -n %s scale deployment %s --replicas=0",
			d.Metadata.Namespace, d.Metadata.Name, number(int(replicas), "replica"), d.Metadata.Namespace, d.Metadata.Name))
	}
	for _, d := range p.DaemonSets {
		nodes := max(d.Status.DesiredNumberScheduled, d.Status.CurrentNumberScheduled)
		if nodes == 0 && d.Status.ObservedGeneration >= d.Metadata.Generation {
			continue
		}
		said[d.Metadata.Namespace+"/"+d.Metadata.Name] = true
		all = append(all, fmt.Sprintf("DaemonSet %s/%s runs on %s; keep it off all nodes:\n  kubectl -n %s patch daemonset %s --type merge -p '{\"spec\":{\"template\":{\"spec\":{\"nodeSelector\":{\"eni-by\":\"nothing\"}}}}}'",
			d.Metadata.Namespace, d.Metadata.Name, number(int(nodes), "node"), d.Metadata.Namespace, d.Metadata.Name))
	}
	return append(append(all, p.pods(said)...), p.leases(now)...)
}

// pods are those that run although their Deployment or DaemonSet has been stopped, or that
// have none.
func (p programs) pods(said map[string]bool) (all []string) {
	for _, pod := range p.Pods {
		app := pod.Metadata.Labels["app"]
		if app == "" {
			app = "eni-" + pod.Metadata.Labels["app.kubernetes.io/component"]
		}
		if !pod.runs() || said[pod.Metadata.Namespace+"/"+app] {
			continue
		}
		all = append(all, fmt.Sprintf("pod %s/%s still runs on node %s; wait until it is gone:\n  kubectl -n %s wait --for=delete pod/%s",
			pod.Metadata.Namespace, pod.Metadata.Name, pod.Spec.NodeName, pod.Metadata.Namespace, pod.Metadata.Name))
	}
	return all
}

func (p programs) leases(now time.Time) (all []string) {
	for _, l := range p.Leases {
		if l.held(now) {
			all = append(all, fmt.Sprintf("the Lease %s/%s is held by %s, which renewed it %v ago; stop that process, wherever it runs, and wait %d seconds",
				l.Metadata.Namespace, l.Metadata.Name, l.Spec.HolderIdentity, now.Sub(l.Spec.RenewTime).Round(time.Second), l.Spec.LeaseDurationSeconds))
		}
	}
	return all
}

// number is a count with its noun.
func number(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

// list joins at most a few texts.
func list(all []string) string {
	const most = 5
	if len(all) > most {
		return strings.Join(all[:most], ", ") + fmt.Sprintf(", and %d more", len(all)-most)
	}
	return strings.Join(all, ", ")
}
