package main

import (
	"net/netip"
	"testing"

	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
)

func TestChecksum(t *testing.T) {
	// The example of RFC 1071, section 3.
	if got := checksum([]byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7}); got != ^uint16(0xddf2) {
		t.Errorf("%#x", got)
	}
}

func TestPing(t *testing.T) {
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	local := netip.MustParseAddr("127.0.0.1")
	if took, err := ping(ns, local, netip.MustParseAddr("127.0.0.2"), 3); err != nil || len(took) != 3 {
		t.Errorf("three echoes of the kernel itself: %v, %v", took, err)
	}
	if took, err := ping(ns, local, netip.MustParseAddr("192.0.2.1"), 1); err == nil {
		t.Errorf("an answer from where there is no route to: %v", took)
	}
}
