package program

import (
	"log/slog"
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// NewMetrics makes a registry with what is said of every program: its version,
// its process and the Go runtime. prefix is that of the program's own metrics,
// such as eni_agent.
func NewMetrics(prefix string) *prometheus.Registry {
	registry := prometheus.NewRegistry()
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        prefix + "_build_info",
		Help:        "1; the labels tell the version of the program and of Go.",
		ConstLabels: prometheus.Labels{"version": Version, "goversion": runtime.Version()},
	})
	build.Set(1)
	registry.MustRegister(build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return registry
}

// serveMetrics adds /metrics to the same server. It does not compress them: that takes
// more memory than an idle agent has to spare.
func (h *Health) serveMetrics(metrics prometheus.Gatherer) {
	h.mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{
		ErrorLog:           slog.NewLogLogger(h.log.Handler(), slog.LevelError),
		DisableCompression: true,
	}))
}
