package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	"github.com/aws-multi-eni/aws-multi-eni/agent/hostnet"
	"github.com/aws-multi-eni/aws-multi-eni/agent/inventory"
	"github.com/aws-multi-eni/aws-multi-eni/imds"
)

// Which of ENA's counters are served, with metric, own label and type; no other counter of
// a driver is.
func TestENAMetrics(t *testing.T) {
	for name, want := range map[string]string{
		"bw_in_allowance_exceeded":      "eni_ena_allowance_exceeded_total bw_in counter",
		"bw_out_allowance_exceeded":     "eni_ena_allowance_exceeded_total bw_out counter",
		"pps_allowance_exceeded":        "eni_ena_allowance_exceeded_total pps counter",
		"conntrack_allowance_exceeded":  "eni_ena_allowance_exceeded_total conntrack counter",
		"linklocal_allowance_exceeded":  "eni_ena_allowance_exceeded_total linklocal counter",
		"conntrack_allowance_available": "eni_ena_conntrack_allowance_available  gauge",
		"ena_srd_mode":                  "eni_ena_srd_mode  gauge",
		"ena_srd_tx_pkts":               "eni_ena_srd_tx_pkts_total  counter",
		"ena_srd_eligible_tx_pkts":      "eni_ena_srd_eligible_tx_pkts_total  counter",
		"ena_srd_rx_pkts":               "eni_ena_srd_rx_pkts_total  counter",
		"ena_srd_resource_utilization":  "eni_ena_srd_resource_utilization  gauge",
		// Others of ENA's, a veth's, and none.
		"tx_timeout": "", "queue_0_tx_cnt": "", "ena_admin_q_aborted_cmd": "", "allowance_exceeded": "",
		"peer_ifindex": "", "bw_in_allowance_exceeded_": "", "": "",
	} {
		got := ""
		if m, ok := enaMetrics[name]; ok {
			kind := map[prometheus.ValueType]string{prometheus.CounterValue: "counter", prometheus.GaugeValue: "gauge"}[m.kind]
			fqName := strings.Split(m.desc.String(), `"`)[1]
			got = fmt.Sprintf("%s %s %s", fqName, strings.Join(m.labels, ","), kind)
		}
		if got != want {
			t.Errorf("%q is shown as %q, want %q", name, got, want)
		}
	}
}

// counted is a CounterSource in memory.
type counted struct {
	counters map[string]hostnet.Counters // by MAC; without a Driver they have ENA's
	err      error

	mu     sync.Mutex
	seen   []hostnet.Seen
	wanted []string
}

func (s *counted) Counters(of []hostnet.Seen, wanted func(string) bool) (all []hostnet.Counters, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen, s.wanted = of, nil
	for _, name := range []string{"tx_timeout", "bw_in_allowance_exceeded", "ena_srd_mode", "peer_ifindex"} {
		if wanted(name) {
			s.wanted = append(s.wanted, name)
		}
	}
	for _, l := range of {
		all = append(all, s.counters[l.MAC.String()])
	}
	return all, s.err
}

// page is /metrics with nothing else on it.
func page(t *testing.T, registry prometheus.Gatherer) string {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	for _, family := range families {
		if _, err := expfmt.MetricFamilyToText(&text, family); err != nil {
			t.Fatal(err)
		}
	}
	return text.String()
}

// showing is an agent with a NodeENI for each of these names, the n-th of which has an ENI
// whose MAC ends in n, and what it shows.
func showing(t *testing.T, log *slog.Logger, source *counted, ids ...string) (*Agent, *prometheus.Registry) {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	a := New(Config{Counters: NewCounters(registry, source, log), Log: slog.New(slog.DiscardHandler), Identity: imds.Identity{InstanceID: me}})
	now := time.Unix(100_000, 0)
	var all []fixture
	for i, id := range ids {
		w := wantFor(id, subnetA, int32(i+1))
		a.desired.wants = append(a.desired.wants, w)
		all = append(all, eniFor("eni-"+id, id, subnetA).at(me, w.deviceIndex, "attached").with(func(e *inventory.ENI) {
			e.MAC = fmt.Sprintf("02:00:00:00:00:%02x", i+1)
		}))
	}
	a.synced(now, all...)
	a.publishLinks(next(a.view(now)))
	return a, registry
}

func ena() map[string]uint64 {
	return map[string]uint64{
		"bw_in_allowance_exceeded": 10, "bw_out_allowance_exceeded": 11, "pps_allowance_exceeded": 12,
		"conntrack_allowance_exceeded": 13, "linklocal_allowance_exceeded": 14, "conntrack_allowance_available": 136812,
		"ena_srd_mode": 3, "ena_srd_tx_pkts": 15, "ena_srd_eligible_tx_pkts": 16, "ena_srd_rx_pkts": 17, "ena_srd_resource_utilization": 18,
		"tx_timeout": 99, "queue_0_tx_cnt": 99,
	}
}

// A link on the host, one that is a veth, one that a pod has, one that is nowhere,
// and one that could not be read.
func TestCountersPage(t *testing.T) {
	traffic := func(n uint64) hostnet.Traffic { return hostnet.Traffic{Bytes: n + 1, Packets: n + 2, Dropped: n + 3} }
	source := &counted{err: errors.New("the kernel is out of order"), counters: map[string]hostnet.Counters{
		"02:00:00:00:00:01": {Place: hostnet.PlaceHost, Name: "ens6", Received: traffic(100), Transmitted: traffic(200), Driver: ena()},
		"02:00:00:00:00:02": {Place: hostnet.PlaceHost, Name: "eth2", Received: traffic(300), Transmitted: traffic(400)},
		"02:00:00:00:00:03": {Place: hostnet.PlacePod, Name: "net\xff1", Received: traffic(500), Transmitted: traffic(600)},
		"02:00:00:00:00:04": {Place: hostnet.PlaceNone},
	}}
	var log strings.Builder
	_, registry := showing(t, slog.New(slog.NewTextHandler(&log, nil)), source, "ena", "veth", "taken", "gone", "unread")
	want, err := os.ReadFile("testdata/counters.txt")
	if err != nil {
		t.Fatal(err)
	}
	if got := page(t, registry); got != string(want) {
		t.Errorf("the page is\n%s\nwant\n%s", got, want)
	}
	if !slices.Equal(source.wanted, []string{"bw_in_allowance_exceeded", "ena_srd_mode"}) {
		t.Errorf("of the drivers' counters it wants %v", source.wanted)
	}
	if !strings.Contains(log.String(), "the kernel is out of order") {
		t.Errorf("nothing is said of what could not be read: %q", log.String())
	}
}

// Only ENIs that are wanted and attached here are shown, and where their links are is what
// the last reconcile saw.
func TestPublishedLinks(t *testing.T) {
	now := time.Unix(100_000, 0)
	source := &counted{}
	a, registry := showing(t, slog.New(slog.DiscardHandler), source, "a", "b", "c")
	a.host.links["eni-a"] = linkState{Status: hostnet.Status{Present: true, Index: 7, Name: "eth7"}}
	a.host.links["eni-b"] = linkState{wait: wait{waiting: now}} // a pod has it
	a.desired.wants = a.desired.wants[:2]                       // nothing wants the third one any more
	published := func(when string, want string) {
		t.Helper()
		a.publishLinks(next(a.view(now)))
		source.seen = nil
		page(t, registry)
		var got []string
		for _, s := range source.seen {
			got = append(got, fmt.Sprintf("%v %d", s.MAC, s.Index))
		}
		if text := strings.Join(got, ", "); text != want {
			t.Errorf("%s: %q, want %q", when, text, want)
		}
	}
	published("with two ENIs", "02:00:00:00:00:01 7, 02:00:00:00:00:02 0")
	a.Identity.InstanceID = other
	published("where the other one is not attached", "02:00:00:00:00:01 7")
	a.desired.wants = nil
	published("when nothing is wanted", "")
}

// A scrape reads nothing that a reconcile may be changing.
func TestScrapeBesideReconcile(t *testing.T) {
	source := &counted{counters: map[string]hostnet.Counters{
		"02:00:00:00:00:01": {Place: hostnet.PlaceHost, Name: "eth7", Driver: ena()},
		"02:00:00:00:00:02": {Place: hostnet.PlacePod, Name: "net1"},
	}}
	registry := prometheus.NewPedanticRegistry()
	a := settledAgent(2)
	a.Counters = NewCounters(registry, source, slog.New(slog.DiscardHandler))
	over := make(chan struct{})
	var scrapes sync.WaitGroup
	for range 2 {
		scrapes.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				if _, err := registry.Gather(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	now := time.Unix(100_000, 0)
	for i := range 200 {
		if i%10 == 5 {
			a.host.forget("eni-00") // as when an ENI is attached again
		}
		a.reconcile(context.Background(), now)
	}
	close(over)
	scrapes.Wait()
	text := page(t, registry)
	for _, want := range []string{
		`eni_link_info{eni="eni-00",link="eth7",location="host",nodeeni="data-00",subnet="` + subnetA + `"} 1`,
		`eni_link_info{eni="eni-01",link="net1",location="pod",nodeeni="data-01",subnet="` + subnetA + `"} 1`,
		`eni_ena_allowance_exceeded_total{allowance="pps",eni="eni-00",link="eth7",nodeeni="data-00",subnet="` + subnetA + `"} 12`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("%s is missing:\n%s", want, text)
		}
	}
}
