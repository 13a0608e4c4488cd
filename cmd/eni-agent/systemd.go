package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/aws-multi-eni/aws-multi-eni/agent/files"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// supervisor tells systemd how the service is, and eni-agent status whether it does its
// work. In a cluster, and under anything else than systemd, nothing listens.
type supervisor struct {
	log      *slog.Logger
	watchdog time.Duration // the unit's WatchdogSec; 0 for none
	turns    chan struct{} // closed when the loop has begun

	mu    sync.Mutex
	ready bool         // systemd has been told
	state string       // the files' state in one line
	waits string       // what the start waits for
	check func() error // of the loop, once there is one
}

func newSupervisor(ctx context.Context, log *slog.Logger) *supervisor {
	watchdog, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("cannot notify the systemd watchdog", "error", err)
	}
	s := &supervisor{log: log, watchdog: watchdog, turns: make(chan struct{})}
	if watchdog > 0 {
		go s.beat(ctx)
	}
	return s
}

// beat tells the watchdog that the agent lives while it starts, which takes as long as
// IMDS or the API server is away. Each attempt to reach them ends in time.
func (s *supervisor) beat(ctx context.Context) {
	ticker := time.NewTicker(s.watchdog / 2)
	defer ticker.Stop()
	for {
		s.notify(daemon.SdNotifyWatchdog)
		select {
		case <-ctx.Done():
			return
		case <-s.turns:
			return
		case <-ticker.C:
		}
	}
}

// waiting shows what a start waits for. The service counts as started: ending it would
// bring nothing back, and what is ordered behind it need not wait as long.
func (s *supervisor) waiting(text string) {
	s.started()
	s.status(text)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waits = text
}

// slowStart is how long a part of the start may take before systemd is told of it.
const slowStart = 5 * time.Second

// during shows what a part of the start waits for that does not say so itself, until
// the returned function is called.
func (s *supervisor) during(what string) (end func() bool) {
	return time.AfterFunc(slowStart, func() { s.waiting("waiting for " + what) }).Stop
}

// follow has the loop say from now on how the service is.
func (s *supervisor) follow(check func() error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.check = check
}

// unready says why the service does not do its work; nil when it does.
func (s *supervisor) unready() error {
	s.mu.Lock()
	check, waits := s.check, s.waits
	s.mu.Unlock()
	switch {
	case check != nil:
		return check()
	case waits != "":
		return errors.New("starting: " + waits)
	}
	return errors.New("starting")
}

// started tells systemd, once, that the service is up.
func (s *supervisor) started() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ready {
		s.ready = true
		s.notify(daemon.SdNotifyReady)
	}
}

// every is how often the loop has to call alive: at least at half of the
// watchdog's time.
func (s *supervisor) every(most time.Duration) time.Duration {
	if s.watchdog == 0 {
		return most
	}
	return min(most, s.watchdog/2)
}

// alive is called by the agent's loop when it begins and while it turns.
func (s *supervisor) alive() {
	select {
	case <-s.turns:
	default:
		close(s.turns)
		s.started()
		s.mu.Lock()
		state := s.state
		s.mu.Unlock()
		s.status(cmp.Or(state, "running"))
	}
	if s.watchdog > 0 {
		s.notify(daemon.SdNotifyWatchdog)
	}
}

func (s *supervisor) stopping() { s.notify(daemon.SdNotifyStopping) }

// changed puts the state into the line that systemctl status shows.
func (s *supervisor) changed(state files.State) {
	s.mu.Lock()
	s.state = summary(state)
	s.mu.Unlock()
	s.status(summary(state))
}

// status is one line: another one would be another message to systemd.
func (s *supervisor) status(text string) { s.notify("STATUS=" + v1alpha1.Printable(text)) }

func (s *supervisor) notify(text string) {
	if _, err := daemon.SdNotify(false, text); err != nil {
		s.log.Debug("cannot notify systemd", "text", text, "error", err)
	}
}

// summary is the state in one line.
func summary(state files.State) string {
	ready, wanted, leaving, problem := 0, 0, 0, ""
	for _, e := range state.Status.ENIs {
		switch e.Phase {
		case v1alpha1.PhaseReleasing, v1alpha1.PhaseReleased:
			leaving++
			continue
		case v1alpha1.PhaseReady:
			ready++
		case v1alpha1.PhaseFailed:
			if problem == "" {
				problem = fmt.Sprintf("%s: %s", e.NodeENI, e.Message)
			}
		}
		wanted++
	}
	parts := []string{fmt.Sprintf("%d of %d ENIs ready", ready, wanted)}
	if leaving > 0 {
		parts = append(parts, fmt.Sprintf("%d being removed", leaving))
	}
	if wrong := wrongFiles(state); len(wrong) > 0 {
		parts = append(parts, "not valid: "+strings.Join(wrong, ", "))
	}
	if state.Problem != "" {
		parts = append(parts, state.Problem)
	}
	if problem != "" {
		parts = append(parts, problem)
	}
	return strings.Join(parts, "; ")
}

// wrongFiles are the names of the files that are not taken in as they are.
func wrongFiles(state files.State) []string {
	var wrong []string
	for _, f := range state.Files {
		if f.Error != "" {
			wrong = append(wrong, f.Name)
		}
	}
	return wrong
}
