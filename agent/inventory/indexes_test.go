package inventory

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/imds"
	"github.com/aws-multi-eni/aws-multi-eni/internal/draw"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// IMDS hints at the device indexes that others hold. It still lists what was
// detached minutes ago; of that there is no link.
func TestHoldersInMetadata(t *testing.T) {
	shown := func(id string, index, card int) imds.Interface {
		return imds.Interface{ENIID: id, DeviceIndex: index, Card: card, Settled: true, MAC: net.HardwareAddr(id)}
	}
	unsettled := shown("eni-new", 6, 0)
	unsettled.Settled = false
	i := told(false, time.Unix(10_000, 0))
	i.known["eni-ours"] = true
	i.Indexes.Holders = map[Place]string{{0, 4}: "eni-formerly", {0, 5}: "eni-in-a-pod"}
	i.LearnFromMetadata([]imds.Interface{
		shown("eni-primary", 0, 0), shown("eni-cni", 1, 0), shown("eni-ours", 2, 0), shown("eni-card", 2, 1),
		shown("eni-detached", 4, 0), shown("eni-in-a-pod", 5, 0), unsettled,
	}, func(mac string) bool {
		return mac != net.HardwareAddr("eni-detached").String() && mac != net.HardwareAddr("eni-in-a-pod").String()
	})
	if want := map[Place]string{{0, 1}: "eni-cni", {0, 5}: "eni-in-a-pod", {1, 2}: "eni-card"}; !maps.Equal(i.Indexes.Holders, want) {
		t.Errorf("holders are %v, want %v", i.Indexes.Holders, want)
	}
}

// Device indexes are held by ENIs of others, not by one of ours that this process has
// not seen yet.
func TestLearnHolders(t *testing.T) {
	i := told(false, time.Unix(10_000, 0))
	i.known["eni-known"] = true
	i.Indexes.Holders[Place{0, 9}] = "eni-formerly"
	at := func(id string, index int32, owner eni.Owner) eni.ENI {
		return eni.ENI{ID: id, Owner: owner, Attachment: &eni.Attachment{InstanceID: me, DeviceIndex: index}}
	}
	i.LearnHolders([]eni.ENI{
		at("eni-primary", 0, eni.Owner{}),
		at("eni-cni", 1, eni.Owner{}),
		{ID: "eni-card", Attachment: &eni.Attachment{InstanceID: me, Card: 1, DeviceIndex: 0}},
		at("eni-known", 2, eni.Owner{}),
		at("eni-unseen", 3, eni.Owner{Cluster: "c", Instance: self.InstanceARN()}),
		at("eni-other-cluster", 4, eni.Owner{Cluster: "d", Instance: self.InstanceARN()}),
	})
	if want := map[Place]string{{0, 1}: "eni-cni", {1, 0}: "eni-card", {0, 4}: "eni-other-cluster"}; !maps.Equal(i.Indexes.Holders, want) {
		t.Errorf("holders are %v, want %v", i.Indexes.Holders, want)
	}
}

// FuzzHoldersInMetadata: IMDS is believed of no ENI of ours, of the card that it names, and of
// none that has neither a link nor EC2's word.
func FuzzHoldersInMetadata(f *testing.F) {
	draw.Fuzz(f, 200, func(t *testing.T, c *draw.Choices) {
		var shown []imds.Interface
		before := map[Place]string{}
		for n := range c.N(6) {
			i := imds.Interface{
				ENIID: fmt.Sprintf("eni-%d", n), MAC: net.HardwareAddr{2, 0, 0, 0, 0, byte(n)},
				Settled: !c.Rarely(3), DeviceIndex: c.N(5) - 1, Card: c.N(2),
			}
			shown = append(shown, i)
			if c.Bool() {
				before[Place{int32(c.N(2)), int32(c.N(4))}] = i.ENIID
			}
		}
		ours := map[string]bool{"eni-0": c.Bool(), "eni-1": c.Bool()}
		here := func(mac string) bool { return mac[len(mac)-1]%2 == 0 }
		i := told(false, time.Unix(10_000, 0))
		i.known, i.Indexes.Holders = ours, before
		i.LearnFromMetadata(shown, here)
		for at, id := range i.Indexes.Holders {
			proven := slices.ContainsFunc(shown, func(i imds.Interface) bool {
				return i.ENIID == id && i.Settled && (Place{int32(i.Card), int32(i.DeviceIndex)}) == at && (here(i.MAC.String()) || before[at] == id)
			})
			if at == (Place{}) || at.DeviceIndex < 0 || ours[id] || !proven {
				t.Fatalf("%s is taken to hold %v", id, at)
			}
		}
	})
}
