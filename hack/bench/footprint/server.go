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

	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/proc"
	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

// server is a running agent or coordinator, and the way to its pages.
type server struct {
	*testbed.Process
	http    *http.Client
	address string
	began   time.Time // when it was executed
}

type dialer func(ctx context.Context, network, address string) (net.Conn, error)

// newServer keeps no connection open: those would be counted.
func newServer(p *testbed.Process, address string, dial dialer) *server {
	return &server{
		Process: p, address: address, began: time.Now(),
		http: &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}},
	}
}

func (s *server) usage() (proc.Usage, error) { return proc.Read(s.Pid()) }

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
	const every = 2 * time.Millisecond
	for {
		err := check()
		if err == nil {
			return time.Since(s.began), nil
		}
		switch {
		case s.Exited():
			return 0, fmt.Errorf("%s has ended:\n%s", s.Name, s.Tail(20))
		case time.Since(s.began) > patience:
			return 0, fmt.Errorf("%s: %s: not within %v: %w\n%s", s.Name, what, patience, err, s.Tail(20))
		}
		select {
		case <-time.After(every):
		case <-ctx.Done():
			return 0, ctx.Err()
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

// reaches waits until a metric has a value.
func (s *server) reaches(ctx context.Context, want float64, name string, label ...string) (time.Duration, error) {
	return s.await(ctx, name, func() error {
		got, err := s.metric(name, label...)
		if err == nil && got != want {
			err = fmt.Errorf("it is %v, want %v", got, want)
		}
		return err
	})
}
