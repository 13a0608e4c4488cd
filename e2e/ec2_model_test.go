package e2e

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

const (
	assignIPv4Call = "AssignPrivateIpAddresses"
	assignIPv6Call = "AssignIpv6Addresses"
)

// What EC2 can do for an ENI of a running instance: set with the calls that make the
// ENI, and changed on a living one.
func TestEC2Model(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 4, func(topology *sim.Topology) {
		dualStack(topology)
		for i, kind := range []string{"m6i.8xlarge", "m6i.8xlarge", "p4d.24xlarge", "m5.xlarge"} {
			topology.Nodes[i].Type = kind
		}
	})
	c.coordinator("coordinator-1", eager...)
	c.run("everything at once", c.testModelAtOnce)
	c.run("field by field", c.testModelByField)
	c.run("numbers do not shrink", c.testNoShrinking)
	c.run("network card", c.testNetworkCard)
	c.run("what the instance type lacks", c.testUnsupported)
	c.run("killed while addresses are assigned", c.testKilledAtAssign)
}

// held is what a report says that EC2 has, in the words of the spec.
func held(e v1alpha1.ENIState) string {
	n := map[string]int{}
	for _, a := range append(e.Addresses, e.Prefixes...) {
		family := "IPv4"
		if strings.Contains(a, ":") {
			family = "IPv6"
		}
		if strings.Contains(a, "/") {
			family += "/"
		}
		n[family]++
	}
	text := fmt.Sprintf("IPv4 %d+%d IPv6 %d+%d primary %v", n["IPv4"], n["IPv4/"], n["IPv6"], n["IPv6/"], e.PrimaryIPv6)
	if t := e.ConnectionTracking; t != nil {
		text += fmt.Sprintf(" tracking %d %d %d", t.TCPEstablishedTimeout, t.UDPTimeout, t.UDPStreamTimeout)
	}
	if x := e.ENAExpress; x != nil {
		text += fmt.Sprintf(" express %v %v", x.Enabled, x.UDP)
	}
	if e.ENAQueues != 0 {
		text += fmt.Sprintf(" queues %d", e.ENAQueues)
	}
	return text
}

// has is what EC2 itself has, in the same words.
func has(e cloud.Interface) string {
	text := fmt.Sprintf("IPv4 %d+%d IPv6 %d+%d primary %v", len(e.PrivateIPs), len(e.IPv4Prefixes), len(e.IPv6Addresses), len(e.IPv6Prefixes), e.PrimaryIPv6)
	if t := e.ConnectionTracking; t != (cloud.ConnectionTracking{}) {
		text += fmt.Sprintf(" tracking %d %d %d", t.TCPEstablished, t.UDP, t.UDPStream)
	}
	if x := e.Attachment.EnaSrd; x != nil && x.Enabled {
		text += fmt.Sprintf(" express %v %v", x.Enabled, x.UDP)
	}
	if n := e.Attachment.EnaQueueCount; n != 0 {
		text += fmt.Sprintf(" queues %d", n)
	}
	return text
}

// awaitHeld waits until a node's ENI is Ready with what is wanted, in EC2, in the report
// and on the host.
func (c *cluster) awaitHeld(node, name, want string) cloud.Interface {
	c.t.Helper()
	entry := c.awaitEntry(node, name, func(entry v1alpha1.ENIState) string {
		if entry.Phase != v1alpha1.PhaseReady || held(entry) != want {
			return fmt.Sprintf("want it Ready with %s; it has %s", want, held(entry))
		}
		return ""
	})
	e := c.eni(entry.ENIID)
	if got := has(e); got != want {
		c.t.Errorf("EC2 has %s, want %s", got, want)
	}
	c.await("the link", func() string { return c.configured(node, e, true, 0) })
	return e
}

// onlyCalls checks what a caller has called, describes included.
func (c *cluster) onlyCalls(source string, want map[string]int) {
	c.t.Helper()
	if got := cloud.CountCalls(c.calls(source)); !maps.Equal(got, want) {
		c.t.Errorf("it has called %v, want %v", got, want)
	}
}

// testModelAtOnce: all fields of a new ENI cost no further call.
func (c *cluster) testModelAtOnce(*testing.T) {
	c.agent("node-1")
	c.want("node-1", "all", c.ipv6Spec("storage",
		"deviceIndex: 2", "ipv4: {prefixes: 1}", "ipv6: {addresses: 2, primaryIPv6: true}",
		"connectionTracking: {tcpEstablishedTimeout: 350, udpTimeout: 40, udpStreamTimeout: 120}",
		"enaExpress: {enabled: true, udp: true}", "enaQueues: 4"))
	c.awaitHeld("node-1", "all", "IPv4 1+1 IPv6 2+0 primary true tracking 350 40 120 express true true queues 4")
	c.expectCalls(c.source("node-1"), map[string]int{createCall: 1, attachCall: 1, modifyCall: 1})
}

// testModelByField: each change of a living ENI is one call, and no describe.
func (c *cluster) testModelByField(t *testing.T) {
	const node, name = "node-2", "living"
	c.agent(node)
	c.want(node, name, c.ipv6Spec("data", "deviceIndex: 2", "ipv4: {secondaryAddresses: 1}"))
	first := c.awaitHeld(node, name, "IPv4 2+0 IPv6 0+0 primary false")
	for _, test := range []struct {
		name, patch, call, want string
	}{
		{"the first IPv6 address", `{"ipv6":{"addresses":1}}`, assignIPv6Call, "IPv4 2+0 IPv6 1+0 primary false"},
		{"secondary IPv4 addresses", `{"ipv4":{"secondaryAddresses":3}}`, assignIPv4Call, "IPv4 4+0 IPv6 1+0 primary false"},
		{"more IPv6 addresses", `{"ipv6":{"addresses":2}}`, assignIPv6Call, "IPv4 4+0 IPv6 2+0 primary false"},
		{"more secondary IPv4 addresses", `{"ipv4":{"secondaryAddresses":4}}`, assignIPv4Call, "IPv4 5+0 IPv6 2+0 primary false"},
		{"connection tracking", `{"connectionTracking":{"tcpEstablishedTimeout":600}}`, modifyCall, "IPv4 5+0 IPv6 2+0 primary false tracking 600 0 0"},
		{"more of it", `{"connectionTracking":{"udpTimeout":60,"udpStreamTimeout":90}}`, modifyCall, "IPv4 5+0 IPv6 2+0 primary false tracking 600 60 90"},
		{"ENA Express", `{"enaExpress":{"enabled":true}}`, modifyCall, "IPv4 5+0 IPv6 2+0 primary false tracking 600 60 90 express true false"},
		{"ENA Express for UDP", `{"enaExpress":{"udp":true}}`, modifyCall, "IPv4 5+0 IPv6 2+0 primary false tracking 600 60 90 express true true"},
		{"not support ENA Express", `{"enaExpress":null}`, modifyCall, "IPv4 5+0 IPv6 2+0 primary false tracking 600 60 90"},
		{"ENA queues", `{"enaQueues":16}`, modifyCall, "IPv4 5+0 IPv6 2+0 primary false tracking 600 60 90 queues 16"},
		{"fewer ENA queues", `{"enaQueues":4}`, modifyCall, "IPv4 5+0 IPv6 2+0 primary false tracking 600 60 90 queues 4"},
		{"primary IPv6 address", `{"ipv6":{"primaryIPv6":true}}`, modifyCall, "IPv4 5+0 IPv6 2+0 primary true tracking 600 60 90 queues 4"},
	} {
		c.run(test.name, func(t *testing.T) {
			c.Sim.Cloud().ResetCalls()
			c.must(c.PatchNodeENI(t.Context(), name, `{"spec":`+test.patch+`}`))
			same(t, c.awaitHeld(node, name, test.want).ID, first.ID)
			c.onlyCalls(c.source(node), map[string]int{test.call: 1})
		})
	}
	c.run("prefixes of both families", func(t *testing.T) {
		c.want(node, "prefixes", c.ipv6Spec("storage", "deviceIndex: 3", "ipv4: {prefixes: 1}", "ipv6: {prefixes: 1}"))
		c.awaitHeld(node, "prefixes", "IPv4 1+1 IPv6 0+1 primary false")
		c.Sim.Cloud().ResetCalls()
		c.must(c.PatchNodeENI(t.Context(), "prefixes", `{"spec":{"ipv4":{"prefixes":3},"ipv6":{"prefixes":2}}}`))
		c.awaitHeld(node, "prefixes", "IPv4 1+3 IPv6 0+2 primary false")
		c.onlyCalls(c.source(node), map[string]int{assignIPv4Call: 1, assignIPv6Call: 1})
	})
}

// testNoShrinking: the API server refuses what pods could not live with.
func (c *cluster) testNoShrinking(t *testing.T) {
	c.Sim.Cloud().ResetCalls()
	for _, test := range []struct{ name, patch, why string }{
		{"living", `{"ipv4":{"secondaryAddresses":3}}`, "pods may use"},
		{"living", `{"ipv4":null}`, "pods may use"},
		{"living", `{"ipv6":{"addresses":1}}`, "pods may use"},
		{"living", `{"ipv6":{"primaryIPv6":false}}`, "EC2 cannot undo it"},
		{"prefixes", `{"ipv4":{"prefixes":2}}`, "pods may use"},
		{"prefixes", `{"ipv6":null}`, "pods may use"},
		{"living", `{"networkCard":1}`, "keeps its network card"},
	} {
		if err := c.PatchNodeENI(t.Context(), test.name, `{"spec":`+test.patch+`}`); err == nil || !strings.Contains(err.Error(), test.why) {
			t.Errorf("to %s of %s, the API server says %v", test.patch, test.name, err)
		}
	}
	c.onlyCalls(c.source("node-2"), map[string]int{})
}

// testNetworkCard: device indexes count per card.
func (c *cluster) testNetworkCard(t *testing.T) {
	const node = "node-3"
	c.stranger(node, 1) // on card 0
	c.agent(node)
	for i, name := range []string{"first", "second"} {
		c.want(node, name, c.ipv6Spec("data", "networkCard: 1", "deviceIndex: 1", "ipv6: {addresses: 1}"))
		entry := c.awaitReady(node, name, 1)[0]
		e := c.eni(entry.ENIID)
		if a := e.Attachment; a.NetworkCardIndex != 1 || int(a.DeviceIndex) != i+1 || entry.NetworkCard != 1 || entry.DeviceIndex != a.DeviceIndex {
			t.Errorf("EC2 has %+v, and the report %+v", a, entry)
		}
		c.await("the link", func() string { return c.configured(node, e, true, 0) }) // table 20101, 20102
	}
	c.expectCalls(c.source(node), map[string]int{createCall: 2, attachCall: 2, modifyCall: 2})
}

// testUnsupported: EC2 is not asked in vain for what the node's instance type does not have,
// be it for a new ENI or for a living one, which stays as it is.
func (c *cluster) testUnsupported(t *testing.T) {
	const node = "node-4"
	unsupported := func(words ...string) func(v1alpha1.ENIState) string {
		return says(v1alpha1.PhaseFailed, "UnsupportedByInstanceType", append(words, "m5.xlarge")...)
	}
	c.agent(node)
	c.want(node, "beyond", c.ipv6Spec("data", "networkCard: 1", "ipv4: {prefixes: 15}", "enaExpress: {enabled: true}", "enaQueues: 4"))
	c.awaitEntry(node, "beyond", unsupported("no network card 1", "at most 15 IPv4 addresses", "not support ENA Express", "custom number of ENA queues"))
	c.expectCalls(c.source(node), nil)
	c.must(c.DeleteNodeENI(t.Context(), "beyond"))
	c.awaitNodeENIGone("beyond")

	c.want(node, node, c.ipv6Spec("data", "ipv4: {secondaryAddresses: 1}", "ipv6: {addresses: 1}"))
	e := c.awaitHeld(node, node, "IPv4 2+0 IPv6 1+0 primary false")
	c.Sim.Cloud().ResetCalls()
	c.must(c.PatchNodeENI(t.Context(), node, `{"spec":{"enaExpress":{"enabled":true}}}`))
	c.await("it is reported beside the ENI", func() string {
		entries := c.entries(node, node)
		if phases(entries) != "Failed Ready" {
			return fmt.Sprintf("%+v", entries)
		}
		failed := entries[slices.IndexFunc(entries, func(e v1alpha1.ENIState) bool { return e.Phase == v1alpha1.PhaseFailed })]
		return unsupported("not support ENA Express")(failed)
	})
	if problem := c.configured(node, e, true, 0); problem != "" {
		t.Error(problem)
	}
	c.must(c.PatchNodeENI(t.Context(), node, `{"spec":{"enaExpress":null}}`))
	same(t, c.awaitHeld(node, node, "IPv4 2+0 IPv6 1+0 primary false").ID, e.ID)
	c.onlyCalls(c.source(node), map[string]int{})
}

// testKilledAtAssign: EC2 has assigned addresses, and the agent does not get the answer,
// or does not live to see it. Such a call has no token, and describes lag: there are never
// more than wanted.
func (c *cluster) testKilledAtAssign(t *testing.T) {
	const killed, deaf = "node-4", "node-1" // which has "all"
	c.lag(3 * lagging)
	c.Sim.Cloud().ResetCalls()
	once := map[string]int{assignIPv4Call: 1, assignIPv6Call: 1}
	for call := range once {
		c.fault(killed, cloud.Fault{Action: call, After: true, Hang: true, Count: 1})
	}
	c.fault(deaf, cloud.Fault{Action: assignIPv4Call, After: true, Count: 1})                        // the connection breaks
	c.fault(deaf, cloud.Fault{Action: assignIPv6Call, After: true, Code: "InternalError", Count: 1}) // the SDK would try again
	c.must(c.PatchNodeENI(t.Context(), killed, `{"spec":{"ipv4":{"secondaryAddresses":3},"ipv6":{"addresses":3}}}`))
	c.must(c.PatchNodeENI(t.Context(), "all", `{"spec":{"ipv4":{"prefixes":2},"ipv6":{"addresses":3}}}`))
	for call := range once {
		c.awaitCall(killed, call, 1)
		c.awaitCall(deaf, call, 1)
	}
	c.restart(killed)
	c.awaitCall(killed, describeCall, 1)
	c.stays("EC2 has what is wanted", lagging, func() string {
		got := has(c.made(killed)[0]) + ", " + has(c.made(deaf)[0])
		if got != "IPv4 4+0 IPv6 3+0 primary false, IPv4 1+2 IPv6 3+0 primary true tracking 350 40 120 express true true queues 4" {
			return "it has " + got
		}
		return ""
	})
	c.expectCalls(c.source(killed), once)
	c.expectCalls(c.source(deaf), once)
}
