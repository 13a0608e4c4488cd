package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

// server is a running agent or coordinator, and the way to its pages.
type server struct {
	*testbed.Process
	cluster *cluster
	http    *http.Client
	address string
	source  string    // of its EC2 calls
	began   time.Time // when it was executed
}

// newServer keeps no connection open: those would be counted.
func newServer(c *cluster, p *testbed.Process, address string, dial func(context.Context, string, string) (net.Conn, error), source string) *server {
	return &server{
		Process: p, cluster: c, address: address, source: source, began: time.Now(),
		http: &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}},
	}
}

func (s *server) usage() usage {
	u, err := usageOf(s.Pid())
	s.cluster.Must(err)
	return u
}

// get reads a page; one that is not 200 is an error.
func (s *server) get(path string) (string, error) {
	resp, err := s.http.Get("http://" + s.address + path)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s of %s: %s: %s", path, s.Name, resp.Status, body)
	}
	return string(body), err
}

// metric is the sum of a metric's series that have the label.
func (s *server) metric(name, label string) (float64, error) {
	page, err := s.get("/metrics")
	if err != nil {
		return 0, err
	}
	sum, found := 0.0, false
	for line := range strings.Lines(page) {
		series, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if metric, labels, _ := strings.Cut(series, "{"); metric != name || !strings.Contains(labels, label) {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0, fmt.Errorf("/metrics of %s: %w", s.Name, err)
		}
		sum, found = sum+v, true
	}
	if !found {
		return 0, fmt.Errorf("/metrics of %s: there is no %s %s", s.Name, name, label)
	}
	return sum, nil
}

// value is that of a metric which is there.
func (s *server) value(name string) float64 {
	v, err := s.metric(name, "")
	s.cluster.Must(err)
	return v
}

// patience bounds what takes a second or two.
const patience = 2 * time.Minute

// await polls until check succeeds, and says how long the process had run then.
func (s *server) await(what string, check func() error) time.Duration {
	for {
		err := check()
		switch {
		case err == nil:
			return time.Since(s.began)
		case s.Exited():
			s.cluster.Fatalf("%s has ended:\n%s", s.Name, s.Tail(20))
		case time.Since(s.began) > patience:
			s.cluster.Fatalf("%s: %s: not within %v: %v\n%s", s.Name, what, patience, err, s.Tail(20))
		}
		s.cluster.Sleep(2 * time.Millisecond)
	}
}

// ready waits until /readyz says so.
func (s *server) ready() time.Duration {
	return s.await("ready", func() error {
		_, err := s.get("/readyz")
		return err
	})
}

// hasReady waits until an agent has so many ENIs that are Ready.
func (s *server) hasReady(enis int) time.Duration {
	return s.reaches(float64(enis), "eni_agent_enis", `phase="Ready"`)
}

// leads waits until a coordinator leads.
func (s *server) leads() time.Duration { return s.reaches(1, "eni_coordinator_leader", "") }

// reaches waits until a metric has a value.
func (s *server) reaches(want float64, name, label string) time.Duration {
	return s.await(name, func() error {
		got, err := s.metric(name, label)
		if err == nil && got != want {
			err = fmt.Errorf("it is %v, want %v", got, want)
		}
		return err
	})
}
