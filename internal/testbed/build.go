package testbed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Build builds the programs agent and coordinator from the source tree into dir;
// race adds the race detector, which needs cgo.
func Build(ctx context.Context, dir string, race bool) error {
	root, err := Root(ctx)
	if err != nil {
		return err
	}
	args := []string{"build", "-o", dir + string(filepath.Separator)}
	if race {
		args = append(args, "-race")
	}
	cmd := exec.CommandContext(ctx, "go", append(args, "./cmd/eni-agent", "./cmd/eni-coordinator")...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building the programs: %w\n%s", err, out)
	}
	return nil
}

// Root is the top of the source tree that the caller runs in.
func Root(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	mod := strings.TrimSpace(string(out))
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w; this needs go in PATH", err)
	}
	if mod == "" || mod == os.DevNull {
		return "", errors.New("this must run inside the source tree of aws-multi-eni")
	}
	return filepath.Dir(mod), nil
}
