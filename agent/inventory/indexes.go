package inventory

import (
	"github.com/aws-multi-eni/aws-multi-eni/imds"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// Indexes are the device indexes of network card 0, as far as they are not our own.
type Indexes struct {
	Holders map[int32]string // ENIs, by the index that they hold
	// Max is how many ENIs the instance type takes on network card 0, the primary one
	// included; 0 while that is not known.
	Max int
}

// LearnHolders replaces what is known of device indexes by what EC2 shows. Our own ENIs
// hold none against us, also one that a lagging describe had hidden: the next one shows
// it.
func (i *Inventory) LearnHolders(attached []eni.ENI) {
	i.Indexes.Holders = NewIndexes(attached, func(e eni.ENI) bool {
		return i.known[e.ID] || e.Owner.Cluster == i.cluster && e.Owner.Instance == i.identity.InstanceARN()
	}).Holders
}

// NewIndexes are those that the attached ENIs hold which are not ours.
func NewIndexes(attached []eni.ENI, ours func(eni.ENI) bool) Indexes {
	holders := map[int32]string{}
	for _, e := range attached {
		if a := e.Attachment; a != nil && a.DeviceIndex > 0 && a.Card == 0 && !ours(e) {
			holders[a.DeviceIndex] = e.ID
		}
	}
	return Indexes{Holders: holders}
}

// LearnFromMetadata notes the device indexes that IMDS shows as held by ENIs that are not
// known as ours. It is a hint that spares a vain attach call; when IMDS lags, EC2 tells.
// IMDS lists an ENI for minutes after it was detached, so the link has to be here, or EC2
// must have shown before that the ENI holds the index.
func (i *Inventory) LearnFromMetadata(interfaces []imds.Interface, here func(mac string) bool) {
	before := i.Indexes.Holders
	i.Indexes.Holders = map[int32]string{}
	for _, shown := range interfaces {
		index := int32(shown.DeviceIndex)
		if !shown.Settled || index <= 0 || shown.Card != 0 || i.known[shown.ENIID] {
			continue
		}
		if before[index] == shown.ENIID || here(shown.MAC.String()) {
			i.Indexes.Holders[index] = shown.ENIID
		}
	}
}
