package inventory

import (
	"log/slog"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/imds"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

const (
	me, other = "i-0123456789abcdef0", "i-0fedcba9876543210"
	subnetA   = "subnet-0aaaaaaaaaaaaaaa1"
	groupX    = "sg-0000000000000000a"
	groupY    = "sg-0000000000000000b"
)

var self = imds.Identity{InstanceID: me, Partition: "aws", Region: "us-east-1", AccountID: "123456789012"}

// fixture is an ENI that a describe has shown long ago, unattached.
func fixture(id, uid string) ENI {
	return ENI{Evidence: Shown, ENI: eni.ENI{
		ID: id, SubnetID: subnetA, Groups: []string{groupX}, Description: "d", SourceDestCheck: true,
		Owner: eni.Owner{NodeENIUID: types.UID(uid), NodeENI: uid, CreatedAt: time.Unix(100, 0)},
	}}
}

func (e ENI) at(instance string, index int32, status string) ENI {
	e.Attachment = &eni.Attachment{ID: "eni-attach-" + e.ID, InstanceID: instance, DeviceIndex: index, Status: status, DeleteOnTermination: true}
	return e
}

func (e ENI) with(f func(*ENI)) ENI {
	f(&e)
	return e
}

// told is an Inventory of which EC2 has told, and is asked again in an hour.
func told(collects bool, now time.Time, enis ...ENI) *Inventory {
	i := New("c", self, collects, time.Hour, slog.New(slog.DiscardHandler))
	i.Describe(nil, nowhere, now)
	i.Schedule(Open{}, now)
	i.Restore(enis, now)
	return i
}

// asked is how long EC2 is not asked.
func (i *Inventory) asked(now time.Time) time.Duration {
	at, _ := i.Resync.Next()
	return max(at.Sub(now), 0)
}

func nowhere(string) bool { return false }
