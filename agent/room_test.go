package agent

import (
	"slices"
	"testing"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/agent/inventory"
)

// A claim's ENI is attached when EC2 takes it: on a full card, after the ENI that has given
// way is detached. EC2 is asked about that one once its link has left.
func TestAwaitRoom(t *testing.T) {
	a, b := templateFor("a", subnetA), templateFor("b", subnetA2)
	a.Slot, b.Slot = a.at(0), b.at(0)
	always := wantFor("x", subnetA2, 1)
	claimed := eniFor("eni-a", "a", subnetA).onPlace(0)
	other := eniFor("eni-b", "b", subnetA2).onPlace(0)
	warm := eniFor("eni-warm", "a", subnetA).onPlace(1).at(me, 2, "attached")
	left := warm.with(func(e *inventory.ENI) { e.Use, e.Link = inventory.Left, inventory.LinkLost })
	for name, test := range map[string]struct {
		wants     []want
		enis      []fixture
		max       int32
		attaching string
		want      []string // attached now
		awaits    string
		asks      string
	}{
		"there is room":                  {[]want{a}, []fixture{claimed, warm}, 3, "", []string{"eni-a"}, "", ""},
		"full":                           {[]want{a}, []fixture{claimed, warm}, 2, "", nil, "eni-warm", ""},
		"the link of the warm one left":  {[]want{a}, []fixture{claimed, left}, 2, "", nil, "eni-warm", "eni-warm"},
		"the limit is not known":         {[]want{a}, []fixture{claimed, warm}, 0, "", []string{"eni-a"}, "", ""},
		"full, and nothing is released":  {[]want{a, always}, []fixture{claimed, eniFor("eni-x", "x", subnetA2).at(me, 1, "attached")}, 2, "", []string{"eni-a"}, "", ""},
		"the next attach takes the room": {[]want{a, b}, []fixture{claimed, other, warm}, 3, "", []string{"eni-a"}, "eni-warm", ""},
		"one under way has taken it":     {[]want{a, b}, []fixture{claimed, other, warm}, 3, "eni-b", []string{"eni-b"}, "eni-warm", ""},
		"not on demand":                  {[]want{always}, []fixture{eniFor("eni-x", "x", subnetA2), warm}, 2, "", []string{"eni-x"}, "", ""},
		"on another card":                {[]want{a.on(1)}, []fixture{claimed, warm}, 2, "", []string{"eni-a"}, "", ""},
	} {
		v := view{now: time.Unix(10_000, 0), instanceID: me, synced: true, enis: enis(test.enis...), indexes: inventory.Indexes{Max: map[int32]int32{0: test.max, 1: test.max}}}
		v.desired = desire(nil, nil, "", nil, nil)
		v.desired.wants = test.wants
		v.attaching = map[string]inventory.Place{}
		if test.attaching != "" {
			v.attaching[test.attaching] = inventory.Place{DeviceIndex: 3}
		}
		p := next(v)
		var attached []string
		for _, c := range p.calls {
			if c.verb == attach {
				attached = append(attached, c.eni)
			}
		}
		awaits := ""
		for _, id := range p.awaitsRoom {
			awaits = id
		}
		if !slices.Equal(attached, test.want) || awaits != test.awaits || p.open.Detaching != test.asks {
			t.Errorf("%s: attaches %v, awaits %q, asks about %q", name, attached, awaits, p.open.Detaching)
		}
	}
}
