package agent

import (
	"fmt"
	"maps"
	"testing"

	"github.com/aws-multi-eni/aws-multi-eni/agent/inventory"
	"github.com/aws-multi-eni/aws-multi-eni/internal/draw"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// FuzzForecast: the device indexes that the doctor foretells are those that the agent
// gives, in whatever order EC2 carries its calls out.
func FuzzForecast(f *testing.F) {
	draw.Fuzz(f, 200, func(t *testing.T, c *draw.Choices) {
		v := view{
			cluster: cluster, node: "node", instanceARN: self.InstanceARN(), instanceID: me, synced: true,
			intents: map[inventory.Slot]intent{}, saved: map[inventory.Slot]intent{}, indexes: inventory.Indexes{Holders: map[inventory.Place]string{}}, attaching: map[string]inventory.Place{},
		}
		free, _ := drawPlaces(c, 5)
		for range c.N(4) {
			v.indexes.Holders[free(int32(c.N(2)))] = "eni-foreign"
		}
		var own []eni.ENI
		for n, uid := range draw.Some(c, "a", "b", "c", "d", "e") {
			w := wantFor(uid, subnetA, int32(1+c.N(4))).on(int32(c.N(2)))
			v.desired.wants = append(v.desired.wants, w)
			e := eniFor(fmt.Sprint("eni-", n), uid, subnetA)
			switch c.N(4) {
			case 0:
				own = append(own, e.ENI.ENI)
			case 1:
				own = append(own, e.atPlace(me, free(w.card), "attached").ENI.ENI)
			}
		}
		foretold := map[string]inventory.Place{}
		for _, e := range forecast(v, own).ENIs {
			foretold[e.NodeENI] = inventory.Place{Card: e.NetworkCard, DeviceIndex: e.DeviceIndex}
		}
		v.enis, v.intents = nil, map[inventory.Slot]intent{}
		for _, e := range own {
			v.enis = append(v.enis, inventory.ENI{ENI: e, Evidence: inventory.Shown})
		}
		for range 100 {
			p := next(v)
			if len(p.calls)+len(p.decide) == 0 {
				break
			}
			pretend(&v, p, c)
			v.saved = maps.Clone(v.intents)
		}
		given := map[string]inventory.Place{}
		p := next(v)
		for _, w := range v.desired.wants {
			given[w.nodeENI] = p.places[w.Slot]
		}
		if !maps.Equal(given, foretold) {
			t.Fatalf("foretold are %v, given %v\nwants %+v\ntaken %v\nown %+v", foretold, given, v.desired.wants, v.indexes.Holders, own)
		}
	})
}
