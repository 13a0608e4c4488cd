package result

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"
)

// T is what a Bench needs of testing.TB: tests run parts of the benchmarks.
type T interface {
	Helper()
	Context() context.Context
	Cleanup(func())
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// Bench is a benchmark that runs. Its methods are for the goroutine that it was begun in.
type Bench struct{ T }

// Must ends the benchmark if there is an error.
func (b Bench) Must(err error) {
	b.Helper()
	if err != nil {
		b.Fatalf("%v", err)
	}
}

// Sleep ends the benchmark if that is interrupted.
func (b Bench) Sleep(d time.Duration) {
	b.Helper()
	select {
	case <-time.After(d):
	case <-b.Context().Done():
		b.Must(b.Context().Err())
	}
}

// Try runs a benchmark, or a part of one that may fail alone, as a test is run.
func Try(ctx context.Context, run func(Bench)) error {
	ctx, cancel := context.WithCancel(ctx)
	t := &attempt{ctx: ctx}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		run(Bench{t})
	}()
	<-ended
	cancel()
	for _, f := range slices.Backward(t.cleanups) {
		f()
	}
	return errors.Join(t.errs...)
}

type attempt struct {
	ctx      context.Context
	cleanups []func()
	errs     []error
}

func (t *attempt) Helper()                  {}
func (t *attempt) Context() context.Context { return t.ctx }
func (t *attempt) Cleanup(f func())         { t.cleanups = append(t.cleanups, f) }

func (t *attempt) Errorf(format string, args ...any) {
	t.errs = append(t.errs, fmt.Errorf(format, args...))
}

func (t *attempt) Fatalf(format string, args ...any) {
	t.Errorf(format, args...)
	runtime.Goexit()
}
