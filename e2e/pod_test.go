package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// The agent as it is in the DaemonSet's pod: root with one capability, probed by a
// kubelet, and ended when the node loses the label that selects it.
func TestAgentInPod(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, nil)
	port := freePort(t)
	c.coordinator("coordinator-1", "--release-grace", "15s", "--http-address", port) // the default grace
	c.want("node-1", "node-1", c.hostSpec())

	c.run("it is ready once EC2 has answered", func(t *testing.T) {
		c.fault("node-1", cloud.Fault{Action: describeCall, Code: "UnauthorizedOperation"})
		c.agentInPod("node-1")
		c.awaitAnswer("node-1", "/readyz", "503", "[-] agent: EC2 has not yet returned the ENIs of this instance", "UnauthorizedOperation")
		c.awaitAnswer("node-1", "/healthz", "200", "[+] loop", "ok")
		c.Sim.Cloud().ClearFaults()
		c.must(c.Label(t.Context(), "node-1", "node-1", "other")) // something has changed: it is tried at once
		c.must(c.Label(t.Context(), "node-1", "node-1", "node-1"))
		c.awaitAnswer("node-1", "/readyz", "200", "[+] agent", "ok")
	})
	c.run("the coordinator is probed, too", func(t *testing.T) {
		for path, want := range map[string]string{"/readyz": "[+] caches\n[+] region\nok\n", "/healthz": "[+] sweep\n[+] status\n[+] leader election\nok\n"} {
			c.await(path+" of the coordinator", func() string {
				if got := answerOf(http.DefaultClient, "http://"+port+path); got != "200 "+want {
					return got
				}
				return ""
			})
		}
	})
	c.run("one capability is enough", func(t *testing.T) {
		c.awaitConfigured("node-1", c.awaitOnly("node-1", "node-1"))
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.agents["node-1"].Pid()))
		c.must(err)
		for _, want := range []string{"CapPrm:\t0000000000001000\n", "CapBnd:\t0000000000001000\n", "NoNewPrivs:\t1\n"} { // CAP_NET_ADMIN
			if !strings.Contains(string(status), want) {
				t.Errorf("the agent has not %q:\n%s", want, status)
			}
		}
	})
	c.run("nothing is served on the ENI's address", func(t *testing.T) {
		n, err := c.Sim.Node("node-1")
		c.must(err)
		e := c.awaitOnly("node-1", "node-1")
		client := http.Client{Transport: &http.Transport{DialContext: n.Namespace.DialContext}}
		if got := answerOf(&client, "http://"+netip.AddrPortFrom(e.PrivateIPs[0], 9480).String()+"/healthz"); !strings.Contains(got, "connection refused") {
			t.Errorf("a request to the ENI's address: %s", got)
		}
	})
	c.run("the node loses the label, and with it the pod", func(t *testing.T) {
		before := c.made("node-1")[0]
		c.must(c.Unlabel(t.Context(), "node-1", "node-1"))
		c.must(c.agents["node-1"].Stop())
		if left := c.released("node-1", before); left != "" {
			t.Error(left)
		}
		c.awaitMade("node-1", 0)
		c.must(c.Label(t.Context(), "node-1", "node-1", "node-1"))
		c.agentInPod("node-1")
		c.awaitConfigured("node-1", c.awaitOnly("node-1", "node-1"))
	})
	c.run("neither EC2 nor the API server answers while it is told to end", func(t *testing.T) {
		e := c.made("node-1")[0]
		c.fault("node-1", cloud.Fault{Action: describeCall, Hang: true})
		calls := len(c.calls(c.source("node-1"), describeCall))
		c.await("it is detached by hand", func() string { return errorText(c.Sim.Cloud().DetachByHand(e.ID)) })
		c.awaitCall("node-1", describeCall, calls+1)
		c.must(c.ControlPlane.APIServer.Pause())
		c.must(c.agents["node-1"].Stop()) // in ten seconds; the pod has thirty
		c.must(c.ControlPlane.APIServer.Resume())
	})
}

// agentInPod starts the node's agent as the DaemonSet does.
func (c *cluster) agentInPod(node string, args ...string) {
	c.t.Helper()
	p, err := c.StartAgent(c.t.Context(), node, append(args, "--http-address="+c.served(node))...)
	c.must(err)
	c.agents[node] = p
	c.remember(p.Log)
}

// served is where the node's agent serves: at the node's own address.
func (c *cluster) served(node string) string {
	c.t.Helper()
	n, err := c.Sim.Node(node)
	c.must(err)
	return netip.AddrPortFrom(n.PrivateIP, 9480).String()
}

// awaitAnswer waits until the node's agent answers with this status and says all
// of these words.
func (c *cluster) awaitAnswer(node, path string, words ...string) {
	c.t.Helper()
	n, err := c.Sim.Node(node)
	c.must(err)
	transport := &http.Transport{DialContext: n.Namespace.DialContext, DisableKeepAlives: true}
	c.await("the answer to "+path, func() string {
		got := answerOf(&http.Client{Transport: transport}, "http://"+c.served(node)+path)
		for _, word := range words {
			if !strings.Contains(got, word) {
				return got
			}
		}
		return ""
	})
}

// answerOf is status and body, or why there is none.
func answerOf(client *http.Client, url string) string {
	resp, err := client.Get(url)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d %s", resp.StatusCode, body)
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// freePort is an address on loopback that is free at the moment.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
