package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

// server is a running agent or coordinator, and the way to its pages.
type server struct {
	*testbed.Process
	http    *http.Client
	address string
	began   time.Time // when it was executed
}

// newServer keeps no connection open: those would be counted.
func newServer(p *testbed.Process, address string, dial func(ctx context.Context, network, address string) (net.Conn, error)) *server {
	return &server{
		Process: p, address: address, began: time.Now(),
		http: &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}},
	}
}

// get reads a page; one that is not 200 is an error.
func (s *server) get(path string) (body []byte, err error) {
	resp, err := s.http.Get("http://" + s.address + path)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s of %s: %s: %s", path, s.Name, resp.Status, body)
	}
	return body, err
}

// metric is the sum of a metric's series that have the label, or of all.
func (s *server) metric(name string, label ...string) (float64, error) {
	page, err := s.get("/metrics")
	if err != nil {
		return 0, err
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(page))
	if err != nil {
		return 0, fmt.Errorf("/metrics of %s: %w", s.Name, err)
	}
	family, ok := families[name]
	if !ok {
		return 0, fmt.Errorf("/metrics of %s: there is no %s", s.Name, name)
	}
	sum := 0.0
	for _, m := range family.GetMetric() {
		has := len(label) == 0
		for _, l := range m.GetLabel() {
			has = has || l.GetName() == label[0] && l.GetValue() == label[1]
		}
		if has {
			sum += m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return sum, nil
}

// patience bounds what takes a second or two.
const patience = 2 * time.Minute

// await polls until check succeeds, and says how long the process had run then.
func (s *server) await(ctx context.Context, what string, check func() error) (time.Duration, error) {
	for {
		err := check()
		switch {
		case err == nil:
			return time.Since(s.began), nil
		case s.Exited():
			return 0, fmt.Errorf("%s has ended:\n%s", s.Name, s.Tail(20))
		case time.Since(s.began) > patience:
			return 0, fmt.Errorf("%s: %s: not within %v: %w\n%s", s.Name, what, patience, err, s.Tail(20))
		}
		if err := pause(ctx, 2*time.Millisecond); err != nil {
			return 0, err
		}
	}
}

// ready waits until /readyz says so.
func (s *server) ready(ctx context.Context) (time.Duration, error) {
	return s.await(ctx, "ready", func() error {
		_, err := s.get("/readyz")
		return err
	})
}

// hasReady waits until an agent has so many ENIs that are Ready.
func (s *server) hasReady(ctx context.Context, enis int) (time.Duration, error) {
	return s.reaches(ctx, enis, "eni_agent_enis", "phase", "Ready")
}

// leads waits until a coordinator leads.
func (s *server) leads(ctx context.Context) (time.Duration, error) {
	return s.reaches(ctx, 1, "eni_coordinator_leader")
}

// reaches waits until a metric has a value.
func (s *server) reaches(ctx context.Context, want int, name string, label ...string) (time.Duration, error) {
	return s.await(ctx, name, func() error {
		got, err := s.metric(name, label...)
		if err == nil && got != float64(want) {
			err = fmt.Errorf("it is %v, want %v", got, want)
		}
		return err
	})
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
