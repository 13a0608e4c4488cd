package dra

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containernetworking/cni/libcni"
	current "github.com/containernetworking/cni/pkg/types/100"

	"github.com/aws-multi-eni/aws-multi-eni/internal/claimlink"
	"github.com/aws-multi-eni/aws-multi-eni/internal/claimnetwork"
	"github.com/aws-multi-eni/aws-multi-eni/internal/cnitest"
	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
)

// bin is the directory with the CNI plugin.
var bin string

var buildPlugin = sync.OnceValue(func() (err error) {
	if bin, err = os.MkdirTemp("", "cni"); err != nil {
		return err
	}
	return cnitest.BuildENI(context.Background(), bin)
})

// multus calls the CNI plugin for networks of a pod, as Multus does for those in the pod's
// annotation.
type multus struct {
	*node
	*cnitest.Runtime
}

func newMultus(n *node) multus {
	n.Helper()
	n.must(buildPlugin())
	return multus{n, cnitest.NewRuntime(n.host, bin, n.TempDir())}
}

// network is the configuration in a NetworkAttachmentDefinition with these fields.
func (m multus) network(fields map[string]any) *libcni.NetworkConfigList {
	m.Helper()
	eni := map[string]any{"type": "eni", "mode": "claim", "claimsDir": m.cfg.ClaimsDir, "claimsDataDir": m.cfg.DataDir}
	maps.Copy(eni, fields)
	content, err := json.Marshal(map[string]any{"cniVersion": "1.1.0", "name": "inspection", "plugins": []map[string]any{eni}})
	m.must(err)
	list, err := libcni.NetworkConfFromBytes(content)
	m.must(err)
	return list
}

func interfaceOf(pod claimnetwork.Pod, name string) *libcni.RuntimeConf {
	return &libcni.RuntimeConf{
		ContainerID: pod.Sandbox, NetNS: pod.NetNS, IfName: name,
		Args: [][2]string{
			{"IgnoreUnknown", "true"}, {"K8S_POD_NAMESPACE", pod.Namespace}, {"K8S_POD_NAME", pod.Name},
			{"K8S_POD_INFRA_CONTAINER_ID", pod.Sandbox}, {"K8S_POD_UID", pod.UID},
		},
	}
}

func (m multus) add(pod claimnetwork.Pod, name string, fields map[string]any) (*current.Result, error) {
	m.Helper()
	result, err := m.AddNetworkList(m.Context(), m.network(fields), interfaceOf(pod, name))
	if err != nil {
		return nil, err
	}
	return current.NewResultFromResult(result)
}

func (m multus) del(pod claimnetwork.Pod, name string) error {
	m.Helper()
	return m.DelNetworkList(m.Context(), m.network(nil), interfaceOf(pod, name))
}

// expectEnd: the claim is released, and its link is on the host as before.
func (m multus) expectEnd() {
	m.Helper()
	m.expect(m.host, 0, "ens6")
	if got := m.attachment("c1"); got != "-" {
		m.Errorf("after the end of the claim, the agent learns that %q has the link", got)
	}
}

// TestNetwork: Multus names the interface of a pod with a claim. The runtime then starts
// the sandbox, and nothing moves again.
func TestNetwork(t *testing.T) {
	m := newMultus(newNode(t))
	m.offer(offered("c1", 0, "p1"))
	m.must(m.prepare("c1"))
	pod, ns := m.sandbox("s1", "p1")
	result, err := m.add(pod, "net1", map[string]any{"nodeENI": "appliance", "deviceID": "appliance-0", "pciBusID": "appliance-0", "routeVPC": true, "routes": []map[string]any{{"dst": "192.0.2.0/24"}}})
	m.must(err)
	if len(result.Interfaces) != 1 || result.Interfaces[0].Name != "net1" || result.Interfaces[0].Mac != macOf(0) || result.Interfaces[0].Sandbox != pod.NetNS ||
		len(result.IPs) != 2 || result.IPs[0].Address.String() != "10.0.0.5/24" || result.IPs[0].Gateway.String() != "10.0.0.1" || *result.IPs[0].Interface != 0 {
		t.Errorf("the plugin returns %+v", result)
	}
	m.expect(ns, 0, "net1")
	m.expect(m.host, 0, "")
	if got := m.attachment("c1"); got != "s1" {
		t.Errorf("the agent learns that %q has the link", got)
	}
	m.exchange(ns, "10.0.0.1", "10.0.0.5")
	check := func() error { return m.CheckNetworkList(t.Context(), m.network(nil), interfaceOf(pod, "net1")) }
	m.must(check())

	m.must(m.startPod(pod)) // RunPodSandbox
	m.must(m.startPod(pod)) // CreateContainer
	m.expect(ns, 0, "net1")
	m.exchange(ns, "10.0.0.1", "10.0.0.5")
	m.exchange(ns, "10.0.1.1", "10.0.0.5") // in the VPC
	a, err := claimnetwork.ReadAttachment(m.cfg.DataDir, "c1")
	m.must(err)
	if routes := a.Claim.Devices[0].Parameters.Routes; !a.Pod.Configured || len(routes) != 1 || routes[0].Dst != netip.MustParsePrefix("192.0.2.0/24") {
		t.Errorf("eni-dra has %+v, %+v", a.Pod, routes)
	}

	m.stopPod("s1")
	m.expect(m.host, 0, "ens6")
	if err := check(); err == nil {
		t.Error("CHECK finds the interface when it is gone")
	}
	m.must(m.del(pod, "net1"))
	m.must(m.del(pod, "net1"))
	m.must(m.unprepare(ref("c1")))
	m.expectEnd()
}

// TestNetworkEnds: whatever the order is in which the end of a pod is noticed, its link is
// on the host, and the next pod gets it.
func TestNetworkEnds(t *testing.T) {
	steps := map[string]func(multus, claimnetwork.Pod, *netns.Namespace){
		"StopPodSandbox":           func(m multus, _ claimnetwork.Pod, _ *netns.Namespace) { m.stopPod("s1") },
		"DEL":                      func(m multus, pod claimnetwork.Pod, _ *netns.Namespace) { m.must(m.del(pod, "net1")) },
		"NodeUnprepareResources":   func(m multus, _ claimnetwork.Pod, _ *netns.Namespace) { m.must(m.unprepare(ref("c1"))) },
		"the namespace is removed": func(m multus, pod claimnetwork.Pod, ns *netns.Namespace) { m.lose(pod, ns) },
	}
	for order := range permutations(slices.Sorted(maps.Keys(steps))) {
		for _, started := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, started=%v", strings.Join(order, ", "), started), func(t *testing.T) {
				t.Parallel()
				m := newMultus(newNode(t))
				m.offer(offered("c1", 0, "p1"))
				m.must(m.prepare("c1"))
				pod, ns := m.sandbox("s1", "p1")
				_, err := m.add(pod, "net1", nil)
				m.must(err)
				if started {
					m.must(m.startPod(pod))
				}
				for _, step := range order {
					steps[step](m, pod, ns)
				}
				m.expectEnd()
				m.must(m.prepare("c1"))
				next, nextNS := m.sandbox("s2", "p1")
				_, err = m.add(next, "net1", nil)
				m.must(err)
				m.expect(nextNS, 0, "net1")
			})
		}
	}
}

func permutations(of []string) func(yield func([]string) bool) {
	return func(yield func([]string) bool) {
		var permute func(chosen, left []string) bool
		permute = func(chosen, left []string) bool {
			if len(left) == 0 {
				return yield(chosen)
			}
			for i := range left {
				if !permute(append(slices.Clone(chosen), left[i]), slices.Delete(slices.Clone(left), i, i+1)) {
					return false
				}
			}
			return true
		}
		permute(nil, of)
	}
}

// lose removes a sandbox's namespace, and does with its link what the kernel does with
// hardware.
func (n *node) lose(pod claimnetwork.Pod, ns *netns.Namespace) {
	n.Helper()
	if name := n.where(ns, 0); name != "" {
		link, _, err := claimlink.Find(ns, macOf(0))
		n.must(err)
		n.must(claimlink.Move(link, ns, n.host, name))
	}
	n.end(pod, ns)
}

// TestSeveralNetworks: each network of a pod gets one of the ENIs that the pod claims, and
// eni-dra moves those that no network names.
func TestSeveralNetworks(t *testing.T) {
	m := newMultus(newNode(t))
	both := offered("c1", 0, "p1")
	both.Devices = append(both.Devices, offered("c1", 1, "p1").Devices...)
	m.offer(both)
	m.must(m.prepare("c1"))
	pod, ns := m.sandbox("s1", "p1")
	_, err := m.add(pod, "net1", map[string]any{"deviceID": "appliance-1"})
	m.must(err)
	m.expect(ns, 1, "net1")
	m.expect(m.host, 0, "ens6")
	m.must(m.startPod(pod))
	m.expect(ns, 0, "eni0")
	m.expect(ns, 1, "net1")
	_, err = m.add(pod, "net2", nil)
	if err == nil || !strings.Contains(err.Error(), "each ENI that pod default/pod-p1 claims is already an interface") {
		t.Errorf("a third network gets %v", err)
	}
	m.stopPod("s1")

	again, againNS := m.sandbox("s2", "p1")
	for i := range 2 {
		_, err = m.add(again, fmt.Sprint("net", i), map[string]any{"nodeENI": "appliance"})
		m.must(err)
	}
	m.must(m.startPod(again))
	m.expect(againNS, 0, "net0")
	m.expect(againNS, 1, "net1")
	m.must(m.del(again, "net1"))
	m.must(m.del(again, "net0"))
	m.expect(m.host, 0, "ens6")
	m.expect(m.host, 1, "ens7")
}

// TestNetworkIsRefused: a pod gets no interface, and the message has the cause.
func TestNetworkIsRefused(t *testing.T) {
	m := newMultus(newNode(t))
	m.offer(offered("c1", 0, "p1", "p2"))
	m.must(m.prepare("c1"))
	pod, ns := m.sandbox("s1", "p1")
	other, _ := m.sandbox("s2", "p2")
	stranger, _ := m.sandbox("s3", "p3")
	unknown := pod
	unknown.UID = ""
	refuse := func(pod claimnetwork.Pod, name string, fields map[string]any, want string) {
		t.Helper()
		if _, err := m.add(pod, name, fields); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	refuse(unknown, "net1", nil, "CNI_ARGS has no K8S_POD_UID")
	refuse(stranger, "net1", nil, "no claim of pod default/pod-p3 for an ENI on demand is prepared on this node")
	refuse(pod, "net1", map[string]any{"nodeENI": "storage", "deviceID": "storage-0"}, "no claim of pod default/pod-p1 for an ENI on demand of NodeENI storage, device storage-0")
	refuse(pod, "eth0", nil, "the pod already has an interface eth0")
	refuse(pod, "net1", map[string]any{"routes": []map[string]any{{"dst": "192.0.2.0/24", "gw": "2001:db8::1"}}}, "different address families")
	m.expect(m.host, 0, "ens6")
	_, err := m.add(pod, "net1", nil)
	m.must(err)
	refuse(other, "net1", nil, "claim default/claim-c1: the ENI is in pod default/pod-p1")
	m.expect(ns, 0, "net1")

	status := func(dir string) error {
		return m.GetStatusNetworkList(t.Context(), m.network(map[string]any{"claimsDataDir": dir}))
	}
	m.must(status(m.cfg.DataDir))
	if err := status("/does/not/exist"); err == nil || !strings.Contains(err.Error(), "ENIs on demand are not enabled on this node") {
		t.Errorf("STATUS returns %v", err)
	}
}

// TestPluginWaits: the plugin changes nothing while eni-dra does.
func TestPluginWaits(t *testing.T) {
	m := newMultus(newNode(t))
	m.offer(offered("c1", 0, "p1"))
	m.must(m.prepare("c1"))
	pod, ns := m.sandbox("s1", "p1")
	unlock, err := claimnetwork.Lock(m.cfg.DataDir)
	m.must(err)
	done := make(chan error, 1)
	go func() {
		_, err := m.add(pod, "net1", nil)
		done <- err
	}()
	select {
	case err := <-done:
		t.Fatalf("it does not wait: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	m.expect(m.host, 0, "ens6")
	unlock()
	m.must(<-done)
	m.expect(ns, 0, "net1")
}

// TestPluginIsKilled: the plugin is killed at any time, and the runtime gives up the
// sandbox.
func TestPluginIsKilled(t *testing.T) {
	m := newMultus(newNode(t))
	m.offer(offered("c1", 0, "p1"))
	m.must(m.prepare("c1"))
	conf := m.network(nil).Plugins[0].Bytes
	started := map[bool]int{}
	for i := range 30 {
		pod, ns := m.sandbox(fmt.Sprint("s", i), "p1")
		command := exec.Command(filepath.Join(bin, "eni"))
		command.Stdin = strings.NewReader(strings.Replace(string(conf), "{", `{"cniVersion": "1.1.0", "name": "inspection",`, 1))
		command.Env = []string{"CNI_COMMAND=ADD", "CNI_CONTAINERID=" + pod.Sandbox, "CNI_NETNS=" + pod.NetNS, "CNI_IFNAME=net1", "CNI_PATH=" + bin, "CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=pod-p1;K8S_POD_UID=p1"}
		m.must(m.host.Do(command.Start))
		time.Sleep(time.Duration(i) * time.Millisecond)
		_ = command.Process.Kill()
		_ = command.Wait()
		started[m.where(ns, 0) != ""]++
		m.must(m.del(pod, "net1"))
		m.stopPod(pod.Sandbox)
		m.expect(m.host, 0, "ens6")
		m.end(pod, ns)
	}
	t.Logf("the link was in the pod %d times, and not %d times", started[true], started[false])
	m.must(m.unprepare(ref("c1")))
	m.expectEnd()
}
