package agent

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/agent/retry"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/podnetwork"
)

// resourceChange is what is to change about the Node's extended resources: quantities by
// name, "" for one that is to be removed.
type resourceChange map[string]string

// changeResources compares the extended resources that the Node has with what its NodeENIs
// offer to pods. While a NodeENI is degraded, or it is not known what it offers, its
// resource stays as it is, for the reasons that its label does. One that the Node lacks is
// as good as 0 for the scheduler, so it comes with the first ENI that is ready. A Node
// without any capacity waits for its kubelet.
func changeResources(s Snapshot, all map[types.UID]nodeENIReadiness, forPods map[types.UID]string, networks []podnetwork.Network) resourceChange {
	if !s.tellsAll() || s.Resources == nil {
		return nil
	}
	change, stays := resourceChange{}, map[string]bool{}
	for uid, nodeENI := range forPods {
		known := slices.ContainsFunc(networks, func(n podnetwork.Network) bool { return n.NodeENIUID == string(uid) })
		stays[v1alpha1.PodResource(nodeENI)] = !known || all[uid].state == degraded
	}
	for name := range s.Resources {
		if strings.HasPrefix(name, v1alpha1.PodResourcePrefix) {
			change[name] = ""
		}
	}
	for _, network := range networks {
		name := v1alpha1.PodResource(network.NodeENI)
		// In the form in which the API server writes it, or it would always differ.
		quantity := resource.NewQuantity(int64(network.Capacity()), resource.DecimalSI).String()
		if shown, ok := s.Resources[name]; shown == quantity || !ok && quantity == "0" {
			delete(change, name)
		} else {
			change[name] = quantity
		}
	}
	maps.DeleteFunc(change, func(name, _ string) bool { return stays[name] })
	return change
}

// patch is the change of that Node as JSON patch of its status.
func (c resourceChange) patch(s Snapshot) []byte {
	p := patchOf(s)
	for _, name := range slices.Sorted(maps.Keys(c)) {
		path := "/status/capacity/" + escape(name)
		if c[name] == "" {
			p.remove(path)
		} else {
			p.add(path, c[name])
		}
	}
	return p.text()
}

// advertised is what was changed last about the Node's extended resources, and when.
type advertised struct {
	change resourceChange
	at     time.Time
}

// errUndone: what was advertised a moment ago had to be advertised again.
var errUndone = retry.With(retry.Conflict, errors.New("another client keeps reverting them"))

// undoneWithin is how soon after the last patch a change back is taken for a client's that
// will do it again. A kubelet changes them when it registers its Node again, and no more.
const undoneWithin = time.Minute

// advertise takes in that the Node was changed. It fails if the same had been done a moment
// before: the next patch then waits a little, and more each time.
func (a *advertised) advertise(c resourceChange, now time.Time) error {
	again := false
	for name, quantity := range c {
		was, done := a.change[name]
		again = again || done && was == quantity && now.Sub(a.at) < undoneWithin
	}
	if a.change == nil {
		a.change = resourceChange{}
	}
	maps.Copy(a.change, c)
	a.at = now
	if again {
		return errUndone
	}
	return nil
}
