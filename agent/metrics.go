package agent

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// phases are those that a report knows.
var phases = []v1alpha1.Phase{
	v1alpha1.PhasePending, v1alpha1.PhaseAttaching, v1alpha1.PhaseConfiguring, v1alpha1.PhaseReady,
	v1alpha1.PhaseFailed, v1alpha1.PhaseReleasing, v1alpha1.PhaseReleased,
}

// cause is what started a reconcile.
type cause string

const (
	causeWanted cause = "wanted" // a NodeENI or the Node, or their files, changed
	causeResult cause = "result" // of a call to EC2 or the API server
	causeHost   cause = "host"   // a link, address, rule or route changed
	causeTimer  cause = "timer"  // something was due
)

// Metrics are the agent's.
type Metrics struct {
	calls *eni.Metrics

	ready         prometheus.Histogram
	step          *prometheus.HistogramVec
	enis          *prometheus.GaugeVec
	linksOverdue  prometheus.Gauge
	outOfTouch    prometheus.Gauge
	reconciles    *prometheus.CounterVec
	repairs       *prometheus.CounterVec
	reportWrites  *prometheus.CounterVec
	claims        *prometheus.GaugeVec
	idleENIs      prometheus.Gauge
	claimWrites   *prometheus.CounterVec
	sliceWrites   *prometheus.CounterVec
	lastHeartbeat prometheus.Gauge
}

// NewMetrics makes metrics and registers them. Whatever may be missing for long is
// there from the start with 0: an increase from nothing is none to Prometheus.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
		registry.MustRegister(g)
		return g
	}
	counter := func(name, help, label string, values ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
		registry.MustRegister(c)
		for _, v := range values {
			c.WithLabelValues(v)
		}
		return c
	}
	m := &Metrics{
		calls: eni.NewMetrics(registry),
		ready: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "eni_agent_eni_ready_seconds",
			Help:    "Time from when the node first needed an ENI until the ENI was Ready.",
			Buckets: []float64{.5, 1, 2, 3, 5, 10, 20, 30, 60, 120, 300, 600, 1800},
		}),
		step: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "eni_agent_eni_step_seconds",
			Help:    "Parts of eni_agent_eni_ready_seconds by step: create (until EC2 created the ENI), attach (until EC2 attached it), link (until the link appeared), configure (until the link and the attributes were configured).",
			Buckets: []float64{.01, .05, .1, .2, .5, 1, 2, 5, 10, 30, 60, 300, 1800},
		}, []string{"step"}),
		enis: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "eni_agent_enis",
			Help: "Number of ENIs of the node by phase, as in the NodeENIState.",
		}, []string{"phase"}),
		linksOverdue: gauge("eni_agent_links_overdue",
			"Number of ENIs in the phase Configuring that are attached in EC2, but whose link has been missing for more than a minute; a pod may have taken the link."),
		outOfTouch: gauge("eni_agent_enis_out_of_touch",
			"Number of ENIs that something else has detached or deleted, and that the agent does not attach or replace because the API server does not confirm that the node needs them."),
		reconciles: counter("eni_agent_reconciles_total",
			"Number of reconciles by cause: wanted (a NodeENI or the Node changed), result (a call ended), host (a link, address, rule, or route changed), timer.",
			"cause", string(causeWanted), string(causeResult), string(causeHost), string(causeTimer)),
		repairs: counter("eni_agent_repairs_total",
			"Number of repairs on the host after changes by something else, by object: link (name, MTU, addresses, rules, and routes of an ENI that had them before), leftover (rules and routes of removed ENIs).",
			"object", repairLink, repairLeftover),
		reportWrites: counter("eni_agent_state_writes_total",
			"Number of writes of the node's report (the NodeENIState or the state file) by result: ok, error.",
			"result", resultOK, resultError),
		claims: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "eni_agent_claims",
			Help: "Number of ResourceClaims that are allocated to devices of the node, by state: waiting, attached, failed. Only with --on-demand.",
		}, []string{"state"}),
		idleENIs: gauge("eni_agent_idle_enis",
			"Number of ENIs on demand that no ResourceClaim has, and that the agent keeps attached for the next one. Only with --on-demand."),
		claimWrites: counter("eni_agent_claim_writes_total",
			"Number of writes of the status of ResourceClaims by result: ok, error. Only with --on-demand.",
			"result", resultOK, resultError),
		sliceWrites: counter("eni_agent_slice_writes_total",
			"Number of updates of the ResourceSlices of the node by result: ok, error. Only with --on-demand.",
			"result", resultOK, resultError),
		lastHeartbeat: gauge("eni_agent_last_heartbeat_timestamp_seconds",
			"Unix time of the last iteration of the agent's main loop, which runs at least every 10 s."),
	}
	registry.MustRegister(m.ready, m.step, m.enis, m.claims)
	m.claimed(nil)
	for _, p := range phases {
		m.enis.WithLabelValues(string(p))
	}
	return m
}

const (
	repairLink     = "link"
	repairLeftover = "leftover"
	resultOK       = "ok"
	resultError    = "error"
)

// Calls are those to EC2.
func (m *Metrics) Calls() *eni.Metrics { return m.calls }

// Heartbeat notes that the loop turns.
func (m *Metrics) Heartbeat() { m.lastHeartbeat.SetToCurrentTime() }

func (m *Metrics) reconciled(c cause) { m.reconciles.WithLabelValues(string(c)).Inc() }

func (m *Metrics) repaired(object string, changes int) {
	m.repairs.WithLabelValues(object).Add(float64(changes))
}

func (m *Metrics) wroteReport(err error) { m.reportWrites.WithLabelValues(resultOf(err)).Inc() }

func (m *Metrics) wroteClaim(err error) { m.claimWrites.WithLabelValues(resultOf(err)).Inc() }

func (m *Metrics) wroteSlices(err error) { m.sliceWrites.WithLabelValues(resultOf(err)).Inc() }

func resultOf(err error) string {
	if err != nil {
		return resultError
	}
	return resultOK
}

// claimed shows how far claims are.
func (m *Metrics) claimed(states map[string]int) {
	for _, state := range []string{stateWaiting, stateAttached, stateFailed} {
		m.claims.WithLabelValues(state).Set(float64(states[state]))
	}
}

// reported shows the report's ENIs.
func (m *Metrics) reported(entries []v1alpha1.ENIState) {
	count := map[v1alpha1.Phase]int{}
	reasons := map[string]int{}
	for _, e := range entries {
		count[e.Phase]++
		reasons[e.Reason]++
	}
	for _, p := range phases {
		m.enis.WithLabelValues(string(p)).Set(float64(count[p]))
	}
	m.linksOverdue.Set(float64(reasons[reasonLinkOverdue]))
	m.outOfTouch.Set(float64(reasons[reasonOutOfTouch]))
}

// provisioned times an ENI that has become ready.
func (m *Metrics) provisioned(v provision, ready time.Time) {
	for step, took := range v.steps(ready) {
		m.step.WithLabelValues(step).Observe(took.Seconds())
	}
	m.ready.Observe(ready.Sub(v.wanted).Seconds())
}
