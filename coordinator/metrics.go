package coordinator

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// Metrics are the coordinator's. A nil Metrics counts nothing.
type Metrics struct {
	calls *eni.Metrics

	leader        prometheus.Gauge
	leftOver      *prometheus.GaugeVec
	found         *prometheus.CounterVec
	steps         *prometheus.CounterVec
	reattachments prometheus.Counter
	contradicted  *prometheus.GaugeVec
	collection    prometheus.Histogram
	sweeps        *prometheus.CounterVec
	sweep         prometheus.Histogram
	lastSweep     prometheus.Gauge
	statusWrites  *prometheus.CounterVec

	oldest atomic.Value // time.Time since when the oldest is left over; zero if none is
}

// NewMetrics makes metrics and registers them.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
		registry.MustRegister(v)
		return v
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		registry.MustRegister(v)
		return v
	}
	histogram := func(name, help string, buckets ...float64) prometheus.Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
		registry.MustRegister(h)
		return h
	}
	m := &Metrics{
		calls:  eni.NewMetrics(registry),
		leader: gauge("eni_coordinator_leader", "1 if this coordinator leads, 0 if not.").WithLabelValues(),
		leftOver: gauge("eni_coordinator_left_over_enis",
			"Number of leftover ENIs that are not deleted yet, by reason, in the last sweep.", "reason"),
		found: counter("eni_coordinator_left_over_enis_found_total", "Number of leftover ENIs that were found, each counted once, by reason.", "reason"),
		steps: counter("eni_coordinator_collection_steps_total",
			"Number of cleanup steps by step (detach, delete) and outcome: done, later (EC2 cannot do it yet), throttled, refused (until the permissions or the ENI change), skipped (EC2 refuses the same step for other ENIs), postponed (until the next sweep), dropped (something changed after the decision). The step refuse counts ENIs that the coordinator refuses to detach: those at device index 0, those attached to an instance for which they were not created, and those that may belong to another cluster.", "step", "outcome"),
		reattachments: counter("eni_coordinator_detaches_undone_total",
			"Number of ENIs that were attached again after the coordinator detached them, for example by an agent that cannot reach the API server.").WithLabelValues(),
		contradicted: gauge("eni_coordinator_cleanup_blocked",
			"Number of NodeENIs whose ENIs are not deleted because EC2 contradicts the Nodes or the agents' reports, by reason. With WrongRegion and InstancesUnknown, the coordinator uses the wrong Region or account and deletes nothing.", "reason"),
		collection: histogram("eni_coordinator_collection_seconds", "Time from when an ENI was found to be leftover until it was deleted.", 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600),
		sweeps: counter("eni_coordinator_sweeps_total",
			"Number of sweeps, through all ENIs of the cluster or those that events concern, by result: ok, error (EC2 did not list the ENIs).", "result"),
		sweep: histogram("eni_coordinator_sweep_duration_seconds", "Duration of a sweep, including its cleanup steps.", .05, .1, .2, .5, 1, 2, 5, 10, 20, 30, 60),
		lastSweep: gauge("eni_coordinator_last_sweep_timestamp_seconds",
			"Unix time of the leader's last full sweep without an error; 0 before the first one.").WithLabelValues(),
		statusWrites: counter("eni_coordinator_status_writes_total",
			"Number of writes of a NodeENI's status by result: ok, conflict (tried again with the newer object), error.", "result"),
	}
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "eni_coordinator_oldest_left_over_seconds",
		Help: "Time since the oldest leftover ENI was found to be leftover; 0 if there is none.",
	}, m.oldestAge))
	m.begin()
	return m
}

// begin makes the series that are there from the start, with 0: to Prometheus the first
// value of a series is no increase.
func (m *Metrics) begin() {
	m.leftBehind(nil)
	m.blocked(nil)
	for r := range reasons {
		m.found.WithLabelValues(string(r))
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
	if since, _ := m.oldest.Load().(time.Time); !since.IsZero() {
		return time.Since(since).Seconds()
	}
	return 0
}

// leads notes whether this coordinator leads. One that does not lead does not know what is
// left over, and what it knew before must not raise alerts.
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

func (m *Metrics) foundLeftOver(r reason) {
	if m != nil {
		m.found.WithLabelValues(string(r)).Inc()
	}
}

// swept notes a sweep's end, and what is left over after one without an error.
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

func (m *Metrics) leftBehind(tracks tracks) {
	count := map[reason]int{}
	var oldest time.Time
	for _, t := range tracks {
		if t.Deleted {
			continue
		}
		count[t.Decision.Reason]++
		oldest = earliest(oldest, t.FoundAt)
	}
	for r := range reasons {
		m.leftOver.WithLabelValues(string(r)).Set(float64(count[r]))
	}
	m.oldest.Store(oldest)
}

// blocked notes the number of NodeENIs with a contradiction, by reason.
func (m *Metrics) blocked(counts map[string]int) {
	if m == nil {
		return
	}
	for _, reason := range contradictionReasons {
		m.contradicted.WithLabelValues(reason).Set(float64(counts[reason]))
	}
}

func (m *Metrics) reattached() {
	if m != nil {
		m.reattachments.Inc()
	}
}

// stepped notes the result of a job, and how long ago its ENI was found.
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
