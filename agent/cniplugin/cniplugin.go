// Package cniplugin puts the CNI plugin eni where the container runtime of a node looks
// for plugins, and tells which plugins are there.
package cniplugin

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// Name is the plugin's file, and its type in CNI configurations.
	Name = "eni"
	// DefaultDir is where most container runtimes look for plugins.
	DefaultDir = "/opt/cni/bin"
	// Dirs says where others do, for messages.
	Dirs = "/opt/cni/bin with EKS, Bottlerocket, RKE2, and Talos, /var/lib/rancher/k3s/data/cni with k3s, or /usr/lib/cni with the containerd of Debian"

	program = "github.com/aws-multi-eni/aws-multi-eni/cmd/eni-cni"
)

// Installed is what an installation has done to the plugin's file.
type Installed struct {
	// Changed says that the file is new, or another one than before.
	Changed bool
	// Before is the version that was there before; "" when none was.
	Before string
}

// Install copies the plugin into the directory, as a whole or not at all: container
// runtimes start it at any time. It replaces no other program of this name.
func Install(ctx context.Context, from, dir string) (Installed, error) {
	if err := CheckOurs(from); err != nil {
		return Installed{}, fmt.Errorf("%w; set --from to the plugin of this release: /eni in the agent image, or /opt/cni/bin/eni from the deb or rpm", err)
	}
	content, err := os.ReadFile(from)
	if err != nil {
		return Installed{}, err
	}
	var done Installed
	to := filepath.Join(dir, Name)
	info, err := os.Lstat(to)
	switch {
	case err == nil:
		if err := CheckOurs(to); err != nil {
			return Installed{}, fmt.Errorf("%w, so it is not replaced; find out what installed it, and move it to another directory", err)
		}
		done.Before = "an unknown version"
		if version, err := Ask(ctx, to); err == nil {
			done.Before = version
		}
		old, err := os.ReadFile(to)
		if err == nil && bytes.Equal(old, content) && info.Mode() == 0o755 {
			return done, nil
		}
	case !errors.Is(err, fs.ErrNotExist):
		return Installed{}, explain(dir, err)
	}
	done.Changed = true
	return done, explain(dir, replace(to, content))
}

// replace writes a file beside the one that it takes the place of.
func replace(path string, content []byte) (err error) {
	file, err := os.CreateTemp(filepath.Dir(path), "."+Name+"-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(file.Name())
		}
	}()
	_, err = file.Write(content)
	if err = errors.Join(err, file.Chmod(0o755), file.Sync(), file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}

// explain says what to do about an error with the directory.
func explain(dir string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR):
		return fmt.Errorf("%s is not a directory; set --to to the directory in which the container runtime looks for CNI plugins: %s", dir, Dirs)
	case errors.Is(err, unix.EROFS):
		return fmt.Errorf("%s is read-only: %w; mount it read-write, or use another directory in which the container runtime looks for CNI plugins: %s", dir, err, Dirs)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("cannot write %s: %w; run this command as the owner of the directory, usually root", dir, err)
	}
	return err
}

// CheckOurs says why a file is not the plugin of any release of aws-multi-eni, or nil.
func CheckOurs(path string) error {
	info, err := buildinfo.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
		return err
	case err != nil:
		return fmt.Errorf("%s is not the CNI plugin of aws-multi-eni", path)
	case info.Path != program:
		return fmt.Errorf("%s is not the CNI plugin of aws-multi-eni but the program %s", path, info.Path)
	}
	return nil
}

// Ask has a plugin tell its version, such as v1.9.0, by starting it. A distribution's may
// be "unknown".
func Ask(ctx context.Context, path string) (version string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path)
	cmd.Env = []string{} // without a CNI_COMMAND it tells
	cmd.Stdin = strings.NewReader("")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s does not report its version: %w", path, err)
	}
	// CNI ptp plugin v1.9.0
	// CNI protocol versions supported: 0.1.0, 0.2.0, …
	first, rest, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	words := strings.Fields(first)
	if len(words) == 0 || !strings.Contains(rest, "versions supported:") {
		return "", fmt.Errorf("%s does not report a version, but %q", path, out)
	}
	return words[len(words)-1], nil
}
