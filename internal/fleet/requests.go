package fleet

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Request is what requests to the API server differ in.
type Request struct {
	Verb     string // LIST, WATCH, POST, …
	Resource string // nodeenis/status
	Code     string // of HTTP
}

// APIServer is what the API server has counted since it started.
type APIServer struct {
	Requests Counts[Request]
	// Watches run now; they are among Requests when they end.
	Watches map[string]int // by resource
	// Sent is the size of answers and watch events in bytes.
	Sent int64
	RSS  int64
	CPU  time.Duration
}

// Requests scrapes the API server's metrics.
func (c *Cluster) Requests(ctx context.Context) (APIServer, error) {
	s := APIServer{Requests: Counts[Request]{}, Watches: map[string]int{}}
	page, err := c.Client.Core.Get().AbsPath("/metrics").Do(ctx).Raw()
	if err != nil {
		return s, err
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(page))
	if err != nil {
		return s, fmt.Errorf("metrics of the API server: %w", err)
	}
	samples := func(name string, f func(labels map[string]string, value float64)) {
		for _, m := range families[name].GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			f(labels, m.GetCounter().GetValue()+m.GetGauge().GetValue()+m.GetHistogram().GetSampleSum()) // it is one of them
		}
	}
	samples("apiserver_request_total", func(l map[string]string, v float64) {
		s.Requests[Request{l["verb"], resource(l), l["code"]}] += int(v)
	})
	samples("apiserver_longrunning_requests", func(l map[string]string, v float64) {
		if l["verb"] == "WATCH" {
			s.Watches[resource(l)] += int(v)
		}
	})
	for _, sizes := range []string{"apiserver_response_sizes", "apiserver_watch_events_sizes"} {
		samples(sizes, func(_ map[string]string, v float64) { s.Sent += int64(v) })
	}
	samples("process_resident_memory_bytes", func(_ map[string]string, v float64) { s.RSS = int64(v) })
	samples("process_cpu_seconds_total", func(_ map[string]string, v float64) { s.CPU = time.Duration(v * float64(time.Second)) })
	return s, nil
}

func resource(labels map[string]string) string {
	return strings.TrimSuffix(labels["resource"]+"/"+labels["subresource"], "/")
}

// Since is what has been added since an earlier count; what is a level stays.
func (s APIServer) Since(before APIServer) APIServer {
	s.Requests = s.Requests.Since(before.Requests)
	s.Sent -= before.Sent
	s.CPU -= before.CPU
	return s
}

// Sum adds up the requests that match.
func (s APIServer) Sum(match func(Request) bool) int { return s.Requests.Sum(match) }

// Writes counts the requests that change something of these resources.
func (s APIServer) Writes(resources ...string) int {
	return s.Sum(func(r Request) bool { return r.Writes() && slices.Contains(resources, r.Resource) })
}

// Conflicts counts the requests about these resources that met a conflict.
func (s APIServer) Conflicts(resources ...string) int {
	return s.Sum(func(r Request) bool { return r.Code == "409" && slices.Contains(resources, r.Resource) })
}

// Writes says whether a request changes something.
func (r Request) Writes() bool {
	switch r.Verb {
	case "POST", "PUT", "PATCH", "APPLY", "DELETE", "DELETECOLLECTION":
		return true
	}
	return false
}
