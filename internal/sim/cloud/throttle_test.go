package cloud

import "testing"

// The buckets are those of "Request throttling for the Amazon EC2 API".
func TestBuckets(t *testing.T) {
	type bucket struct {
		size   int
		refill float64
	}
	for _, test := range []struct {
		action     string
		unfiltered bool
		want       bucket
	}{
		{"CreateNetworkInterface", false, bucket{100, 5}},
		{"DeleteNetworkInterface", false, bucket{100, 5}},
		{"ModifyNetworkInterfaceAttribute", false, bucket{100, 5}},
		{"AssignPrivateIpAddresses", false, bucket{100, 5}},
		{"UnassignPrivateIpAddresses", false, bucket{100, 5}},
		{"AssignIpv6Addresses", false, bucket{100, 5}},
		{"UnassignIpv6Addresses", false, bucket{100, 5}},
		{"AttachNetworkInterface", false, bucket{50, 5}},
		{"DetachNetworkInterface", false, bucket{50, 5}},
		{"CreateTags", false, bucket{100, 10}},
		{"DescribeNetworkInterfaces", false, bucket{100, 20}},
		{"DescribeNetworkInterfaces", true, bucket{50, 10}},
		{"DescribeInstances", false, bucket{100, 20}},
		{"DescribeInstances", true, bucket{50, 10}},
		{"DescribeSecurityGroups", false, bucket{100, 20}},
		{"DescribeSecurityGroups", true, bucket{50, 10}},
		{"DescribeSubnets", false, bucket{100, 20}},
		{"DescribeInstanceTypes", false, bucket{100, 20}},
	} {
		var got bucket
		if got.size, got.refill = bucketOf(test.action, test.unfiltered); got != test.want {
			t.Errorf("%s, unfiltered %v: %v, want %v", test.action, test.unfiltered, got, test.want)
		}
	}
}

// Filtered and unfiltered calls share no bucket, but where EC2 makes no
// difference between them.
func TestBucketsOfUnfilteredCalls(t *testing.T) {
	for action, shared := range map[string]bool{"DescribeNetworkInterfaces": false, "DescribeSubnets": true} {
		var throttle throttle
		throttle.set(true, 0)
		throttle.allow(action, false)
		throttle.allow(action, true)
		if got := len(throttle.buckets) == 1; got != shared {
			t.Errorf("%s: one bucket for both: %v, want %v", action, got, shared)
		}
	}
}

// In a storm every action has a few calls a second, whatever is documented.
func TestStorm(t *testing.T) {
	var throttle throttle
	throttle.set(true, 2)
	for _, action := range []string{"CreateNetworkInterface", "DescribeSubnets"} {
		for n, want := range []bool{true, true, false} {
			if got := throttle.allow(action, false); got != want {
				t.Errorf("%s: call %d is allowed: %v, want %v", action, n+1, got, want)
			}
		}
	}
}
