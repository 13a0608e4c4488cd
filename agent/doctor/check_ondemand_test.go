package doctor

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/aws-multi-eni/aws-multi-eni/agent"
	"github.com/aws-multi-eni/aws-multi-eni/internal/driver"
)

// healthyOnDemand are facts that no check objects to.
func healthyOnDemand() *OnDemand {
	return &OnDemand{API: &OnDemandAPI{}, DRA: &Container{Namespace: "eni-system", Pod: "eni-agent-1", Exists: true, Ready: true}, KubeletDir: "/var/lib/kubelet", Missing: map[string]string{}}
}

func TestCheckOnDemand(t *testing.T) {
	resource := schema.GroupResource{Group: "resource.k8s.io", Resource: "deviceclasses"}
	for name, test := range map[string]struct {
		change func(*OnDemand)
		check  string
		status Status
		words  []string
	}{
		"an old cluster": {func(o *OnDemand) {
			o.API.SlicesErr = errors.New("ENIs on demand need Kubernetes 1.36 or later: x; upgrade the cluster")
		}, slicesCheck, Failure,
			[]string{"cannot offer ENIs to pods: ENIs on demand need Kubernetes 1.36 or later: x", "upgrade the cluster"}},
		"slices are written": {func(*OnDemand) {}, slicesCheck, OK, nil},

		"no permissions": {func(o *OnDemand) { o.API.Lacking = []string{"list pods", "patch resourceclaims/status"} }, claimsCheck, Failure,
			[]string{"do not have the permissions: list pods, patch resourceclaims/status", "eni-agent-on-demand", "onDemand.enabled=true"}},
		"unknown permissions": {func(o *OnDemand) { o.API.LackingErr = errors.New("no") }, claimsCheck, Skipped, []string{"no"}},
		"permissions":         {func(*OnDemand) {}, claimsCheck, OK, nil},

		"no class":      {func(o *OnDemand) { o.API.ClassErr = apierrors.NewNotFound(resource, "x") }, classCheck, Failure, []string{"there is no DeviceClass eni.networking.k8s.aws", "stay Pending", "examples/on-demand"}},
		"unknown class": {func(o *OnDemand) { o.API.ClassErr = apierrors.NewForbidden(resource, "x", nil) }, classCheck, Skipped, []string{"kubectl get deviceclass eni.networking.k8s.aws"}},
		"a class":       {func(*OnDemand) {}, classCheck, OK, nil},

		"no pod":           {func(o *OnDemand) { o.DRA = &Container{} }, draCheck, Skipped, []string{"no agent runs as a pod"}},
		"unknown pod":      {func(o *OnDemand) { o.DRA = &Container{Err: errors.New("no")} }, draCheck, Skipped, []string{"no"}},
		"no container":     {func(o *OnDemand) { o.DRA.Exists, o.DRA.Ready = false, false }, draCheck, Failure, []string{"eni-agent-1 has no container eni-dra", "onDemand.enabled=true"}},
		"eni-dra waits":    {func(o *OnDemand) { o.DRA.Ready = false }, draCheck, Failure, []string{"not ready", "NRI", "kubectl -n eni-system logs eni-agent-1 -c eni-dra"}},
		"eni-dra is ready": {func(*OnDemand) {}, draCheck, OK, nil},

		"another kubelet directory": {func(o *OnDemand) { o.Missing[pluginRegistry] = "/var/lib/kubelet/plugins_registry" }, kubeletCheck, Failure,
			[]string{"/var/lib/kubelet/plugins_registry, the kubelet's directory", "does not exist", "onDemand.kubeletDir", "/var/lib/k0s/kubelet"}},
		"no plugin":         {func(o *OnDemand) { o.Missing[pluginSocket] = "/x/dra.sock" }, kubeletCheck, Failure, []string{"/x/dra.sock, the socket on which eni-dra serves the kubelet, does not exist", "--kubelet-dir is /var/lib/kubelet"}},
		"no registration":   {func(o *OnDemand) { o.Missing[registration] = "/x/reg.sock" }, kubeletCheck, Failure, []string{"/x/reg.sock", "log of eni-dra"}},
		"the plugin":        {func(*OnDemand) {}, kubeletCheck, OK, nil},
		"no NRI":            {func(o *OnDemand) { o.Missing[nriSocket] = driver.DefaultNRISocket }, nriCheck, Failure, []string{"/var/run/nri/nri.sock", "cannot move ENIs into pods", "containerd 2.0", "enable_nri = true"}},
		"NRI":               {func(*OnDemand) {}, nriCheck, OK, nil},
		"a host not seen":   {func(o *OnDemand) { o.Missing = nil }, nriCheck, Skipped, []string{"hidden"}},
		"a kubelet unknown": {func(o *OnDemand) { o.Missing = nil }, kubeletCheck, Skipped, []string{"hidden"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := healthy()
			f.HostHidden = "hidden"
			test.change(f.OnDemand)
			wantResult(t, f, test.check, test.status, test.words)
		})
	}
	f := healthy()
	f.EC2.Forecast.Places = []agent.ForecastPlaces{{NodeENI: "a", SubnetID: "subnet-1", Number: 2}, {NodeENI: "b", SubnetID: "subnet-1", NetworkCard: 1}}
	wantResult(t, f, placesCheck, OK, []string{"NodeENI a in subnet-1 on network card 0: room for 2 ENIs"})
	wantResult(t, f, placesCheck, Warning, []string{"NodeENI b in subnet-1 on network card 1: the instance has no room", "larger instance type"})
	f.OnDemand = nil
	for _, r := range Check(f) {
		if r.Check == placesCheck || r.Check == nriCheck {
			t.Errorf("without ENIs on demand: %+v", r)
		}
	}
}

// Look finds the sockets of a host, also where /var/run is a link that leads elsewhere.
func TestLookOnDemand(t *testing.T) {
	host := t.TempDir()
	touch := func(path string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(host, filepath.Dir(path)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(host, path), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	look := func(kubelet *Kubelet) map[string]string {
		var o OnDemand
		o.Look(host, kubelet)
		return o.Missing
	}
	k0s := &Kubelet{Args: []string{"kubelet", "--root-dir=/var/lib/k0s/kubelet"}}
	if missing := look(k0s); len(missing) != 4 || missing[pluginRegistry] != "/var/lib/k0s/kubelet/plugins_registry" {
		t.Errorf("on an empty host, %v is missing", missing)
	}
	if err := os.MkdirAll(filepath.Join(host, "var"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/run", filepath.Join(host, "var/run")); err != nil {
		t.Fatal(err)
	}
	touch("/run/nri/nri.sock")
	touch("/var/lib/k0s/kubelet/plugins/eni.networking.k8s.aws/dra.sock")
	touch("/var/lib/k0s/kubelet/plugins_registry/eni.networking.k8s.aws-reg.sock")
	if missing := look(k0s); len(missing) > 0 {
		t.Errorf("%v is missing", missing)
	}
	if missing := look(nil); len(missing) != 3 || missing[pluginSocket] != "/var/lib/kubelet/plugins/eni.networking.k8s.aws/dra.sock" {
		t.Errorf("with the default directory, %v is missing", missing)
	}
}
