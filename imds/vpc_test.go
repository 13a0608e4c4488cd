package imds

import (
	"fmt"
	"testing"
)

// The VPC's CIDRs are those of the primary ENI's VPC, of both families.
func TestVPC(t *testing.T) {
	const ipv4, ipv6 = "network/interfaces/macs/" + primary + "/vpc-ipv4-cidr-blocks", "network/interfaces/macs/" + primary + "/vpc-ipv6-cidr-blocks"
	for name, test := range map[string]struct {
		edit func(map[string]string)
		want string
		fail bool
	}{
		"two of IPv4":         {edit: func(v map[string]string) { v[ipv4] = "10.0.0.0/16\n100.64.0.0/16" }, want: "[10.0.0.0/16 100.64.0.0/16]"},
		"both families":       {edit: func(v map[string]string) { v[ipv4], v[ipv6] = "10.0.0.0/16", "2001:db8::/56" }, want: "[10.0.0.0/16 2001:db8::/56]"},
		"nothing":             {edit: func(map[string]string) {}, want: "[]"},
		"a CIDR that is none": {edit: func(v map[string]string) { v[ipv4] = "<html>" }, want: "[]", fail: true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := serve(t, newService(test.edit)).VPC(t.Context())
			if fmt.Sprint(got) != test.want || (err != nil) != test.fail {
				t.Errorf("%v, %v; want %s", got, err, test.want)
			}
		})
	}
}
