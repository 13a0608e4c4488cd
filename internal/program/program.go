// Package program has what the programs share: flags, logging, /healthz, /readyz, and
// /metrics, and waiting for servers that do not answer yet.
package program

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"time"

	"k8s.io/klog/v2"

	"github.com/aws-multi-eni/aws-multi-eni/internal/backoff"
)

// Logger makes the program's logger and hands client-go's messages to it.
// format is text or json; level is debug, info, warn or error.
func Logger(w io.Writer, format, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log-level %q: must be debug, info, warn, or error", level)
	}
	options := &slog.HandlerOptions{Level: l, ReplaceAttr: leaveOutEmpty}
	var handler slog.Handler
	switch format {
	case "text":
		handler = slog.NewTextHandler(w, options)
	case "json":
		handler = slog.NewJSONHandler(w, options)
	default:
		return nil, fmt.Errorf("--log-format %q: must be text or json", format)
	}
	log := slog.New(handler)
	klog.SetSlogLogger(log)
	return log, nil
}

// leaveOutEmpty drops what a line has nothing to say about.
func leaveOutEmpty(_ []string, a slog.Attr) slog.Attr {
	v := a.Value.Any()
	if v == nil || a.Key != slog.MessageKey && reflect.ValueOf(v).Kind() == reflect.String && reflect.ValueOf(v).Len() == 0 {
		return slog.Attr{}
	}
	return a
}

// startBackoff is how soon a server is tried again that a program cannot start without.
var startBackoff = backoff.Exponential{First: 250 * time.Millisecond, Max: 4 * time.Second}

// Await calls f until it succeeds or ctx ends. It logs the first failure, and
// then one a minute; waiting, unless nil, is called with each of them.
func Await[T any](ctx context.Context, log *slog.Logger, waiting func(text string), what string, f func(context.Context) (T, error)) (T, error) {
	var logged time.Time
	for n := 0; ; n++ {
		attempt, cancel := context.WithTimeout(ctx, 15*time.Second)
		v, err := f(attempt)
		cancel()
		if err == nil {
			return v, nil
		}
		if ctx.Err() != nil {
			return v, ctx.Err()
		}
		if time.Since(logged) > time.Minute {
			log.Warn("cannot start yet; retrying", "waitingFor", what, "error", err)
			logged = time.Now()
		}
		if waiting != nil {
			waiting(fmt.Sprintf("waiting for %s: %v", what, err))
		}
		if err := startBackoff.Wait(ctx, n); err != nil {
			return v, err
		}
	}
}
