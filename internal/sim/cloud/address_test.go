package cloud

import (
	"net/netip"
	"testing"
)

func TestAddressArithmetic(t *testing.T) {
	for _, test := range []struct {
		from  string
		n     uint64
		shift int
		want  string
	}{
		{"10.0.1.0", 4, 0, "10.0.1.4"},
		{"10.0.1.0", 17, 4, "10.0.2.16"},
		{"2001:db8::", 1, 48, "2001:db8:0:0:1::"},
		{"2001:db8::", 1 << 16, 48, "2001:db8:0:1::"},
		{"2001:db8::ffff:ffff:ffff:fffe", 2, 0, "2001:db8:0:1::"},
	} {
		if got := after(netip.MustParseAddr(test.from), test.n, test.shift); got.String() != test.want {
			t.Errorf("%d<<%d after %s: %s, want %s", test.n, test.shift, test.from, got, test.want)
		}
	}
	for cidr, want := range map[string]string{"10.0.1.64/26": "10.0.1.127", "2001:db8::/60": "2001:db8:0:f:ffff:ffff:ffff:ffff"} {
		if got := lastOf(netip.MustParsePrefix(cidr)); got.String() != want {
			t.Errorf("the last of %s: %s, want %s", cidr, got, want)
		}
	}
	cidr := netip.MustParsePrefix("2001:db8:0:1::/64")
	if a, b := randomIn(cidr), randomIn(cidr); !cidr.Contains(a) || a == b {
		t.Errorf("random addresses in %s: %s, %s", cidr, a, b)
	}
}

// What is taken and released again leaves a range as it was, and the addresses and
// blocks that AWS keeps are never handed out.
func TestPools(t *testing.T) {
	for _, test := range []struct {
		family *family
		cidr   string
		blocks int // that can be handed out
	}{
		{ipv4, "10.0.1.0/24", 14}, {ipv4, "10.0.1.0/28", 0}, {ipv6, "2001:db8::/64", 1<<16 - 2},
	} {
		p := newPool(test.family, netip.MustParsePrefix(test.cidr))
		ask := func(addresses, blocks int) (Assigned, error) {
			return p.take("eni", AddressRequest{Count: positive(addresses), PrefixCount: positive(blocks)})
		}
		before := p.free()
		if _, err := ask(0, test.blocks+1); err == nil {
			t.Errorf("%s: more blocks than there are", test.cidr)
		}
		all, err := ask(0, test.blocks)
		if err != nil {
			t.Errorf("%s: %v", test.cidr, err)
		}
		seen := make(map[netip.Prefix]bool)
		for _, block := range all.Prefixes {
			if seen[block] || p.reserved(block) {
				t.Errorf("%s: %s is handed out twice, or not to be", test.cidr, block)
			}
			seen[block] = true
		}
		p.release(all)
		some, err := ask(3, 0)
		if err != nil || len(some.Addresses) != 3 || !p.handsOut(some.Addresses[2]) {
			t.Errorf("%s: %v, %v", test.cidr, some, err)
		}
		p.release(some)
		p.release(some) // does nothing
		if len(p.addresses)+len(p.prefixes)+len(p.inBlock) != 0 || p.free() != before {
			t.Errorf("%s: something is left: %+v", test.cidr, p)
		}
	}
}
