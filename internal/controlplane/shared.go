package controlplane

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

// Shared is a control plane that the tests of a package share. It starts for the
// first that asks for it.
type Shared struct {
	APIServerArgs []string
	Install       func(context.Context, *ControlPlane) error // what it holds from its start

	once    sync.Once
	started *ControlPlane
	err     error
}

// Get returns the control plane, or fails the test.
func (s *Shared) Get(t testing.TB) *ControlPlane {
	t.Helper()
	s.once.Do(func() {
		ctx := context.Background() // it outlives the test
		if s.started, s.err = Start(ctx, s.APIServerArgs...); s.err == nil {
			s.err = s.Install(ctx, s.started)
		}
	})
	if s.err != nil {
		t.Fatal(s.err)
	}
	return s.started
}

// Main runs the tests of a package and ends the control plane: the whole of a
// TestMain.
func (s *Shared) Main(m *testing.M) {
	code := m.Run()
	if s.started != nil {
		if err := s.started.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// Client reads and writes objects of any kind as cfg's user, or fails the test.
func Client(t testing.TB, cfg *rest.Config) dynamic.Interface {
	t.Helper()
	client, err := dynamic.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return client
}
