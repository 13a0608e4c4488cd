package dra

import (
	"strings"
	"testing"
	"time"

	"github.com/containerd/nri/pkg/adaptation"
	drapb "k8s.io/kubelet/pkg/apis/dra/v1"
)

// TestPlugins: the kubelet and the runtime find the plugins, a pod gets its ENI by their
// calls, and the runtime can restart at any time.
func TestPlugins(t *testing.T) {
	n := newNode(t)
	n.run()
	kubelet := n.kubelet()
	n.offer(offered("c1", 0, "p1"))
	n.offer(offered("c2", 1, "p2"))
	answer, err := kubelet.NodePrepareResources(t.Context(), &drapb.NodePrepareResourcesRequest{Claims: claims("c1")})
	n.must(err)
	if text := answer.Claims["c1"].Error; !strings.HasPrefix(text, "the container runtime is not connected: ") {
		t.Errorf("without a runtime: %q", text)
	}
	if n.Kubelet() != nil || n.Runtime() == nil {
		t.Errorf("the kubelet: %v, the runtime: %v", n.Kubelet(), n.Runtime())
	}
	n.startRuntime()
	n.eventually("it connects to the runtime", n.ready)
	answer, err = kubelet.NodePrepareResources(t.Context(), &drapb.NodePrepareResourcesRequest{Claims: claims("c1", "c2", "c3")})
	n.must(err)
	devices := answer.Claims["c1"].Devices
	if len(answer.Claims) != 3 || len(devices) != 1 || devices[0].PoolName != "n1" || devices[0].DeviceName != "appliance-0" || answer.Claims["c3"].Error == "" {
		t.Errorf("the kubelet is answered %v", answer)
	}
	first, firstNS := n.sandbox("s1", "p1")
	n.must(n.runPod(first))
	n.expect(firstNS, 0, "eni0")

	// While the runtime restarts, one pod ends and another begins.
	n.stopRuntime()
	n.eventually("it notices", func() bool { return n.Runtime() != nil })
	n.forget(first)
	second, secondNS := n.sandbox("s2", "p2")
	n.sandboxes = append(n.sandboxes, sandboxOf(second))
	n.startRuntime()
	n.eventually("it connects again", n.ready)
	n.expect(n.host, 0, "ens6")
	n.expect(secondNS, 1, "eni0")

	n.must(n.runtime.StopPodSandbox(t.Context(), &adaptation.StopPodSandboxRequest{Pod: sandboxOf(second)}))
	n.expect(n.host, 1, "ens7")
	done, err := kubelet.NodeUnprepareResources(t.Context(), &drapb.NodeUnprepareResourcesRequest{Claims: claims("c1", "c2", "c3")})
	n.must(err)
	for _, uid := range []string{"c1", "c2", "c3"} {
		if done.Claims[uid] == nil || done.Claims[uid].Error != "" || n.attachment(uid) != "-" {
			t.Errorf("claim %s: %v, attached to %q", uid, done.Claims[uid], n.attachment(uid))
		}
	}
}

// TestNoContainerWithoutENI: when the link could not be moved into a sandbox, no container
// is made in it.
func TestNoContainerWithoutENI(t *testing.T) {
	n := newNode(t)
	n.startRuntime()
	claim := offered("c1", 0, "p1")
	claim.Devices[0].ENI.MAC = "02:00:00:00:00:09" // has no link yet
	n.offer(claim)
	n.must(n.prepare("c1"))
	pod, ns := n.sandbox("s1", "p1")
	n.sandboxes = append(n.sandboxes, sandboxOf(pod)) // started while it was not running
	n.run()
	n.kubelet()
	n.eventually("it connects to the runtime", n.ready)
	create := func() error {
		_, err := n.runtime.CreateContainer(t.Context(), &adaptation.CreateContainerRequest{Pod: sandboxOf(pod), Container: new(adaptation.Container)})
		return err
	}
	if err := create(); err == nil || !strings.Contains(err.Error(), "the node has no link with the MAC 02:00:00:00:00:09") {
		t.Errorf("the container is made: %v", err)
	}
	n.offer(offered("c1", 0, "p1"))
	n.must(create())
	n.expect(ns, 0, "eni0")
}

// TestEnd: at its end, it serves the runtime until a pod that the kubelet is about to
// start has its ENI.
func TestEnd(t *testing.T) {
	n := newNode(t)
	n.startRuntime()
	n.run()
	kubelet := n.kubelet()
	n.eventually("it connects to the runtime", n.ready)
	n.offer(offered("c1", 0, "p1"))
	_, err := kubelet.NodePrepareResources(t.Context(), &drapb.NodePrepareResourcesRequest{Claims: claims("c1")})
	n.must(err)
	ended := make(chan struct{})
	go func() { n.stop(); close(ended) }()
	time.Sleep(300 * time.Millisecond)
	pod, ns := n.sandbox("s1", "p1")
	n.must(n.runPod(pod))
	n.expect(ns, 0, "eni0")
	<-ended
	n.run()
	n.eventually("the next one connects", func() bool { n.kubelet(); return n.ready() })
	n.expect(ns, 0, "eni0")
}
