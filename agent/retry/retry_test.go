package retry

import (
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// What failed until something changes is tried again when that changes, and for no other
// change.
func TestWhatAFailureWaitsFor(t *testing.T) {
	subnetsByName := Key{Action: "DescribeSubnets", Of: "tag:Name"}
	subnet := func(name string) Key { k := subnetsByName; k.Name = name; return k }
	failed := map[string]struct {
		key  Key
		code string
	}{
		"group of x":      {Key{Action: "CreateNetworkInterface", NodeENI: "x", Subnet: "subnet-1"}, "InvalidGroup.NotFound"},
		"group of y":      {Key{Action: "CreateNetworkInterface", NodeENI: "y", Subnet: "subnet-2"}, "InvalidGroup.NotFound"},
		"instance full":   {Key{Action: "AttachNetworkInterface", NodeENI: "x", ENI: "eni-1", Index: 2}, "AttachmentLimitExceeded"},
		"quota":           {Key{Action: "CreateNetworkInterface", NodeENI: "x", Subnet: "subnet-3"}, "NetworkInterfaceLimitExceeded"},
		"subnet-1 full":   {Key{Action: "CreateNetworkInterface", Subnet: "subnet-1"}, "InsufficientFreeAddressesInSubnet"},
		"subnet-2 full":   {Key{Action: "CreateNetworkInterface", Subnet: "subnet-2"}, "InsufficientFreeAddressesInSubnet"},
		"passing, of x":   {Key{Action: "CreateNetworkInterface", NodeENI: "x", Subnet: "subnet-4"}, "InternalError"},
		"change of eni-2": {Key{Action: "ModifyNetworkInterfaceAttribute", Of: "Groups", NodeENI: "y", ENI: "eni-2"}, "InternalError"},
		"name a":          {subnet("a"), "InvalidParameterValue"},
		"name b":          {subnet("b"), "InvalidParameterValue"},
		"all names":       {subnetsByName, "UnauthorizedOperation"},
	}
	now := time.Unix(100_000, 0)
	for _, test := range []struct {
		name   string
		change func(*Failures)
		again  string
	}{
		{"x is changed", func(f *Failures) { f.RetryChanged(map[types.UID]bool{"x": true}) }, "group of x"},
		{"nothing is changed", func(f *Failures) { f.RetryChanged(nil) }, ""},
		{"a is named", func(f *Failures) { f.RetryLookUps([]Key{subnet("a")}) }, "all names, name a"},
		{"an ENI has left the instance", (*Failures).CapacityFreed, "instance full, quota"},
		{"eni-2 is gone from subnet-1", func(f *Failures) { f.Gone("eni-2", "subnet-1") }, "change of eni-2, instance full, quota, subnet-1 full"},
		{"it has succeeded", func(f *Failures) { f.Reset(failed["quota"].key) }, "quota"},
		{"none is about anything", func(f *Failures) { f.Forget(now, func(Key) bool { return false }) }, ""},
		{"none is about anything, later", func(f *Failures) { f.Forget(now.Add(2*time.Hour), func(k Key) bool { return k.NodeENI != "y" }) }, "change of eni-2, group of y"},
	} {
		f := &Failures{}
		for _, is := range failed {
			f.Failed(is.key, ec2Error(is.code), now)
		}
		test.change(f)
		var again []string
		for name, is := range failed {
			if _, waits := f.Get(is.key); !waits {
				again = append(again, name)
			}
		}
		slices.Sort(again)
		if got := strings.Join(again, ", "); got != test.again {
			t.Errorf("%s: tried again are %q, want %q", test.name, got, test.again)
		}
	}
}

// A full instance is no refusal of the one ENI: the others would be refused, too.
func TestRefusals(t *testing.T) {
	key := Key{Action: "AttachNetworkInterface", ENI: "eni-1"}
	for code, want := range map[string]struct{ refuses, awaitsCapacity bool }{
		"":                              {false, false},
		"InternalError":                 {false, false},
		"OperationNotPermitted":         {true, false},
		"AttachmentLimitExceeded":       {false, true},
		"NetworkInterfaceLimitExceeded": {true, true},
	} {
		f := &Failures{}
		if code != "" {
			f.Failed(key, ec2Error(code), time.Unix(100_000, 0))
		}
		if f.Refuses(key) != want.refuses || f.AwaitsCapacity() != want.awaitsCapacity {
			t.Errorf("%q: refuses %v, awaits capacity %v; want %v", code, f.Refuses(key), f.AwaitsCapacity(), want)
		}
	}
}
