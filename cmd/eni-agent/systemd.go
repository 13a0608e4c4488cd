package main

import (
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/aws-multi-eni/aws-multi-eni/agent/files"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// supervisor tells systemd how the service is; under anything else it tells
// nobody.
type supervisor struct {
	log      *slog.Logger
	watchdog time.Duration // the unit's WatchdogSec; 0 for none
	ready    bool
}

func newSupervisor(log *slog.Logger) *supervisor {
	watchdog, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("systemd's watchdog cannot be told that the agent lives", "error", err)
	}
	return &supervisor{log: log, watchdog: watchdog}
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
	if !s.ready {
		s.ready = true
		s.notify(daemon.SdNotifyReady)
	}
	if s.watchdog > 0 {
		s.notify(daemon.SdNotifyWatchdog)
	}
}

func (s *supervisor) stopping() { s.notify(daemon.SdNotifyStopping) }

// changed puts the state into the line that systemctl status shows.
func (s *supervisor) changed(state files.State) { s.notify("STATUS=" + summary(state)) }

func (s *supervisor) notify(text string) {
	if _, err := daemon.SdNotify(false, text); err != nil {
		s.log.Debug("systemd cannot be told", "text", text, "error", err)
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
		parts = append(parts, "wrong: "+strings.Join(wrong, ", "))
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
