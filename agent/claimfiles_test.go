package agent

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// A claim with several devices has a file when all of them have ENIs on the way.
func TestClaimNetworks(t *testing.T) {
	a, b := templateFor("uid-a", subnetA), templateFor("uid-b", subnetA)
	wanted := func(claim string, w want, number int32) want {
		w.Slot = w.at(number)
		w.claim = &v1alpha1.ClaimReference{Namespace: "default", Name: claim, UID: types.UID("uid-" + claim)}
		return w
	}
	one, two := claimOf("x", a.device(0)), claimOf("x", b.device(1))
	two.Pods = []types.UID{"p"}
	wrong := claimOf("x", b.device(1))
	wrong.Parameters = []json.RawMessage{[]byte(`{"mtu": 1}`)}
	for name, test := range map[string]struct {
		claims []Claim
		wants  []want
		want   string
	}{
		"all of its ENIs":         {[]Claim{one, two}, []want{wanted("x", a, 0), wanted("x", b, 1)}, "x: " + a.device(0) + " " + b.device(1)},
		"one is not wanted yet":   {[]Claim{one, two}, []want{wanted("x", a, 0)}, ""},
		"one is another claim's":  {[]Claim{one, two}, []want{wanted("x", a, 0), wanted("y", b, 1)}, ""},
		"one device is gone":      {[]Claim{one, claimOf("x", "other-0")}, []want{wanted("x", a, 0)}, ""},
		"one has bad parameters":  {[]Claim{one, wrong}, []want{wanted("x", a, 0), wanted("x", b, 1)}, ""},
		"others are not affected": {[]Claim{one, two, claimOf("y", a.device(1))}, []want{wanted("x", a, 0), wanted("y", a, 1)}, "y: " + a.device(1)},
	} {
		t.Run(name, func(t *testing.T) {
			v := view{now: time.Unix(10_000, 0), node: "node", instanceID: me, synced: true}
			v.desired = desire(nil, nil, "", nil, nil)
			v.desired.onDemand, v.desired.wants = []want{a, b}, test.wants
			var got []string
			for _, c := range claimNetworks(test.claims, offering{view: v}, nil) {
				var devices []string
				for _, d := range c.Devices {
					devices = append(devices, d.Name)
				}
				slices.Sort(devices)
				got = append(got, fmt.Sprintf("%s: %s", c.Name, strings.Join(devices, " ")))
			}
			if text := strings.Join(got, ", "); text != test.want {
				t.Errorf("%q, want %q", text, test.want)
			}
		})
	}
}
