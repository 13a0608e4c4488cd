package e2e

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// samples are those of a page, by name with labels.
type samples map[string]float64

// scrape reads the metrics of a program; none while it does not answer.
func scrape(client *http.Client, address string) samples {
	page := samples{}
	text, ok := strings.CutPrefix(answerOf(client, "http://"+address+"/metrics"), "200 ")
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if i := strings.LastIndex(line, "} "); i > 0 {
			name, value = line[:i+1], strings.TrimSpace(line[i+2:])
		}
		if n, err := strconv.ParseFloat(value, 64); ok && err == nil && name != "#" {
			page[name] = n
		}
	}
	return page
}

// total adds up the samples of a metric; of a histogram, its count.
func (s samples) total(metric string) (sum float64, present bool) {
	for name, value := range s {
		bare, _, _ := strings.Cut(name, "{")
		if bare == metric || bare == metric+"_count" {
			sum, present = sum+value, true
		}
	}
	return sum, present
}

var metricRow = regexp.MustCompile("(?m)^\\| `(eni_\\w+)")

// Every metric that docs/metrics.md lists is really served, and the life of one ENI
// on which things go wrong moves it.
func TestMetrics(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, nil)
	n, err := c.Sim.Node("node-1")
	c.must(err)
	onNode := &http.Client{Transport: &http.Transport{DialContext: n.Namespace.DialContext, DisableKeepAlives: true}}
	ofAgent := func() samples { return scrape(onNode, c.served("node-1")) }
	port := freePort(t)
	ofCoordinator := func() samples { return scrape(http.DefaultClient, port) }
	expect := func(what string, of func() samples, want samples) {
		t.Helper()
		c.await(what, func() string {
			got := of()
			for name, value := range want {
				if got[name] != value {
					return fmt.Sprintf("%s is %v, want %v", name, got[name], value)
				}
			}
			return ""
		})
	}

	c.fault("node-1", cloud.Fault{Action: createCall, Code: "RequestLimitExceeded", Count: 1})
	c.fault("node-1", cloud.Fault{Action: modifyCall, Code: "UnauthorizedOperation", Count: 1})
	c.coordinator("coordinator-1", "--http-address", port)
	c.agentInPod("node-1", c.PodsFlags("node-1")...)
	spec := c.hostSpec() + "\npods: {}"
	c.want("node-1", "data", spec)
	c.awaitEntry("node-1", "data", func(e v1alpha1.ENIState) string {
		if e.Reason != "UnauthorizedOperation" {
			return "want UnauthorizedOperation"
		}
		return ""
	})
	expect("the agent while an ENI has failed", ofAgent, samples{
		`eni_agent_enis{phase="Failed"}`: 1, `eni_agent_enis{phase="Ready"}`: 0, "eni_agent_eni_ready_seconds_count": 0,
	})
	c.want("node-1", "data", strings.Replace(spec, "9001", "8000", 1)) // it is tried at once
	c.await("Ready", func() string {
		entries := c.entries("node-1", "data")
		if phases(entries) != "Ready" {
			return phases(entries)
		}
		return ""
	})
	expect("the agent with a ready ENI", ofAgent, samples{
		`eni_agent_enis{phase="Failed"}`: 0, `eni_agent_enis{phase="Ready"}`: 1, "eni_agent_eni_ready_seconds_count": 1,
		`eni_agent_eni_step_seconds_count{step="create"}`: 1, `eni_agent_eni_step_seconds_count{step="configure"}`: 1,
		`eni_ec2_calls_total{action="CreateNetworkInterface",code="RequestLimitExceeded"}`:           1,
		`eni_ec2_calls_total{action="CreateNetworkInterface",code="OK"}`:                             1,
		`eni_ec2_calls_total{action="ModifyNetworkInterfaceAttribute",code="UnauthorizedOperation"}`: 1,
		"eni_ec2_throttled_calls_total": 1, "eni_ec2_denied_calls_total": 1,
		`eni_agent_repairs_total{object="link"}`: 0,
	})
	c.onHost("node-1", func(h *netlink.Handle) error {
		rules, err := h.RuleList(unix.AF_INET)
		for _, r := range rules {
			if inBand(r.Priority) {
				return h.RuleDel(&r)
			}
		}
		return fmt.Errorf("no rule of ours: %w", err)
	})
	expect("the agent after a repair", ofAgent, samples{`eni_agent_repairs_total{object="link"}`: 1})

	withLink := c.expectLinkCounters("node-1", "data", ofAgent)

	c.inject(cloud.Fault{Action: detachCall, Code: "RequestLimitExceeded", SourceID: "coordinator-1"})
	c.must(c.DeleteNodeENI(t.Context(), "data"))
	expect("the coordinator while it is throttled", ofCoordinator, samples{
		`eni_coordinator_left_over_enis{reason="NodeENIDeleted"}`:             1,
		`eni_coordinator_left_over_enis_found_total{reason="NodeENIDeleted"}`: 1,
	})
	seen, _ := ofCoordinator().total("eni_coordinator_oldest_left_over_seconds")
	if seen <= 0 {
		t.Errorf("the oldest left-over ENI is so for %v s", seen)
	}
	c.await("a throttled call", func() string {
		if n, _ := ofCoordinator().total("eni_ec2_throttled_calls_total"); n == 0 {
			return "none"
		}
		return ""
	})
	c.Sim.Cloud().ClearFaults()
	c.awaitENIs(0)
	c.awaitNodeENIGone("data")
	expect("the coordinator in the end", ofCoordinator, samples{
		`eni_coordinator_left_over_enis{reason="NodeENIDeleted"}`: 0, "eni_coordinator_oldest_left_over_seconds": 0,
		`eni_coordinator_collection_steps_total{outcome="done",step="detach"}`: 1,
		`eni_coordinator_collection_steps_total{outcome="done",step="delete"}`: 1,
		"eni_coordinator_collection_seconds_count":                             1, "eni_coordinator_leader": 1,
	})

	page, err := os.ReadFile("../docs/metrics.md")
	c.must(err)
	agent, coordinator := ofAgent(), ofCoordinator()
	// What a good life leaves at 0, and is awaited above or in other tests.
	zero := map[string]bool{
		"eni_agent_claims": true, "eni_agent_claim_writes_total": true, "eni_agent_slice_writes_total": true, "eni_agent_idle_enis": true, // without --on-demand
		"eni_agent_enis_out_of_touch": true, "eni_coordinator_cleanup_blocked": true, "eni_coordinator_detaches_undone_total": true,
		"eni_agent_links_overdue": true, "eni_agent_enis": true, "eni_coordinator_left_over_enis": true, "eni_coordinator_oldest_left_over_seconds": true,
	}
	for _, row := range metricRow.FindAllStringSubmatch(string(page), -1) {
		if strings.HasPrefix(row[1], "eni_dra_") {
			continue // of a program that does not run here
		}
		// There are those of links and pods only while there are ENIs. A veth has none of ENA's.
		if ena := strings.HasPrefix(row[1], "eni_ena_"); ena || strings.HasPrefix(row[1], "eni_link_") || row[1] == "eni_agent_pod_addresses" {
			if _, served := withLink.total(row[1]); served == ena {
				t.Errorf("%s of a veth is served: %v", row[1], served)
			}
			continue
		}
		ofAgent, here := agent.total(row[1])
		ofCoordinator, there := coordinator.total(row[1])
		if !here && !there {
			t.Errorf("%s is documented, and neither agent nor coordinator serves it", row[1])
		} else if ofAgent+ofCoordinator == 0 && !zero[row[1]] {
			t.Errorf("%s is served, and never set", row[1])
		}
	}
	for _, usual := range []string{"go_goroutines", "process_resident_memory_bytes"} {
		if agent[usual] == 0 || coordinator[usual] == 0 {
			t.Errorf("%s is missing", usual)
		}
	}

	c.must(c.agents["node-1"].Stop())
	c.agentInPod("node-1", "--eni-counters=false")
	c.want("node-1", "data", c.hostSpec())
	expect("the agent without the counters of links", ofAgent, samples{`eni_agent_enis{phase="Ready"}`: 1})
	if _, counted := ofAgent().total("eni_link_info"); counted {
		t.Error("the counters of links are served, though that is turned off")
	}
}

// expectLinkCounters expects an agent to say where the link of its only ENI of this
// NodeENI is, on the host and when a pod takes it; the pod does not give it back. It
// returns what the agent has served before that.
func (c *cluster) expectLinkCounters(node, nodeENI string, ofAgent func() samples) samples {
	c.t.Helper()
	e := c.entries(node, nodeENI)[0]
	awaitAt := func(location string) (page samples) {
		name := fmt.Sprintf(`eni_link_info{eni="%s",link="%s",location="%s",nodeeni="%s",subnet="%s"}`, e.ENIID, e.InterfaceName, location, nodeENI, e.SubnetID)
		c.await("the link's location is "+location, func() string {
			page = ofAgent()
			if places, _ := page.total("eni_link_info"); page[name] != 1 || places != 1 {
				return fmt.Sprintf("%s is %v, of %v", name, page[name], places)
			}
			return ""
		})
		return page
	}
	onHost := awaitAt("host")
	pod, err := netns.New()
	c.must(err)
	defer pod.Close()
	c.moveLink(node, e.ENIID, pod)
	if _, counted := awaitAt("pod").total("eni_link_transmit_bytes_total"); !counted {
		c.t.Error("what the link sends in the pod is not counted")
	}
	return onHost
}
