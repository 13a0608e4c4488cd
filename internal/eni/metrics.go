package eni

import (
	"context"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go/middleware"
	"github.com/prometheus/client_golang/prometheus"
)

// codeOK is the code of a call that was carried out.
const codeOK = "OK"

// Error codes are EC2's to choose, and each makes a time series: what does not
// look like one, and whatever comes after the first so many, is codeOther.
const (
	codeOther = "Other"
	maxCodes  = 64
)

var codeForm = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// Metrics counts and times calls. A nil Metrics does not.
type Metrics struct {
	calls             *prometheus.CounterVec
	duration          *prometheus.HistogramVec
	throttled, denied prometheus.Counter

	mu    sync.Mutex
	codes map[string]bool
}

// NewMetrics makes metrics and registers them.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "eni_ec2_calls_total",
			Help: "Number of EC2 calls, including repeated ones, by action and code: OK, EC2's error code, NoAnswer, ForeignAnswer, or NoCredentials.",
		}, []string{"action", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "eni_ec2_call_duration_seconds",
			Help:    "Duration of EC2 calls by action, including calls without an answer.",
			Buckets: []float64{.02, .05, .1, .2, .5, 1, 2, 5, 10, 30},
		}, []string{"action"}),
		throttled: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "eni_ec2_throttled_calls_total",
			Help: "Number of EC2 calls that EC2 throttled (RequestLimitExceeded and similar codes).",
		}),
		denied: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "eni_ec2_denied_calls_total",
			Help: "Number of EC2 calls that IAM denied or that had no valid credentials.",
		}),
		codes: map[string]bool{},
	}
	registry.MustRegister(m.calls, m.duration, m.throttled, m.denied)
	return m
}

// Instrument has the calls of clients made of the configuration counted. A
// retry by the SDK is another call, as it is for EC2.
func (m *Metrics) Instrument(cfg aws.Config) aws.Config {
	if m == nil {
		return cfg
	}
	cfg.APIOptions = append(slices.Clip(cfg.APIOptions), func(stack *middleware.Stack) error {
		return stack.Finalize.Insert(middleware.FinalizeMiddlewareFunc("metrics", m.observe), (*retry.Attempt)(nil).ID(), middleware.After)
	})
	return cfg
}

func (m *Metrics) observe(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
	began := time.Now()
	out, metadata, err := next.HandleFinalize(ctx, in)
	m.count(middleware.GetOperationName(ctx), err, time.Since(began))
	return out, metadata, err
}

func (m *Metrics) count(action string, err error, took time.Duration) {
	m.calls.WithLabelValues(action, m.code(err)).Inc()
	m.duration.WithLabelValues(action).Observe(took.Seconds())
	switch {
	case IsThrottled(err):
		m.throttled.Inc()
	case IsUnauthenticated(err), IsUnauthorized(err), lacksCredentials(err):
		m.denied.Inc()
	}
}

// code is the call's result as the value of a label.
func (m *Metrics) code(err error) string {
	if err == nil {
		return codeOK
	}
	code := Reason(err)
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.codes[code] {
		if len(m.codes) >= maxCodes || !codeForm.MatchString(code) {
			return codeOther
		}
		m.codes[code] = true
	}
	return code
}
