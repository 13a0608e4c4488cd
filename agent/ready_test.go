package agent

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/agent/agenttest"
	"github.com/aws-multi-eni/aws-multi-eni/internal/program"
)

// An agent is ready once it knows what is wanted and EC2 has answered; that EC2
// fails later is in the report, and no reason to take the node out.
func TestReady(t *testing.T) {
	a := New(Config{Node: "node-a"})
	expect := func(what, want string) {
		t.Helper()
		a.noteReady()
		err := a.Ready()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", what, err, want)
		}
	}
	if err := a.Ready(); err == nil {
		t.Error("ready before it has begun")
	}
	expect("at first", "have been read yet")
	a.selection.read = true
	expect("without a Node", `node "node-a" does not exist`)
	a.selection.snapshot.NodeExists = true
	expect("with a snapshot", "EC2 has not yet returned")
	a.failures.Failed(describeKey, ec2Error("UnauthorizedOperation", "no"), time.Now())
	expect("EC2 refuses", "UnauthorizedOperation")
	a.synced(time.Now())
	expect("EC2 has answered before", "")
	a.selection.snapshot.NodeProblem = "another instance"
	expect("another instance", "another instance")
}

// A loop that is idle for hours is alive; one that is stuck is not.
func TestHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		heartbeat := program.NewHeartbeat("agent's loop", time.Minute)
		free := make(chan struct{})
		source := &source{News: make(chan struct{}), Err: errors.New("away"), Hang: func() { <-free }}
		a := New(Config{Source: source, Links: agenttest.NewLinks(), Log: slog.New(slog.DiscardHandler), Beat: heartbeat.Beat, BeatEvery: 10 * time.Second})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- a.Run(ctx) }()

		free <- struct{}{} // the first reconcile
		time.Sleep(10 * time.Minute)
		if err := heartbeat.Check(); err != nil {
			t.Errorf("idle: %v", err)
		}
		source.News <- struct{}{}
		time.Sleep(2 * time.Minute)
		if err := heartbeat.Check(); err == nil {
			t.Error("the loop is stuck, and the heartbeat does not tell")
		}
		free <- struct{}{}
		time.Sleep(time.Minute)
		if err := heartbeat.Check(); err != nil {
			t.Errorf("free again: %v", err)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
