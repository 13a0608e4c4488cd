package doctor

import (
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/driver"
)

// enableOnDemand is how the agent gets what it needs for ENIs on demand.
const enableOnDemand = "set onDemand.enabled=true in the Helm chart, or add the component manifests/on-demand"

// Checks of ENIs on demand.
const (
	slicesCheck  = "ResourceSlices"
	claimsCheck  = "permissions for claims"
	classCheck   = "DeviceClass"
	draCheck     = "eni-dra"
	kubeletCheck = "kubelet and eni-dra"
	nriCheck     = "NRI"
	placesCheck  = "ENIs on demand"
	enableNRI    = "containerd 2.0 and later enable NRI by default; for containerd 1.7, set disable = false in the section [plugins.\"io.containerd.nri.v1.nri\"] of /etc/containerd/config.toml; for CRI-O, set enable_nri = true in the section [crio.nri]; then restart the runtime"
)

// checkOnDemand: whether pods of this node can claim ENIs.
func checkOnDemand(f Facts) []Result {
	if f.OnDemand == nil {
		return nil
	}
	return slices.Concat(checkPlaces(f), f.OnDemand.API.check(), f.OnDemand.DRA.check(), f.OnDemand.checkHost(f.HostHidden))
}

// checkPlaces: how many ENIs on demand there can be.
func checkPlaces(f Facts) (results []Result) {
	if f.EC2 == nil || f.EC2.Forecast == nil {
		return nil
	}
	for _, p := range f.EC2.Forecast.Places {
		on := fmt.Sprintf("NodeENI %s in %s on network card %d", p.NodeENI, p.SubnetID, p.NetworkCard)
		if p.Number == 0 {
			results = append(results, warning(placesCheck, "use a larger instance type, or fewer ENIs that are always attached", "%s: the instance has no room for an ENI", on))
			continue
		}
		results = append(results, ok(placesCheck, "%s: room for %s", on, count(int(p.Number), "ENI")))
	}
	return results
}

func (a *OnDemandAPI) check() []Result {
	if a == nil {
		return nil
	}
	return []Result{a.checkSlices(), a.checkRights(), a.checkClass()}
}

// checkSlices: whether the API server takes the node's ResourceSlices as they are.
func (a *OnDemandAPI) checkSlices() Result {
	if a.SlicesErr == nil {
		return ok(slicesCheck, "the API server serves resource.k8s.io/v1 and keeps all fields that ENIs on demand need")
	}
	message, action := split(a.SlicesErr.Error(), enableOnDemand)
	return failure(slicesCheck, action, "the agent cannot offer ENIs to pods: %s", message)
}

func (a *OnDemandAPI) checkRights() Result {
	switch {
	case a.LackingErr != nil:
		return skipped(claimsCheck, "the API server does not report the permissions: %v", a.LackingErr)
	case len(a.Lacking) > 0:
		return failure(claimsCheck, enableOnDemand+", which have the ClusterRole eni-agent-on-demand", "these credentials do not have the permissions: %s", strings.Join(a.Lacking, ", "))
	}
	return ok(claimsCheck, "these credentials can read Pods and ResourceClaims, write the status of ResourceClaims, and write ResourceSlices")
}

func (a *OnDemandAPI) checkClass() Result {
	switch {
	case a.ClassErr == nil:
		return ok(classCheck, "%s exists", driver.Name)
	case apierrors.IsNotFound(a.ClassErr):
		return failure(classCheck, enableOnDemand+", or write a DeviceClass of your own, as in examples/on-demand", "there is no DeviceClass %s, so pods whose claims name it stay Pending", driver.Name)
	}
	return skipped(classCheck, "cannot read it with these credentials; see kubectl get deviceclass %s", driver.Name)
}

// check: whether eni-dra is ready, which it is while the kubelet has registered it and the
// container runtime is connected.
func (c *Container) check() []Result {
	switch {
	case c == nil:
		return nil
	case c.Err != nil:
		return []Result{skipped(draCheck, "cannot read the agent's pod: %v", c.Err)}
	case c.Pod == "":
		return []Result{skipped(draCheck, "no agent runs as a pod on this node")}
	case !c.Exists:
		return []Result{failure(draCheck, enableOnDemand, "the agent's pod %s has no container eni-dra, so pods with claims do not start", c.Pod)}
	case !c.Ready:
		return []Result{failure(draCheck, fmt.Sprintf("see its log: kubectl -n %s logs %s -c eni-dra", c.Namespace, c.Pod),
			"not ready: the kubelet has not registered it, or the container runtime is not connected by NRI")}
	}
	return []Result{ok(draCheck, "registered with the kubelet, and connected to the container runtime")}
}

// checkHost: whether the kubelet and the container runtime can be reached.
func (o *OnDemand) checkHost(hidden string) []Result {
	if o.Missing == nil {
		return []Result{skipped(kubeletCheck, "%s", hidden), skipped(nriCheck, "%s", hidden)}
	}
	var results []Result
	missing := func(role string) (string, bool) {
		path, is := o.Missing[role]
		return fmt.Sprintf("%s, %s, does not exist", path, role), is
	}
	if text, is := missing(pluginRegistry); is {
		results = append(results, failure(kubeletCheck, "set onDemand.kubeletDir in the Helm chart, or --kubelet-dir of eni-dra, to the root directory of the kubelet, such as /var/lib/k0s/kubelet", "%s", text))
	} else if text, is := missing(pluginSocket); is {
		results = append(results, failure(kubeletCheck, "check that eni-dra runs, and that its --kubelet-dir is "+o.KubeletDir+"; otherwise, "+enableOnDemand, "%s", text))
	} else if text, is := missing(registration); is {
		results = append(results, failure(kubeletCheck, "check the log of eni-dra", "%s", text))
	} else {
		results = append(results, ok(kubeletCheck, "the sockets of eni-dra exist in %s", o.KubeletDir))
	}
	if text, is := missing(nriSocket); is {
		return append(results, failure(nriCheck, enableNRI, "%s, so eni-dra cannot move ENIs into pods", text))
	}
	return append(results, ok(nriCheck, "%s exists", driver.DefaultNRISocket))
}

// OnDemand says whether a NodeENI with attach: OnDemand selects this node.
func (w *Wanted) OnDemand() bool {
	return slices.ContainsFunc(w.selecting(), func(n *v1alpha1.NodeENI) bool { return n.Spec.Attach == v1alpha1.AttachOnDemand })
}
