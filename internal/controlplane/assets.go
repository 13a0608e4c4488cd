package controlplane

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// findAssets returns an absolute directory that holds both executables.
func findAssets(dir string) (string, error) {
	if dir == "" {
		dir = os.Getenv("KUBEBUILDER_ASSETS")
	}
	if dir == "" {
		out, err := exec.Command("/bin/sh", "-c", `exec "$(dirname "$(go env GOMOD)")/hack/controlplane/build.sh" -n`).Output()
		if err != nil {
			return "", fmt.Errorf("cannot tell where etcd and kube-apiserver are: %w; run `make controlplane` and set KUBEBUILDER_ASSETS to the directory it prints", err)
		}
		dir = strings.TrimSpace(string(out))
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for _, name := range []string{"etcd", "kube-apiserver"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
			return "", fmt.Errorf("there is no executable %s in %s: run `make controlplane`, or set KUBEBUILDER_ASSETS to a directory with etcd and kube-apiserver", name, dir)
		}
	}
	return dir, nil
}
