package testbed

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// The images of tests with a kubelet, which WriteImage makes. Nothing is pulled.
const (
	ApplianceImage = "test.invalid/appliance:1"
	AgentImage     = "test.invalid/eni-agent:1"
)

// WriteImage builds programs of the source tree, and writes an image with them as `docker
// save` does. Its entry point is the first program.
func WriteImage(ctx context.Context, path, name string, packages ...string) error {
	root, err := Root(ctx)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), "image-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	cmd := exec.CommandContext(ctx, "go", append([]string{"build", "-o", dir + string(filepath.Separator)}, packages...)...)
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0") // there are no libraries in the image
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building the programs of image %s: %w\n%s", name, err, out)
	}
	programs := map[string][]byte{}
	for _, p := range packages {
		if programs[filepath.Base(p)], err = os.ReadFile(filepath.Join(dir, filepath.Base(p))); err != nil {
			return err
		}
	}
	layer, err := archive(programs)
	if err != nil {
		return err
	}
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{"Entrypoint": []string{"/" + filepath.Base(packages[0])}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{fmt.Sprintf("sha256:%x", sha256.Sum256(layer))}},
	})
	if err != nil {
		return err
	}
	manifest, err := json.Marshal([]map[string]any{{"Config": "config.json", "RepoTags": []string{name}, "Layers": []string{"layer.tar"}}})
	if err != nil {
		return err
	}
	image, err := archive(map[string][]byte{"manifest.json": manifest, "config.json": config, "layer.tar": layer})
	if err != nil {
		return err
	}
	return os.WriteFile(path, image, 0o600)
}

// archive is a tar archive of executable files.
func archive(files map[string][]byte) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, content := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(content))}); err != nil {
			return nil, err
		}
		if _, err := w.Write(content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
