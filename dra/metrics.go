package dra

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/aws-multi-eni/aws-multi-eni/internal/claimnetwork"
)

// Metrics are the metrics of eni-dra.
type Metrics struct {
	prepares *prometheus.CounterVec
	moves    *prometheus.HistogramVec
	missing  prometheus.Counter
}

// Where a move of ENIs leads, as values of the label to.
const (
	toPod  = "pod"
	toHost = "host"
)

// NewMetrics returns the metrics and registers them. Each series exists from the start,
// because Prometheus sees no increase in a series that begins with 1.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		prepares: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "eni_dra_prepares_total",
			Help: "Number of attempts of the kubelet to prepare a claim by result: ok, error.",
		}, []string{"result"}),
		moves: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "eni_dra_move_seconds",
			Help:    "Time to move and configure the links of a claim by destination (pod, host) and result (ok, error).",
			Buckets: []float64{.005, .01, .02, .05, .1, .2, .5, 1, 2, 5},
		}, []string{"to", "result"}),
		missing: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "eni_dra_links_missing_total",
			Help: "Number of links of claims that have disappeared from their pods, usually because someone detached or deleted the ENI in EC2.",
		}),
	}
	registry.MustRegister(m.prepares, m.moves, m.missing)
	for _, err := range []string{"ok", "error"} {
		m.prepares.WithLabelValues(err)
		m.moves.WithLabelValues(toPod, err)
		m.moves.WithLabelValues(toHost, err)
	}
	return m
}

func (m *Metrics) prepared(err error) { m.prepares.WithLabelValues(result(err)).Inc() }

func (m *Metrics) moved(to string, begun time.Time, err error) {
	m.moves.WithLabelValues(to, result(err)).Observe(time.Since(begun).Seconds())
}

func result(err error) string {
	if err != nil {
		return "error"
	}
	return "ok"
}

// observed has the metrics that are read when they are scraped.
type observed struct{ driver *Driver }

var (
	connectedDesc = prometheus.NewDesc("eni_dra_connected",
		"Whether the kubelet and the container runtime (peer) are connected to eni-dra: 1 or 0.", []string{"peer"}, nil)
	claimsDesc = prometheus.NewDesc("eni_dra_claims",
		"Number of claims that the kubelet has prepared by where the links of their ENIs are: pod, host.", []string{"location"}, nil)
)

// Observe registers the metrics that show the state of a driver.
func Observe(registry prometheus.Registerer, driver *Driver) { registry.MustRegister(observed{driver}) }

// Describe implements [prometheus.Collector].
func (o observed) Describe(ch chan<- *prometheus.Desc) { ch <- connectedDesc; ch <- claimsDesc }

// Collect implements [prometheus.Collector].
func (o observed) Collect(ch chan<- prometheus.Metric) {
	gauge := func(desc *prometheus.Desc, value float64, label string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, label)
	}
	for peer, err := range map[string]error{"kubelet": o.driver.Kubelet(), "runtime": o.driver.Runtime()} {
		connected := 1.0
		if err != nil {
			connected = 0
		}
		gauge(connectedDesc, connected, peer)
	}
	var inPod, onHost float64
	attachments, _ := claimnetwork.Attachments(o.driver.DataDir)
	for _, a := range attachments {
		if a.InPod() != nil {
			inPod++
		} else {
			onHost++
		}
	}
	gauge(claimsDesc, inPod, toPod)
	gauge(claimsDesc, onHost, toHost)
}
