package eni

import "github.com/aws/aws-sdk-go-v2/service/ec2/types"

// Removal is the next step on an ENI's way out of EC2. Whether it is to go is
// for others to decide.
type Removal string

const (
	// RemovalWait: EC2 is at work; the next describe tells more.
	RemovalWait Removal = "wait"
	// RemovalDetach: it is attached.
	RemovalDetach Removal = "detach"
	// RemovalDelete: it is not attached.
	RemovalDelete Removal = "delete"
	// RemovalRefuse: it sits at device index 0, as only a primary ENI does.
	RemovalRefuse Removal = "refuse"
)

// Removal tells the next step from what EC2 shows.
func (e ENI) Removal() Removal {
	switch a := e.Attachment; {
	case a == nil && e.Status == string(types.NetworkInterfaceStatusAvailable):
		return RemovalDelete
	case a == nil, a.Detaching():
		return RemovalWait
	case a.DeviceIndex == 0:
		return RemovalRefuse
	default:
		return RemovalDetach
	}
}
