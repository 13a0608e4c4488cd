package main

import (
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A start that waits for an API server that gives no lists is shown, and counts as
// started: systemd would end it, again and again. A quick one is not.
func TestSlowStart(t *testing.T) {
	for _, test := range []struct {
		takes time.Duration
		shown bool
	}{{time.Second, false}, {time.Hour, true}} {
		synctest.Test(t, func(t *testing.T) {
			s := &supervisor{log: slog.New(slog.DiscardHandler)}
			end := s.during("the API server")
			time.Sleep(test.takes)
			end()
			time.Sleep(time.Hour)
			if text := s.unready().Error(); s.ready != test.shown || strings.Contains(text, "API server") != test.shown {
				t.Errorf("after %v the service counts as started: %v; it says %q", test.takes, s.ready, text)
			}
		})
	}
}
