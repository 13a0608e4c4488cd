package testbed

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Build builds the programs agent and coordinator from the source tree into dir;
// race adds the race detector, which needs cgo; flags are more of go build.
func Build(ctx context.Context, dir string, race bool, flags ...string) error {
	root, err := Root(ctx)
	if err != nil {
		return err
	}
	if err := ReadTree(root, ".go", "go.mod"); err != nil {
		return err
	}
	args := []string{"build", "-o", dir + string(filepath.Separator)}
	if race {
		args = append(args, "-race")
	}
	args = slices.Concat(args, flags, []string{"./cmd/eni-agent", "./cmd/eni-coordinator"})
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building the programs: %w\n%s", err, out)
	}
	return nil
}

// BuildPlugins builds the CNI plugin eni, and the reference plugins that it calls, into
// dir/cni.
func BuildPlugins(ctx context.Context, dir string) error {
	root, err := Root(ctx)
	if err != nil {
		return err
	}
	for _, args := range [][]string{
		{"-o", filepath.Join(dir, "cni", "eni"), "./cmd/eni-cni"},
		{"-o", filepath.Join(dir, "cni") + string(filepath.Separator), "-modfile=hack/tools/cni-plugins/go.mod", "tool"},
	} {
		cmd := exec.CommandContext(ctx, "go", append([]string{"build"}, args...)...)
		cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("building the CNI plugins: %w\n%s", err, out)
		}
	}
	return nil
}

// Kustomize is what the pinned kustomize builds of dir.
func Kustomize(dir string) ([]byte, error) {
	root, err := Root(context.Background())
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("go", "tool", "-modfile="+filepath.Join(root, "hack/tools/kustomize/go.mod"), "kustomize", "build", dir)
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return nil, fmt.Errorf("kustomize build: %w\n%s", err, exit.Stderr)
	}
	return out, err
}

// ReadTree reads the files of a directory whose names end like this, and forgets
// them. `go test` takes an earlier result for good while nothing has changed that
// the test itself has read; what a child of it reads does not count.
func ReadTree(dir string, suffixes ...string) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if hidden := strings.HasPrefix(entry.Name(), ".") && path != dir; hidden && entry.IsDir() {
			return filepath.SkipDir
		}
		if entry.Type().IsRegular() && slices.ContainsFunc(suffixes, func(s string) bool { return strings.HasSuffix(path, s) }) {
			_, err = os.ReadFile(path)
		}
		return err
	})
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
