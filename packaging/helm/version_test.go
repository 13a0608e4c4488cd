package helm

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
)

// TestOnDemandNeedsAVersion: a cluster that is too old for ENIs on demand is refused, but
// only when there is a cluster: helm template reports a version of its own.
func TestOnDemandNeedsAVersion(t *testing.T) {
	mustRender(t, "--set", "onDemand.enabled=true", "--kube-version", "v1.32.0")
	c := newCluster(t)
	if !c.servesClaims() {
		t.Skip("SKIPPED: this API server is too old for ENIs on demand")
	}
	install := func(version string, set ...string) error {
		c.reportVersion(version)
		args := []string{"install", release, chart, "--dry-run=server"}
		for _, s := range set {
			args = append(args, "--set", s)
		}
		_, err := c.helm(args...)
		return err
	}
	for _, version := range []string{"v1.36.0", "v1.36.3-eks-0a1b2c3", "v1.37.0"} {
		c.must(install(version, "onDemand.enabled=true"))
	}
	c.must(install("v1.35.9"))
	const want = "onDemand.enabled=true requires Kubernetes 1.36 or later, and this cluster runs v1.35.9-eks-0a1b2c3: upgrade the cluster, or set onDemand.enabled=false"
	if err := install("v1.35.9-eks-0a1b2c3", "onDemand.enabled=true"); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v\nwant\n%s", err, want)
	}
}

// servesClaims says whether the API server serves ResourceClaims, which the oldest one that
// is supported does not.
func (c *cluster) servesClaims() bool {
	_, err := discovery.NewDiscoveryClientForConfigOrDie(c.ControlPlane.AdminConfig()).ServerResourcesForGroupVersion("resource.k8s.io/v1")
	return err == nil
}

// reportVersion makes helm see the API server as one of another version, until it is
// called again.
func (c *cluster) reportVersion(version string) {
	c.t.Helper()
	admin := c.ControlPlane.AdminConfig()
	transport, err := rest.TransportFor(admin)
	c.must(err)
	target, err := url.Parse(admin.Host)
	c.must(err)
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.Transport = transport
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/version" {
			_ = json.NewEncoder(w).Encode(map[string]string{"gitVersion": version})
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	c.t.Cleanup(server.Close)
	c.must(os.WriteFile(filepath.Join(c.dir, "kubeconfig"), fmt.Appendf(nil,
		"{clusters: [{name: c, cluster: {server: %q}}], contexts: [{name: c, context: {cluster: c}}], current-context: c}", server.URL), 0o600))
}
