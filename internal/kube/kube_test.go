package kube

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/klog/v2"
)

// The errors name the flag that mends them, and client-go's own hints, at flags
// and variables that there are none of here, do not appear.
func TestConfigErrors(t *testing.T) {
	var logged strings.Builder
	klog.SetSlogLogger(slog.New(slog.NewTextHandler(&logged, nil)))
	t.Cleanup(klog.ClearLogger)
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	dir := t.TempDir()
	broken := filepath.Join(dir, "broken")
	if err := os.WriteFile(broken, []byte("clusters: [}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct{ file, want string }{
		"not in a pod": {"", "run in a pod"},
		"no file":      {filepath.Join(dir, "absent"), "no such file"},
		"no YAML":      {broken, broken},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Config(test.file)
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range []string{test.want, "--kubeconfig"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
			if strings.Contains(err.Error(), "KUBERNETES_MASTER") || strings.Contains(logged.String(), "--master") {
				t.Errorf("hints that mislead: %v\n%s", err, &logged)
			}
		})
	}
}
