package controlplane

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
)

// findAssets returns an absolute directory that holds both executables.
func findAssets(dir string) (string, error) {
	if dir == "" {
		dir = os.Getenv("KUBEBUILDER_ASSETS")
	}
	if dir == "" {
		cached, err := cachedAssets()
		if err != nil {
			return "", fmt.Errorf("cannot tell where etcd and kube-apiserver are: %w; run `make controlplane` and set KUBEBUILDER_ASSETS to the directory it prints", err)
		}
		dir = cached
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

// cachedAssets is the directory that hack/controlplane/build.sh fills; its name
// holds the versions that the modules there require.
func cachedAssets() (string, error) {
	modules, err := findModules()
	if err != nil {
		return "", err
	}
	kube, err := requiredVersion(filepath.Join(modules, "kube-apiserver", "go.mod"), "k8s.io/kubernetes")
	if err != nil {
		return "", err
	}
	etcd, err := requiredVersion(filepath.Join(modules, "etcd", "go.mod"), "go.etcd.io/etcd/server/v3")
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	name := fmt.Sprintf("%s-%s-kube-%s-etcd-%s", runtime.GOOS, runtime.GOARCH, kube, etcd)
	return filepath.Join(cache, "aws-multi-eni", "controlplane", name), nil
}

// findModules looks for hack/controlplane in the working directory and above:
// `go test` runs in a package's directory.
func findModules() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		modules := filepath.Join(dir, "hack", "controlplane")
		if _, err := os.Stat(filepath.Join(modules, "build.sh")); err == nil {
			return modules, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("the working directory is not inside the source tree")
		}
		dir = parent
	}
}

func requiredVersion(gomod, module string) (string, error) {
	content, err := os.ReadFile(gomod)
	if err != nil {
		return "", err
	}
	match := regexp.MustCompile(`(?m)^(?:require)?\s+` + regexp.QuoteMeta(module) + `\s+(\S+)`).FindSubmatch(content)
	if match == nil {
		return "", fmt.Errorf("%s does not require %s", gomod, module)
	}
	return string(match[1]), nil
}
