package agent

import (
	"bytes"
	"errors"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/agent/hostnet"
)

// link is an ENI that may have a link here, and what the link shall be.
type link struct {
	eni    tracked
	wanted hostnet.Wanted
}

// untangle has links of ours give up names that others of ours shall have: two
// NodeENIs, or the subnets of one, have changed places, or nothing wants the ENI
// any more that still has the name.
func (a *Agent) untangle(links []link, released []tracked, now time.Time) {
	for _, l := range links {
		var taken *hostnet.NameTakenError
		if !errors.As(a.links[l.eni.ID].err, &taken) || !yields(taken, links, released) {
			continue
		}
		if err := a.Links.Yield(taken.HolderMAC, taken.Name); err != nil {
			a.Log.Warn("a link does not give up its name", "error", err)
			continue
		}
		a.configureLink(l.eni, l.wanted, now)
	}
}

// yields says whether the link that has the name is one of ours that has no use
// for it. One that may have any name keeps the one it has: people may use it.
func yields(taken *hostnet.NameTakenError, links []link, released []tracked) bool {
	if len(taken.HolderMAC) == 0 {
		return false // no ENI
	}
	for _, l := range links {
		if bytes.Equal(l.wanted.MAC, taken.HolderMAC) {
			return l.wanted.InterfaceName != "" && l.wanted.InterfaceName != taken.Name
		}
	}
	for _, e := range released {
		if bytes.Equal(hardwareAddr(e.MAC), taken.HolderMAC) {
			return true
		}
	}
	return false
}
