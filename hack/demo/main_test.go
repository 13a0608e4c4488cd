package main

import (
	"fmt"
	"os"
	"testing"

	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
)

// The demo itself is tested by package e2e, which has built the programs.
func TestMain(m *testing.M) {
	if err := netns.Elevate(netns.Elevation{}); err != nil {
		fmt.Fprintln(os.Stderr, "these tests need network namespaces:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}
