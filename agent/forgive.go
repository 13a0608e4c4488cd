package agent

import (
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/imds"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// What failed until something changes is tried again at once when that changes, and
// for no other change: a fleet in which each change had every node try again would
// use up EC2's buckets. A NodeENI's change concerns its own calls, room on the
// instance those that lacked it. Of IAM nothing tells: see permissionPace.

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

// forgive lets the calls that wait for a change of one of these NodeENIs be made at
// once, and what they name be looked up.
func (f failures) forgive(changed map[types.UID]bool, nodeENIs []v1alpha1.NodeENI) {
	f.drop(func(_ string, failed failure) bool {
		return failed.terminal() && !waitsForRoom(failed.err) && changed[failed.slot.uid]
	})
	for _, n := range nodeENIs {
		if !changed[n.UID] {
			continue
		}
		named := refsOf(n.Spec)
		for _, kind := range []string{subnetIDKey, subnetNameKey, groupNameKey} {
			for _, ref := range named.of(kind) {
				delete(f, kind+ref)
			}
			if len(named.of(kind)) > 0 && f[kind].terminal() {
				delete(f, kind)
			}
		}
	}
}

// forgiveRoom lets what found no room on the instance be tried at once: an ENI has
// left.
func (f failures) forgiveRoom() {
	f.drop(func(_ string, failed failure) bool { return waitsForRoom(failed.err) })
}

// forgiveFull lets what found no free address in the subnet be tried at once: an ENI
// in it is gone.
func (f failures) forgiveFull(subnet string) {
	f.drop(func(_ string, failed failure) bool {
		return eni.IsSubnetFull(failed.err) && failed.slot.subnet == subnet
	})
}

// forgetFailures drops those of subnets, names, places and ENIs that are no more, when
// their wait is over: what comes back soon waits on.
func (a *Agent) forgetFailures(now time.Time) {
	alive, slots := map[string]bool{}, a.desired.slots()
	for s := range a.records {
		slots[s] = true
	}
	for s := range slots {
		alive[fullKey(s.subnet)], alive[call{verb: create, slot: s}.key()] = true, true
	}
	for _, kind := range []string{subnetIDKey, subnetNameKey, groupNameKey} {
		for _, ref := range a.desired.named.of(kind) {
			alive[kind+ref] = true
		}
	}
	a.failures.drop(func(key string, failed failure) bool {
		_, about, _ := strings.Cut(key, " ")
		of := func(e tracked) bool { return slices.Contains(strings.Fields(about), e.ID) }
		return about != "" && !alive[key] && now.After(failed.until) && !slices.ContainsFunc(a.enis, of)
	})
}

func (f failures) drop(when func(key string, failed failure) bool) { maps.DeleteFunc(f, when) }

func waitsForRoom(err error) bool { return eni.IsAttachmentLimit(err) || eni.IsENIQuota(err) }

func (f failures) wantRoom() bool {
	for _, failed := range f {
		if waitsForRoom(failed.err) {
			return true
		}
	}
	return false
}

// lookForRoom notices an ENI that leaves a full instance, ours or not, by its link.
func (a *Agent) lookForRoom() {
	if !a.failures.wantRoom() {
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
			a.failures.forgiveRoom()
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
			a.failures.forgiveRoom()
		}
	}
	a.interfaces = macs
}
