package agent

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/agent/agenttest"
	"github.com/aws-multi-eni/aws-multi-eni/agent/inventory"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

const me, other = "i-0123456789abcdef0", "i-0fedcba9876543210"

func wantFor(uid, subnet string, index int32) want {
	return want{
		Slot: inventory.Slot{UID: types.UID(uid), SubnetID: subnet}, nodeENI: uid, groups: []string{groupX}, deviceIndex: index,
		deleteOnTermination: true, sourceDestCheck: true, description: "d",
	}
}

// on is the want on another network card.
func (w want) on(card int32) want {
	w.card = card
	return w
}

// fixture is an ENI for tests.
type fixture struct{ inventory.ENI }

// eniFor is an ENI as a plan wants it, unattached.
func eniFor(id, uid, subnet string) fixture {
	return fixture{inventory.ENI{Evidence: inventory.Shown, ENI: eni.ENI{
		ID: id, SubnetID: subnet, Groups: []string{groupX}, Description: "d", SourceDestCheck: true,
		Owner: eni.Owner{NodeENIUID: types.UID(uid), NodeENI: uid, CreatedAt: time.Unix(100, 0)},
	}}}
}

func (f fixture) at(instance string, index int32, status string) fixture {
	return f.atPlace(instance, inventory.Place{DeviceIndex: index}, status)
}

func (f fixture) atPlace(instance string, at inventory.Place, status string) fixture {
	f.Attachment = &eni.Attachment{ID: "eni-attach-" + f.ID, InstanceID: instance, Card: at.Card, DeviceIndex: at.DeviceIndex, Status: status, DeleteOnTermination: true}
	return f
}

func (f fixture) with(change func(*inventory.ENI)) fixture {
	change(&f.ENI)
	return f
}

func enis(all ...fixture) []inventory.ENI {
	var list []inventory.ENI
	for _, f := range all {
		list = append(list, f.ENI)
	}
	return list
}

// synced lets EC2 have told that the instance has these ENIs; it is asked again in an
// hour.
func (a *Agent) synced(now time.Time, all ...fixture) {
	a.inventory.Describe(nil, func(string) bool { return false }, now)
	a.inventory.Schedule(inventory.Open{}, now)
	a.inventory.Restore(enis(all...), now)
}

// asked is how long EC2 is not asked for this instance's ENIs.
func (a *Agent) asked(now time.Time) time.Duration {
	at, _ := a.inventory.Resync.Next()
	return max(at.Sub(now), 0)
}

// source is a Source in memory.
type source = agenttest.Source[Snapshot]
