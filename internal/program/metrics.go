package program

import (
	"bytes"
	"log/slog"
	"net/http"
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/common/expfmt"
)

// NewMetrics makes a registry with what is said of every program: its version,
// its process and the Go runtime. prefix is that of the program's own metrics,
// such as eni_agent.
func NewMetrics(prefix string) *prometheus.Registry {
	registry := prometheus.NewRegistry()
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        prefix + "_build_info",
		Help:        "Always 1. The labels show the versions of the program and of Go.",
		ConstLabels: prometheus.Labels{"version": Version, "goversion": runtime.Version()},
	})
	build.Set(1)
	registry.MustRegister(build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return registry
}

// metricsPage answers with all metrics as text. promhttp does the same in more formats,
// and would make the coordinator's image larger than its budget.
func metricsPage(metrics prometheus.Gatherer, log *slog.Logger) http.HandlerFunc {
	format := expfmt.NewFormat(expfmt.TypeTextPlain)
	return func(w http.ResponseWriter, _ *http.Request) {
		families, err := metrics.Gather()
		var page bytes.Buffer
		for _, family := range families {
			if err == nil {
				_, err = expfmt.MetricFamilyToText(&page, family)
			}
		}
		if err != nil {
			log.Error("cannot serve the metrics", "error", err)
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", string(format))
		w.Write(page.Bytes()) //nolint:errcheck // the scraper has gone
	}
}

// serveMetrics adds /metrics to the same server.
func (h *Health) serveMetrics(metrics prometheus.Gatherer) {
	h.mux.Handle("GET /metrics", metricsPage(metrics, h.log))
}
