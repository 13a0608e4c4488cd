package podnetwork

import (
	"net/netip"
	"testing"
)

func TestCapacity(t *testing.T) {
	eni := func(ready bool, ranges ...string) ENI {
		e := ENI{Ready: ready, Addresses: []netip.Addr{netip.MustParseAddr("10.0.32.4")}}
		for _, r := range ranges {
			e.Ranges = append(e.Ranges, netip.MustParsePrefix(r))
		}
		return e
	}
	const v4, v4Again, v6 = "10.0.32.16/28", "10.0.32.64/28", "2600:1f18:0:32:1::/80"
	for name, test := range map[string]struct {
		enis []ENI
		want int
	}{
		"no ENI":                          {nil, 0},
		"an ENI that is not Ready":        {[]ENI{eni(false, v4)}, 0},
		"only its own address":            {[]ENI{eni(true)}, 1},
		"its own address of each family":  {[]ENI{{Ready: true, Addresses: []netip.Addr{netip.MustParseAddr("10.0.32.4"), netip.MustParseAddr("2600::4")}}}, 1},
		"no address at all":               {[]ENI{{Ready: true}}, 0},
		"a prefix":                        {[]ENI{eni(true, v4)}, 16},
		"two prefixes":                    {[]ENI{eni(true, v4, v4Again)}, 32},
		"secondary addresses":             {[]ENI{eni(true, "10.0.32.5/32", "10.0.32.6/32", "10.0.32.9/32")}, 3},
		"an IPv6 prefix":                  {[]ENI{eni(true, v6)}, maxPods},
		"IPv6 addresses":                  {[]ENI{eni(true, "2600::5/128", "2600::6/128")}, 2},
		"both families":                   {[]ENI{eni(true, v4, v6)}, 16},
		"fewer of IPv6":                   {[]ENI{eni(true, v4, "2600::5/128", "2600::6/128")}, 2},
		"several IPv6 prefixes":           {[]ENI{eni(true, v6, "2600:1f18:0:32:2::/80")}, maxPods},
		"all that EC2 gives":              {[]ENI{eni(true, "10.0.0.0/23", "10.0.2.0/24", "10.0.3.0/28")}, 784},
		"two ENIs":                        {[]ENI{eni(true, v4), eni(true, v4Again)}, 32},
		"one of two is Ready":             {[]ENI{eni(false, v4), eni(true, v4Again)}, 16},
		"one with ranges and one without": {[]ENI{eni(true, v4), eni(true)}, 17},
	} {
		if got := (Network{ENIs: test.enis}).Capacity(); got != test.want {
			t.Errorf("%s: %d pods, want %d", name, got, test.want)
		}
	}
}
