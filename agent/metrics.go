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

// Metrics are the agent's. A nil Metrics counts nothing.
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
	lastHeartbeat prometheus.Gauge
}

// NewMetrics makes metrics and registers them. Whatever may be missing for long is
// there from the start with 0: an increase from nothing is none to Prometheus.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		calls: eni.NewMetrics(registry),
		ready: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "eni_agent_eni_ready_seconds",
			Help:    "Time from when an ENI was wanted to when it was first ready.",
			Buckets: []float64{.5, 1, 2, 3, 5, 10, 20, 30, 60, 120, 300, 600, 1800},
		}),
		step: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "eni_agent_eni_step_seconds",
			Help:    "The parts of that time by step: create (until EC2 had created it), attach (until EC2 had attached it), link (until its link appeared), configure (until link and attributes were as wanted).",
			Buckets: []float64{.01, .05, .1, .2, .5, 1, 2, 5, 10, 30, 60, 300, 1800},
		}, []string{"step"}),
		enis: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "eni_agent_enis",
			Help: "ENIs of this node by phase, as in its NodeENIState.",
		}, []string{"phase"}),
		linksOverdue: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "eni_agent_links_overdue",
			Help: "ENIs in phase Configuring that EC2 says are attached, and whose link has been missing for over a minute: a pod may have taken it.",
		}),
		outOfTouch: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "eni_agent_enis_out_of_touch",
			Help: "ENIs that others have detached or deleted, and that are not attached or replaced because the API server does not confirm that they are wanted.",
		}),
		reconciles: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "eni_agent_reconciles_total",
			Help: "Reconciles of the agent's loop by cause: wanted (a NodeENI or the Node changed), result (of a call), host (a link, address, rule or route changed), timer.",
		}, []string{"cause"}),
		repairs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "eni_agent_repairs_total",
			Help: "Changes on the host that undo what others did, by object: link (name, MTU, addresses, rules and routes of an ENI that had them before), leftover (rules and routes of ENIs that are no more).",
		}, []string{"object"}),
		reportWrites: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "eni_agent_state_writes_total",
			Help: "Writes of the node's report (NodeENIState, or the state file) by result: ok, error.",
		}, []string{"result"}),
		lastHeartbeat: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "eni_agent_last_heartbeat_timestamp_seconds",
			Help: "When the agent's loop last turned, which it does every 10 s.",
		}),
	}
	for _, p := range phases {
		m.enis.WithLabelValues(string(p))
	}
	for _, c := range []cause{causeWanted, causeResult, causeHost, causeTimer} {
		m.reconciles.WithLabelValues(string(c))
	}
	for vec, values := range map[*prometheus.CounterVec][]string{m.repairs: {repairLink, repairLeftover}, m.reportWrites: {resultOK, resultError}} {
		for _, v := range values {
			vec.WithLabelValues(v)
		}
	}
	registry.MustRegister(m.ready, m.step, m.enis, m.linksOverdue, m.outOfTouch, m.reconciles, m.repairs, m.reportWrites, m.lastHeartbeat)
	return m
}

const (
	repairLink     = "link"
	repairLeftover = "leftover"
	resultOK       = "ok"
	resultError    = "error"
)

// Calls are those to EC2.
func (m *Metrics) Calls() *eni.Metrics {
	if m == nil {
		return nil
	}
	return m.calls
}

// Heartbeat notes that the loop turns.
func (m *Metrics) Heartbeat() { m.lastHeartbeat.SetToCurrentTime() }

func (m *Metrics) reconciled(c cause) {
	if m != nil {
		m.reconciles.WithLabelValues(string(c)).Inc()
	}
}

func (m *Metrics) repaired(object string, changes int) {
	if m != nil {
		m.repairs.WithLabelValues(object).Add(float64(changes))
	}
}

func (m *Metrics) wroteReport(err error) {
	switch {
	case m == nil:
	case err != nil:
		m.reportWrites.WithLabelValues(resultError).Inc()
	default:
		m.reportWrites.WithLabelValues(resultOK).Inc()
	}
}

// reported shows the report's ENIs.
func (m *Metrics) reported(entries []v1alpha1.ENIState) {
	if m == nil {
		return
	}
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
	if m == nil {
		return
	}
	for step, took := range v.steps(ready) {
		m.step.WithLabelValues(step).Observe(took.Seconds())
	}
	m.ready.Observe(ready.Sub(v.wanted).Seconds())
}
