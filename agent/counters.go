package agent

import (
	"log/slog"
	"strings"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/aws-multi-eni/aws-multi-eni/agent/hostnet"
)

// CounterSource reads the counters of links; a hostnet.Host does.
type CounterSource interface {
	Counters(of []hostnet.Seen, wanted func(name string) bool) ([]hostnet.Counters, error)
}

// Counters serves what the kernel and ENA's driver count for the links of this node's
// ENIs. Each scrape reads them in its own goroutine; all that it has from the loop is a
// list, which the loop replaces and never changes. A nil Counters serves nothing.
type Counters struct {
	source CounterSource
	log    *slog.Logger
	links  atomic.Pointer[[]attachedLink]
}

// attachedLink is the link of an ENI that is wanted, and attached here.
type attachedLink struct {
	nodeENI, subnet, eni string
	seen                 hostnet.Seen
}

// NewCounters makes and registers them.
func NewCounters(registry prometheus.Registerer, source CounterSource, log *slog.Logger) *Counters {
	c := &Counters{source: source, log: log}
	registry.MustRegister(c)
	return c
}

// publishLinks gives scrapes the links that there are now.
func (a *Agent) publishLinks(p plan) {
	if a.Counters == nil {
		return
	}
	var links []attachedLink
	for _, w := range a.desired.wants {
		e, _ := a.inventory.Get(p.assigned[w.Slot])
		mac, link := hardwareAddr(e.MAC), a.host.links[e.ID]
		if mac != nil && (link.Present || e.AttachedTo(a.Identity.InstanceID)) {
			links = append(links, attachedLink{w.nodeENI, w.SubnetID, e.ID, hostnet.Seen{MAC: mac, Index: link.Index}})
		}
	}
	a.Counters.links.Store(&links)
}

// linkDesc describes a metric of a link.
func linkDesc(name, help string, more ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, append([]string{"nodeeni", "subnet", "eni", "link"}, more...), nil)
}

var linkInfo = linkDesc("eni_link_info", "Always 1 for each ENI. The label location shows where the link is: host, pod (in another network namespace, in which the agent cannot read the driver's counters), none (not found).", "location")

// linkMetrics are what the kernel counts for every link.
var linkMetrics = []struct {
	desc  *prometheus.Desc
	count func(hostnet.Counters) uint64
}{
	{linkDesc("eni_link_receive_bytes_total", "Number of bytes that the link has received."), func(c hostnet.Counters) uint64 { return c.Received.Bytes }},
	{linkDesc("eni_link_receive_packets_total", "Number of packets that the link has received."), func(c hostnet.Counters) uint64 { return c.Received.Packets }},
	{linkDesc("eni_link_receive_drop_total", "Number of received packets that were dropped, by the driver or because nothing on the host handles their protocol."), func(c hostnet.Counters) uint64 { return c.Received.Dropped }},
	{linkDesc("eni_link_transmit_bytes_total", "Number of bytes that the link has sent."), func(c hostnet.Counters) uint64 { return c.Transmitted.Bytes }},
	{linkDesc("eni_link_transmit_packets_total", "Number of packets that the link has sent."), func(c hostnet.Counters) uint64 { return c.Transmitted.Packets }},
	{linkDesc("eni_link_transmit_drop_total", "Number of outgoing packets that the driver dropped."), func(c hostnet.Counters) uint64 { return c.Transmitted.Dropped }},
}

// driverMetric is how a driver's counter is served.
type driverMetric struct {
	desc   *prometheus.Desc
	kind   prometheus.ValueType
	labels []string // values of the metric's own labels, after those of the link
}

// enaMetrics has the counters of ENA's driver by the names that `ethtool -S` shows.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/monitoring-network-performance-ena.html
var enaMetrics = func() map[string]driverMetric {
	const counter, gauge = prometheus.CounterValue, prometheus.GaugeValue
	exceeded := linkDesc("eni_ena_allowance_exceeded_total", "Number of packets that EC2 queued or dropped because they exceeded an allowance: bw_in, bw_out, pps, and conntrack of the instance, or linklocal of the ENI (packets to DNS, IMDS, and the time service). In ethtool -S, it is NAME_allowance_exceeded.", "allowance")
	return map[string]driverMetric{
		"bw_in_allowance_exceeded":      {exceeded, counter, []string{"bw_in"}},
		"bw_out_allowance_exceeded":     {exceeded, counter, []string{"bw_out"}},
		"pps_allowance_exceeded":        {exceeded, counter, []string{"pps"}},
		"conntrack_allowance_exceeded":  {exceeded, counter, []string{"conntrack"}},
		"linklocal_allowance_exceeded":  {exceeded, counter, []string{"linklocal"}},
		"conntrack_allowance_available": {linkDesc("eni_ena_conntrack_allowance_available", "Number of further connections that EC2 can track for the instance before it drops packets of new connections."), gauge, nil},
		"ena_srd_mode":                  {linkDesc("eni_ena_srd_mode", "ENA Express mode: 0 (disabled), 1 (enabled for TCP), 2 (disabled, but the setting for UDP remains), 3 (enabled for TCP and UDP)."), gauge, nil},
		"ena_srd_tx_pkts":               {linkDesc("eni_ena_srd_tx_pkts_total", "Number of packets that were sent with SRD."), counter, nil},
		"ena_srd_eligible_tx_pkts":      {linkDesc("eni_ena_srd_eligible_tx_pkts_total", "Number of sent packets for which both ends and the path supported SRD."), counter, nil},
		"ena_srd_rx_pkts":               {linkDesc("eni_ena_srd_rx_pkts_total", "Number of packets that were received with SRD."), counter, nil},
		"ena_srd_resource_utilization":  {linkDesc("eni_ena_srd_resource_utilization", "Percentage of the instance's memory for SRD connections that is in use."), gauge, nil},
	}
}()

func isENAMetric(name string) bool { _, ok := enaMetrics[name]; return ok }

// Describe implements prometheus.Collector.
func (c *Counters) Describe(descs chan<- *prometheus.Desc) {
	descs <- linkInfo
	for _, m := range linkMetrics {
		descs <- m.desc
	}
	for _, m := range enaMetrics {
		descs <- m.desc
	}
}

// Collect implements prometheus.Collector. What cannot be read is left out, so that it
// does not take the other metrics with it.
func (c *Counters) Collect(metrics chan<- prometheus.Metric) {
	links := c.links.Load()
	if links == nil || len(*links) == 0 {
		return
	}
	var seen []hostnet.Seen
	for _, l := range *links {
		seen = append(seen, l.seen)
	}
	counters, err := c.source.Counters(seen, isENAMetric)
	if err != nil {
		c.log.Warn("cannot read all counters of the ENIs' links; /metrics omits them this time", "error", err)
	}
	for i, l := range *links {
		if counters[i].Place != "" {
			l.show(counters[i], metrics)
		}
	}
}

func (l attachedLink) show(c hostnet.Counters, metrics chan<- prometheus.Metric) {
	// A label must be UTF-8; the name that a pod gives a link need not be.
	name := strings.ToValidUTF8(c.Name, "?")
	send := func(desc *prometheus.Desc, kind prometheus.ValueType, value float64, more ...string) {
		metrics <- prometheus.MustNewConstMetric(desc, kind, value, append([]string{l.nodeENI, l.subnet, l.eni, name}, more...)...)
	}
	send(linkInfo, prometheus.GaugeValue, 1, string(c.Place))
	if c.Place == hostnet.PlaceNone {
		return
	}
	for _, m := range linkMetrics {
		send(m.desc, prometheus.CounterValue, float64(m.count(c)))
	}
	for counter, value := range c.Driver {
		if m, ok := enaMetrics[counter]; ok {
			send(m.desc, m.kind, float64(value), m.labels...)
		}
	}
}
