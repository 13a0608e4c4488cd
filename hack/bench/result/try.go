package result

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
)

// T is what the benchmarks need of testing.TB: tests run parts of them.
type T interface {
	Helper()
	Context() context.Context
	Cleanup(func())
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any) // in the goroutine that the benchmark was begun in
}

// Must ends the benchmark if there is an error.
func Must(t T, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%v", err)
	}
}

// Try runs a benchmark as a test is run.
func Try(ctx context.Context, benchmark func(T)) error {
	ctx, cancel := context.WithCancel(ctx)
	t := &attempt{ctx: ctx}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		benchmark(t)
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
