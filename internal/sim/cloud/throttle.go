package cloud

import (
	"strings"
	"sync"

	"golang.org/x/time/rate"
)

// throttle keeps a token bucket per action, as EC2 does per account and Region.
type throttle struct {
	mu      sync.Mutex
	on      bool
	size    int // of every bucket, refilled once a second; 0: as documented
	buckets map[string]*rate.Limiter
}

func (t *throttle) set(on bool, size int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.on, t.size = on, size
	t.buckets = make(map[string]*rate.Limiter)
}

// allow takes a token for a call, if there is one.
func (t *throttle) allow(action string, unfiltered bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.on {
		return true
	}
	// These two have one bucket, whatever is asked.
	unfiltered = unfiltered && action != "DescribeSubnets" && action != "DescribeInstanceTypes"
	key := action
	if unfiltered {
		key += " unfiltered"
	}
	bucket, ok := t.buckets[key]
	if !ok {
		size, refill := bucketOf(action, unfiltered)
		if t.size > 0 {
			size, refill = t.size, float64(t.size)
		}
		bucket = rate.NewLimiter(rate.Limit(refill), size)
		t.buckets[key] = bucket
	}
	return bucket.Allow()
}

// bucketOf returns a bucket's size and its refill per second, as documented in
// "Request throttling for the Amazon EC2 API".
func bucketOf(action string, unfiltered bool) (size int, refill float64) {
	switch action {
	case "CreateNetworkInterface", "DeleteNetworkInterface", "ModifyNetworkInterfaceAttribute",
		"AssignPrivateIpAddresses", "UnassignPrivateIpAddresses", "AssignIpv6Addresses", "UnassignIpv6Addresses", "TerminateInstances":
		return 100, 5
	case "CreateTags", "DeleteTags":
		return 100, 10
	case "RunInstances":
		return 5, 2
	}
	switch {
	case !strings.HasPrefix(action, "Describe"): // AttachNetworkInterface, DetachNetworkInterface and the rest
		return 50, 5
	case unfiltered:
		return 50, 10
	}
	return 100, 20
}
