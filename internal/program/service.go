package program

import (
	"context"
	"flag"
	"log/slog"
	"os"

	"github.com/prometheus/client_golang/prometheus"
)

// Options are flags that every program that serves has.
type Options struct {
	HTTPAddress         string
	LogFormat, LogLevel string
}

// Define defines the flags. example is an address.
func (o *Options) Define(flags *flag.FlagSet, example string) {
	flags.StringVar(&o.HTTPAddress, "http-address", "", "address on which to serve /healthz, /readyz, and /metrics, such as "+example+" (default none)")
	flags.StringVar(&o.LogFormat, "log-format", "text", "format of log messages: text or json")
	flags.StringVar(&o.LogLevel, "log-level", "info", "lowest level of log messages: debug, info, warn, or error")
}

// Service is what every program that serves has.
type Service struct {
	Log     *slog.Logger
	Health  *Health
	Metrics *prometheus.Registry
}

// Start begins to log and to serve /healthz, /readyz and /metrics. prefix is that of the
// program's own metrics, such as eni_agent.
func (o Options) Start(ctx context.Context, prefix string) (Service, error) {
	log, err := Logger(os.Stderr, o.LogFormat, o.LogLevel)
	if err != nil {
		return Service{}, err
	}
	beFrugal()
	s := Service{Log: log, Health: NewHealth(log), Metrics: NewMetrics(prefix)}
	s.Health.serveMetrics(s.Metrics)
	return s, s.Health.Serve(ctx, o.HTTPAddress)
}
