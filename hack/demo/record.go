package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
)

const (
	agentMetrics   = "127.0.0.1:9480" // in the node's network namespace
	scrapeInterval = 500 * time.Millisecond
	scrapeTimeout  = 500 * time.Millisecond
	settle         = 3 * time.Second
)

// target is a program whose metrics are recorded.
type target struct {
	job, instance, address string
	client                 *http.Client
}

// targetIn is a program that serves its metrics in a network namespace; nil is the demo's.
func targetIn(ns *netns.Namespace, job, instance, address string) target {
	transport := &http.Transport{}
	if ns != nil {
		transport.DialContext = ns.DialContext
	}
	return target{job: job, instance: instance, address: address, client: &http.Client{Transport: transport, Timeout: scrapeTimeout}}
}

// recording is a recorder that runs in the background; nil is none.
type recording struct {
	cancel context.CancelFunc
	done   chan struct{}
	err    error
}

func startRecording(path string, targets []target) *recording {
	ctx, cancel := context.WithCancel(context.Background())
	r := &recording{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.err = record(ctx, path, targets)
	}()
	return r
}

// end stops the recorder when the metrics show what happened last; the file is complete
// then.
func (r *recording) end() error {
	if r == nil {
		return nil
	}
	time.Sleep(settle)
	r.cancel()
	<-r.done
	return r.err
}

// record appends what the targets serve at /metrics to a file, again and again until the
// context ends. A line before each page names its program and its time in milliseconds.
func record(ctx context.Context, path string, targets []target) error {
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("record metrics: %w", err)
	}
	tick := time.NewTicker(scrapeInterval)
	defer tick.Stop()
	for ctx.Err() == nil {
		for _, t := range targets {
			page, at := t.scrape(), time.Now().UnixMilli()
			if page == nil {
				continue // as for Prometheus, a scrape that fails is a gap
			}
			if _, err := fmt.Fprintf(file, "# scrape %s %s %d\n%s", t.job, t.instance, at, page); err != nil {
				return errors.Join(fmt.Errorf("record metrics: %w", err), file.Close())
			}
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	return file.Close()
}

// scrape is what the target serves; nil when it does not answer.
func (t target) scrape() []byte {
	answer, err := t.client.Get("http://" + t.address + "/metrics")
	if err != nil {
		return nil
	}
	defer answer.Body.Close()
	page, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		return nil
	}
	return page
}

// freeAddress is a loopback address at which nothing listens.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
