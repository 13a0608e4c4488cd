// Package e2e runs real agents and coordinators against a real API server and
// the simulator, and looks at EC2, at the hosts and at the API.
package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

// programs is the directory of the programs under test, once they are built.
var programs string

// built builds them, and not before a test needs them: what is read earlier does
// not count when go test asks whether anything has changed.
var built = sync.OnceValue(func() error {
	var flags []string
	if inCampaign() { // compiling the standard library takes minutes
		clock, err := testbed.SkewableClock(programs)
		if err != nil {
			return err
		}
		flags = append(flags, clock)
	}
	return testbed.Build(context.Background(), programs, canRace(), flags...)
})

// inCampaign: this is make torture.
func inCampaign() bool { return os.Getenv("ENI_LOGS") != "" }

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if err := netns.Elevate(netns.Elevation{PrivateNetwork: true}); err != nil {
		fmt.Fprintln(os.Stderr, "the end-to-end tests need network namespaces:", err)
		return 1
	}
	dir, err := os.MkdirTemp("", "aws-multi-eni-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	programs = dir
	return m.Run()
}

// canRace: the race detector needs cgo and with it a C compiler.
func canRace() bool {
	out, err := exec.Command("go", "env", "CGO_ENABLED", "CC").Output()
	enabled, cc, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if err != nil || enabled != "1" {
		return false
	}
	_, err = exec.LookPath(cc)
	return err == nil
}
