package dra

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	registerpb "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"github.com/aws-multi-eni/aws-multi-eni/internal/claimnetwork"
)

// values are those of a metric by the value of its last label; of a histogram, the counts.
func values(t *testing.T, registry prometheus.Gatherer, metric string) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, family := range families {
		for _, m := range family.Metric {
			var labels []string
			for _, label := range m.Label {
				labels = append(labels, label.GetValue())
			}
			if family.GetName() == metric {
				all[strings.Join(labels, " ")] = m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return all
}

// TestMetrics: the life of a claim, and of the connections.
func TestMetrics(t *testing.T) {
	n := newLiveNode(t)
	registry := prometheus.NewRegistry()
	n.cfg.Metrics = NewMetrics(registry)
	n.stop()
	n.run()
	Observe(registry, n.Driver)
	n.kubelet = n.node.kubelet()
	n.eventually("kubelet and runtime connect", n.ready)
	expect := func(metric string, want map[string]float64) {
		t.Helper()
		got := values(t, registry, metric)
		for label, value := range want {
			if is, ok := got[label]; !ok || is != value {
				t.Errorf("%s is %v, want %v", metric, got, want)
			}
		}
	}
	expect("eni_dra_connected", map[string]float64{"kubelet": 1, "runtime": 1})
	expect("eni_dra_prepares_total", map[string]float64{"ok": 0, "error": 0})
	if n.prepare("c1") == nil {
		t.Error("a claim without an ENI is prepared")
	}
	n.offer(offered("c1", 0, "p1"))
	n.must(n.prepare("c1"))
	expect("eni_dra_prepares_total", map[string]float64{"ok": 1, "error": 1})
	expect("eni_dra_claims", map[string]float64{"host": 1, "pod": 0})
	if n.startPod(claimnetwork.Pod{Namespace: "default", Name: "p1", UID: "p1", Sandbox: "s0"}) == nil {
		t.Error("a pod in the network of the host gets an ENI")
	}
	pod, _ := n.sandbox("s1", "p1")
	n.must(n.startPod(pod))
	expect("eni_dra_claims", map[string]float64{"host": 0, "pod": 1})
	n.stopPod(pod)
	n.must(n.unprepare("c1"))
	expect("eni_dra_claims", map[string]float64{"host": 0, "pod": 0})
	expect("eni_dra_move_seconds", map[string]float64{"ok pod": 1, "error pod": 1, "ok host": 1, "error host": 0})
	n.stopRuntime()
	n.eventually("it notices", func() bool { return n.Runtime() != nil })
	expect("eni_dra_connected", map[string]float64{"kubelet": 1, "runtime": 0})
}

// TestKubeletConnection: a kubelet that refuses the plugin, or ends.
func TestKubeletConnection(t *testing.T) {
	n := newLiveNode(t)
	registration := registerpb.NewRegistrationClient(n.dial(n.registrationSocket()))
	notify := func(status *registerpb.RegistrationStatus) {
		t.Helper()
		_, err := registration.NotifyRegistrationStatus(t.Context(), status)
		n.must(err)
	}
	notify(&registerpb.RegistrationStatus{Error: "unsupported version"})
	if err := n.Kubelet(); err == nil || err.Error() != "the kubelet has refused the plugin: unsupported version" {
		t.Errorf("the kubelet: %v", err)
	}
	notify(&registerpb.RegistrationStatus{PluginRegistered: true})
	n.must(n.Kubelet())
	n.must(n.plugin.Close())
	n.eventually("it notices", func() bool { return n.Kubelet() != nil })
}
