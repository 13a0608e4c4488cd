package awsconfig

import (
	"crypto/x509"
	"os"
	"os/exec"
	"testing"
)

// In an image there are no CA roots but those that are linked in.
func TestRootsWithoutHost(t *testing.T) {
	if os.Getenv("SSL_CERT_FILE") != "/nonexistent" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestRootsWithoutHost$")
		cmd.Env = append(os.Environ(), "SSL_CERT_FILE=/nonexistent", "SSL_CERT_DIR=/nonexistent")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		t.Fatal(err)
	}
	if roots.Equal(x509.NewCertPool()) {
		t.Error("no CA roots")
	}
}
