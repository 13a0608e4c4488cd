package agent

import (
	"fmt"

	"github.com/aws-multi-eni/aws-multi-eni/agent/inventory"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// displaced says why an ENI is not at the device index that it was wanted at.
func (v view) displaced(w want, e inventory.ENI) string {
	at, wanted := inventory.PlaceOf(e.Attachment), w.place()
	if at == wanted || w.OnDemand() { // those of a NodeENI share the first to try
		return ""
	}
	text := fmt.Sprintf("attached at %v instead of %v", at, wanted)
	if holder := v.holder(wanted); holder.Owner.NodeENI != "" {
		return text + fmt.Sprintf(", which is held by %s of NodeENI %s", holder.ID, holder.Owner.NodeENI)
	} else if holder.ID != "" {
		return text + ", which is held by " + holder.ID
	}
	return text + "; an attached ENI keeps its device index"
}

// holder is the ENI that is attached there, as far as is known.
func (v view) holder(at inventory.Place) eni.ENI {
	if id, ok := v.indexes.Holders[at]; ok {
		return eni.ENI{ID: id}
	}
	for _, e := range v.enis {
		if e.AttachedTo(v.instanceID) && !e.LinkLeft() && inventory.PlaceOf(e.Attachment) == at {
			return e.ENI
		}
	}
	return eni.ENI{}
}
