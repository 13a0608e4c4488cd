package inventory

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// The first IPv6 address stays the first, in whatever order EC2 lists them, unless one is
// primary. Of IPv4, EC2 says which is primary.
func TestOrderOfAddresses(t *testing.T) {
	now := time.Unix(10_000, 0)
	list := func(texts ...string) (all []netip.Addr) {
		for _, text := range texts {
			all = append(all, netip.MustParseAddr(text))
		}
		return all
	}
	for name, test := range map[string]struct {
		known   []netip.Addr
		shown   []netip.Addr
		primary bool
		want    string
	}{
		"nothing is known":        {nil, list("10.0.1.4", "fd00::9", "fd00::5"), false, "[10.0.1.4 fd00::9 fd00::5]"},
		"another order":           {list("10.0.1.4", "fd00::9", "fd00::5"), list("10.0.1.4", "fd00::5", "fd00::9"), false, "[10.0.1.4 fd00::9 fd00::5]"},
		"one more, in front":      {list("10.0.1.4", "fd00::9"), list("10.0.1.4", "fd00::1", "fd00::9"), false, "[10.0.1.4 fd00::9 fd00::1]"},
		"the first is taken away": {list("fd00::9", "fd00::5", "fd00::3"), list("fd00::3", "fd00::5"), false, "[fd00::5 fd00::3]"},
		"one is primary now":      {list("fd00::9", "fd00::5"), list("fd00::5", "fd00::9"), true, "[fd00::5 fd00::9]"},
		"of IPv4":                 {list("10.0.1.4", "10.0.1.3"), list("10.0.1.3", "10.0.1.4"), false, "[10.0.1.3 10.0.1.4]"},
	} {
		t.Run(name, func(t *testing.T) {
			i := told(false, now)
			i.Restore([]ENI{fixture("eni-x", "x").with(func(e *ENI) { e.Evidence, e.Addresses = Reported, test.known })}, now)
			shown := fixture("eni-x", "x").ENI
			shown.Addresses, shown.PrimaryIPv6 = test.shown, test.primary
			i.Describe([]eni.ENI{shown}, nowhere, now)
			if e, _ := i.Get("eni-x"); fmt.Sprint(e.Addresses) != test.want {
				t.Errorf("%v, want %s", e.Addresses, test.want)
			}
		})
	}
}
