package agent

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/agent/retry"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/imds"
)

// changedNodeENIs are the NodeENIs that have changed, or select the node otherwise
// than before, and that concern it: before the change or after it.
func changedNodeENIs(seen, after map[types.UID]int64, selecting, selects map[types.UID]bool) map[types.UID]bool {
	changed := map[types.UID]bool{}
	for _, uids := range []map[types.UID]int64{seen, after} {
		for uid := range uids {
			differs := seen[uid] != after[uid] || selecting[uid] != selects[uid]
			if differs && (selecting[uid] || selects[uid]) {
				changed[uid] = true
			}
		}
	}
	return changed
}

// retryChanged lets the calls that wait for a change of one of these NodeENIs be made
// at once, and what they name be looked up.
func (a *Agent) retryChanged(changed map[types.UID]bool, nodeENIs []v1alpha1.NodeENI) {
	a.failures.Changed(changed)
	for _, n := range nodeENIs {
		if changed[n.UID] {
			named := refsOf(n.Spec)
			for _, kind := range lookUps {
				a.failures.Renamed(kind, named.of(kind))
			}
		}
	}
}

// forgetFailures drops those of subnets, names, places and ENIs that are no more, when
// their wait is over: what comes back soon waits on.
func (a *Agent) forgetFailures(now time.Time) {
	slots, subnets := a.desired.slots(), map[string]bool{}
	for s := range a.records {
		slots[s] = true
	}
	for s := range slots {
		subnets[s.subnet] = true
	}
	a.failures.Forget(now, func(key retry.Key) bool {
		switch {
		case key.ENI != "":
			return slices.ContainsFunc(a.enis, func(e tracked) bool { return e.ID == key.ENI })
		case key.Name != "":
			name := key.Name
			key.Name = ""
			return slices.Contains(a.desired.named.of(key), name)
		case key.NodeENI != "":
			return slots[slot{key.NodeENI, key.Subnet}]
		default:
			return key.Subnet == "" || subnets[key.Subnet]
		}
	})
}

// lookForRoom notices an ENI that leaves a full instance, ours or not, by its link.
func (a *Agent) lookForRoom() {
	if !a.failures.WantsRoom() {
		clear(a.attachedLinks)
		return
	}
	macs := slices.Clone(a.interfaces)
	for _, e := range a.enis {
		macs = append(macs, e.MAC)
	}
	for _, text := range macs {
		mac := hardwareAddr(text)
		here := mac != nil && a.present(mac)
		if a.attachedLinks[text] && !here {
			a.failures.Room()
		}
		a.attachedLinks[text] = here
	}
}

// learnInterfaces takes in the interfaces that IMDS shows. One that it no longer
// shows has left, though its link may never have been in the host's namespace.
func (a *Agent) learnInterfaces(interfaces []imds.Interface) {
	var macs []string
	for _, i := range interfaces {
		macs = append(macs, i.MAC.String())
	}
	for _, mac := range a.interfaces {
		if !slices.Contains(macs, mac) {
			a.failures.Room()
		}
	}
	a.interfaces = macs
}
