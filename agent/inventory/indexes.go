package inventory

import (
	"fmt"

	"github.com/aws-multi-eni/aws-multi-eni/imds"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// Place is where an ENI is attached: device indexes count on each network card.
type Place struct{ Card, DeviceIndex int32 }

func (p Place) String() string {
	if p.Card == 0 {
		return fmt.Sprintf("device index %d", p.DeviceIndex)
	}
	return fmt.Sprintf("device index %d of network card %d", p.DeviceIndex, p.Card)
}

// PlaceOf is where the attachment is.
func PlaceOf(a *eni.Attachment) Place { return Place{a.Card, a.DeviceIndex} }

// Indexes are the device indexes of the instance, as far as they are not our own.
type Indexes struct {
	Holders map[Place]string // ENIs, by the index that they hold
	// Max is how many ENIs the instance type takes on each network card, the primary
	// one included; empty while that is not known.
	Max map[int32]int32
}

// LearnHolders replaces what is known of device indexes by what EC2 shows. Our own ENIs
// hold none against us, also one that a lagging describe had hidden: the next one shows
// it.
func (i *Inventory) LearnHolders(attached []eni.ENI) {
	i.Indexes.Holders = HoldersAmong(attached, func(e eni.ENI) bool {
		return i.known[e.ID] || e.Owner.Cluster == i.cluster && e.Owner.Instance == i.identity.InstanceARN()
	})
}

// HoldersAmong are the attached ENIs that are not ours, by the index that they hold.
func HoldersAmong(attached []eni.ENI, ours func(eni.ENI) bool) map[Place]string {
	holders := map[Place]string{}
	for _, e := range attached {
		if a := e.Attachment; a != nil && a.DeviceIndex >= 0 && PlaceOf(a) != (Place{}) && !ours(e) {
			holders[PlaceOf(a)] = e.ID
		}
	}
	return holders
}

// LearnLimits takes in how many ENIs the instance type takes.
func (i *Indexes) LearnLimits(t eni.InstanceType) {
	i.Max = map[int32]int32{0: t.MaxENIsOn(0)}
	for _, card := range t.Cards {
		i.Max[card.Index] = t.MaxENIsOn(card.Index)
	}
}

// LearnFromMetadata notes the device indexes that IMDS shows as held by ENIs that are not
// known as ours. It is a hint that spares a vain attach call; when IMDS lags, EC2 tells.
// IMDS lists an ENI for minutes after it was detached, so the link has to be here, or EC2
// must have shown before that the ENI holds the index.
func (i *Inventory) LearnFromMetadata(interfaces []imds.Interface, here func(mac string) bool) {
	before := i.Indexes.Holders
	i.Indexes.Holders = map[Place]string{}
	for _, shown := range interfaces {
		at := Place{int32(shown.Card), int32(shown.DeviceIndex)}
		if !shown.Settled || shown.DeviceIndex < 0 || at == (Place{}) || i.known[shown.ENIID] {
			continue
		}
		if before[at] == shown.ENIID || here(shown.MAC.String()) {
			i.Indexes.Holders[at] = shown.ENIID
		}
	}
}
