package coordinator

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// reasons are all for which an ENI can be left over.
var reasons = []reason{
	reasonNodeENIDeleted, reasonNodeDeleted, reasonNodeReplaced, reasonNotSelected,
	reasonSubnetUnlisted, reasonReleased, reasonNodeENIUnknown, reasonNodeUnknown, reasonBothUnknown,
}

// Metrics are the coordinator's. A nil Metrics counts nothing.
type Metrics struct {
	calls *eni.Metrics

	leader       prometheus.Gauge
	leftOver     *prometheus.GaugeVec
	found        *prometheus.CounterVec
	steps        *prometheus.CounterVec
	detachUndone prometheus.Counter
	contradicted *prometheus.GaugeVec
	collection   prometheus.Histogram
	sweeps       *prometheus.CounterVec
	sweep        prometheus.Histogram
	lastSweep    prometheus.Gauge
	statusWrites *prometheus.CounterVec

	oldest atomic.Int64 // Unix time in ns since when the oldest is left over; 0: none is
}

// NewMetrics makes metrics and registers them. Whatever may be missing for long is
// there from the start with 0: an increase from nothing is none to Prometheus.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		calls: eni.NewMetrics(registry),
		leader: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "eni_coordinator_leader",
			Help: "1 in the coordinator that leads, 0 in those that wait.",
		}),
		leftOver: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "eni_coordinator_left_over_enis",
			Help: "ENIs that are left over and not deleted yet, by reason, as the last sweep found them.",
		}, []string{"reason"}),
		found: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "eni_coordinator_left_over_enis_found_total",
			Help: "ENIs that were found to be left over, each once, by reason.",
		}, []string{"reason"}),
		steps: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "eni_coordinator_collection_steps_total",
			Help: "Steps of collection by step (detach, delete) and outcome: done, later (EC2 cannot yet), throttled, refused (until somebody changes something), held (EC2 refuses the same for other ENIs), postponed, dropped (something changed since the decision). The step refuse is for ENIs at device index 0, which are left alone.",
		}, []string{"step", "outcome"}),
		detachUndone: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "eni_coordinator_detaches_undone_total",
			Help: "Detaches of ENIs that were attached again afterwards, as by an agent that does not reach the API server.",
		}),
		contradicted: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "eni_coordinator_cleanup_blocked",
			Help: "NodeENIs whose ENIs are not deleted because what EC2 shows contradicts the Nodes and the agents' reports, by reason. WrongRegion and InstancesUnknown: EC2 is asked in the wrong place, and nothing is deleted.",
		}, []string{"reason"}),
		collection: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "eni_coordinator_collection_seconds",
			Help:    "Time from when an ENI was found left over to its deletion.",
			Buckets: []float64{1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600},
		}),
		sweeps: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "eni_coordinator_sweeps_total",
			Help: "Sweeps through the cluster's ENIs, all or those that events concern, by result: ok, error (EC2 did not list them).",
		}, []string{"result"}),
		sweep: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "eni_coordinator_sweep_duration_seconds",
			Help:    "Duration of a sweep, its steps included.",
			Buckets: []float64{.05, .1, .2, .5, 1, 2, 5, 10, 20, 30, 60},
		}),
		lastSweep: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "eni_coordinator_last_sweep_timestamp_seconds",
			Help: "When the leader last swept through all ENIs without an error; 0 before it has.",
		}),
		statusWrites: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "eni_coordinator_status_writes_total",
			Help: "Writes of a NodeENI's status by result: ok, conflict (tried again with the newer object), error.",
		}, []string{"result"}),
	}
	age := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "eni_coordinator_oldest_left_over_seconds",
		Help: "How long the ENI that has been left over for longest has been so; 0 when none is.",
	}, m.oldestAge)
	m.begin()
	registry.MustRegister(m.leader, m.leftOver, age, m.found, m.steps, m.detachUndone, m.contradicted, m.collection, m.sweeps, m.sweep, m.lastSweep, m.statusWrites)
	return m
}

// begin makes the series that are there from the start.
func (m *Metrics) begin() {
	for _, r := range reasons {
		m.leftOver.WithLabelValues(string(r))
		m.found.WithLabelValues(string(r))
	}
	for _, reason := range contradictionReasons {
		m.contradicted.WithLabelValues(reason)
	}
	for _, a := range []act{actDetach, actDelete} {
		for _, o := range []outcome{outcomeDone, outcomeRefused} {
			m.steps.WithLabelValues(string(a), string(o))
		}
	}
	for _, result := range []string{resultOK, resultError} {
		m.sweeps.WithLabelValues(result)
		m.statusWrites.WithLabelValues(result)
	}
}

const (
	resultOK       = "ok"
	resultConflict = "conflict"
	resultError    = "error"
)

// Calls are those to EC2.
func (m *Metrics) Calls() *eni.Metrics { return m.calls }

func (m *Metrics) oldestAge() float64 {
	since := m.oldest.Load()
	if since == 0 {
		return 0
	}
	return time.Since(time.Unix(0, since)).Seconds()
}

// leads takes in whether this coordinator leads. One that does not knows nothing of
// left-over ENIs, and what it knew before must not raise alerts.
func (m *Metrics) leads(does bool) {
	switch {
	case m == nil:
	case does:
		m.leader.Set(1)
	default:
		m.leader.Set(0)
		m.leftBehind(nil)
		m.blocked(nil)
	}
}

// foundLeftOver counts an ENI that was not left over before.
func (m *Metrics) foundLeftOver(r reason) {
	if m != nil {
		m.found.WithLabelValues(string(r)).Inc()
	}
}

// swept takes in a sweep's end, and what is left over after one without an error.
func (m *Metrics) swept(began time.Time, full bool, err error, tracks tracks) {
	if m == nil {
		return
	}
	m.sweep.Observe(time.Since(began).Seconds())
	if err != nil {
		m.sweeps.WithLabelValues(resultError).Inc()
		return
	}
	m.sweeps.WithLabelValues(resultOK).Inc()
	if full {
		m.lastSweep.SetToCurrentTime()
	}
	m.leftBehind(tracks)
}

// leftBehind takes in what is left over.
func (m *Metrics) leftBehind(tracks tracks) {
	count := map[reason]int{}
	var oldest time.Time
	for _, t := range tracks {
		if t.Deleted {
			continue
		}
		count[t.Verdict.Reason]++
		oldest = earliest(oldest, t.FoundAt)
	}
	for _, r := range reasons {
		m.leftOver.WithLabelValues(string(r)).Set(float64(count[r]))
	}
	if oldest.IsZero() {
		m.oldest.Store(0)
		return
	}
	m.oldest.Store(oldest.UnixNano())
}

// blocked takes in how many NodeENIs each reason of a contradiction concerns.
func (m *Metrics) blocked(counts map[string]int) {
	if m == nil {
		return
	}
	for _, reason := range contradictionReasons {
		m.contradicted.WithLabelValues(reason).Set(float64(counts[reason]))
	}
}

func (m *Metrics) undone() {
	if m != nil {
		m.detachUndone.Inc()
	}
}

// stepped takes in what became of a job, and how long ago its ENI was found.
func (m *Metrics) stepped(r result, foundAt, now time.Time) {
	if m == nil {
		return
	}
	m.steps.WithLabelValues(string(r.act), string(r.outcome)).Inc()
	if r.act == actDelete && r.outcome == outcomeDone {
		m.collection.Observe(now.Sub(foundAt).Seconds())
	}
}

func (m *Metrics) wroteStatus(err error) {
	result := resultOK
	switch {
	case m == nil:
		return
	case apierrors.IsConflict(err):
		result = resultConflict
	case err != nil:
		result = resultError
	}
	m.statusWrites.WithLabelValues(result).Inc()
}
