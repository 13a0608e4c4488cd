package agent

import (
	"slices"

	"github.com/aws-multi-eni/aws-multi-eni/agent/inventory"
	"github.com/aws-multi-eni/aws-multi-eni/agent/retry"
	"github.com/aws-multi-eni/aws-multi-eni/imds"
)

// capacity notices an ENI that leaves a full instance, whoever made it.
type capacity struct {
	interfaces []string        // MACs that IMDS shows
	here       map[string]bool // while the instance is full, the links that are here by MAC
}

// look notices it by its link.
func (c *capacity) look(failures *retry.Failures, enis []inventory.ENI, here func(mac string) bool) {
	if !failures.AwaitsCapacity() {
		c.here = nil
		return
	}
	if c.here == nil {
		c.here = map[string]bool{}
	}
	macs := slices.Clone(c.interfaces)
	for _, e := range enis {
		macs = append(macs, e.MAC)
	}
	for _, mac := range macs {
		now := here(mac)
		if c.here[mac] && !now {
			failures.CapacityFreed()
		}
		c.here[mac] = now
	}
}

// learn takes in the interfaces that IMDS shows. One that it no longer shows has left,
// though its link may never have been in the host's namespace.
func (c *capacity) learn(failures *retry.Failures, interfaces []imds.Interface) {
	var macs []string
	for _, i := range interfaces {
		macs = append(macs, i.MAC.String())
	}
	for _, mac := range c.interfaces {
		if !slices.Contains(macs, mac) {
			failures.CapacityFreed()
		}
	}
	c.interfaces = macs
}
