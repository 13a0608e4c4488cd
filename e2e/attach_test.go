package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

// pluginsBuilt builds the CNI plugins, once.
var pluginsBuilt = sync.OnceValue(func() error { return testbed.BuildPlugins(context.Background(), programs) })

// forPods starts a cluster whose agents serve the CNI plugin.
func forPods(t *testing.T, n int, change func(*sim.Topology)) *cluster {
	t.Helper()
	if err := pluginsBuilt(); err != nil {
		t.Fatal(err)
	}
	c := newCluster(t, n, change)
	c.pods = true
	return c
}

// documented is the object of docs/multus.md of that kind and name.
func documented(t *testing.T, kind, name string) string {
	t.Helper()
	return documentedIn(t, "multus.md", kind, name)
}

// documentedIn is the object of that kind and name on a page of docs.
func documentedIn(t *testing.T, file, kind, name string) string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join("..", "docs", file))
	if err != nil {
		t.Fatal(err)
	}
	variables := map[string]string{}
	for _, export := range regexp.MustCompile(`(?m)^ *export ([A-Z_]+)=(\S+)`).FindAllStringSubmatch(string(page), -1) {
		variables[export[1]] = export[2]
	}
	for i, block := range strings.Split(string(page), "```") {
		text, isYAML := strings.CutPrefix(block, "yaml\n")
		if heredoc := regexp.MustCompile(`(?s)<<EOF\n(.*)\n *EOF\n`).FindStringSubmatch(block); heredoc != nil {
			text, isYAML = os.Expand(heredoc[1], func(name string) string { return variables[name] }), true
		}
		if i%2 == 0 || !isYAML {
			continue
		}
		for document := range strings.SplitSeq(text, "---\n") {
			var object struct {
				Kind     string
				Metadata struct{ Name string }
			}
			if err := yaml.Unmarshal([]byte(document), &object); err != nil {
				t.Fatal(err)
			}
			if object.Kind == kind && object.Metadata.Name == name {
				return document
			}
		}
	}
	t.Fatalf("docs/%s has no %s %s", file, kind, name)
	return ""
}

// network is the CNI configuration of a NetworkAttachmentDefinition of docs/multus.md,
// with other fields of a configuration that is no list.
func network(t *testing.T, name string, fields ...any) string {
	t.Helper()
	var object struct{ Spec struct{ Config string } }
	if err := yaml.Unmarshal([]byte(documented(t, "NetworkAttachmentDefinition", name)), &object); err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := json.Unmarshal([]byte(object.Spec.Config), &config); err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		config[fields[i].(string)] = fields[i+1]
	}
	data, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// clusterNetwork gives the n-th pod of a test its first interface, with the default route,
// as the cluster's own network does.
func clusterNetwork(n int) string {
	return fmt.Sprintf(`{"cniVersion": "1.0.0", "name": "cluster", "type": "ptp", "ipam": {"type": "static",
		"addresses": [{"address": "10.244.0.%d/24", "gateway": "10.244.0.1"}], "routes": [{"dst": "0.0.0.0/0"}]}}`, n+2)
}

// pod is a pod with an interface of an ENI.
type pod struct {
	*testbed.Pod
	c         *cluster
	first     string // network
	network   string
	addresses []netip.Addr
	echoes    []net.Listener // which keep the namespace alive
}

// place is the pod where a node is expected.
func (p *pod) place() sim.Node {
	return sim.Node{Instance: cloud.Instance{Name: p.Name}, Namespace: p.Namespace}
}

// attach makes a pod on a node, and attaches it to a network. Its addresses are ones that
// EC2 knows as those of the node's ENI, and that no other pod has.
func (c *cluster) attach(node, name, network string, ips ...string) *pod {
	c.t.Helper()
	p, err := c.tryAttach(node, name, network, ips...)
	c.must(err)
	return p
}

func (c *cluster) tryAttach(node, name, network string, ips ...string) (*pod, error) {
	c.t.Helper()
	made, err := c.NewPod(node, name)
	c.must(err)
	c.t.Cleanup(func() { made.Remove() }) //nolint:errcheck // it may have gone already
	p := &pod{Pod: made, c: c, first: clusterNetwork(c.podsMade), network: network}
	c.podsMade++
	_, err = made.Attach(c.t.Context(), "eth0", p.first)
	c.must(err)
	result, err := made.Attach(c.t.Context(), "net1", network, ips...)
	if err != nil {
		p.detach() // as a runtime does
		return p, err
	}
	for _, ip := range result.IPs {
		a, _ := netip.AddrFromSlice(ip.Address.IP)
		p.addresses = append(p.addresses, a.Unmap())
	}
	if len(p.addresses) == 0 {
		c.t.Fatalf("%s has no address: %+v", name, result)
	}
	for _, a := range p.addresses {
		if e, ok := c.ownerOf(a); !ok || e.Tags[eni.TagNode] != node || e.Attachment == nil {
			c.t.Errorf("%s on %s has the address %v of %q", name, node, a, e.ID)
		}
		for _, other := range c.podsOf {
			if slices.Contains(other.addresses, a) {
				c.t.Errorf("%s and %s both have the address %v", name, other.Name, a)
			}
		}
	}
	for _, a := range p.addresses {
		p.echoes = append(p.echoes, c.serveEcho(p.place(), a))
	}
	c.podsOf = append(c.podsOf, p)
	return p, nil
}

// detach ends a pod as the kubelet does.
func (p *pod) detach() {
	p.c.t.Helper()
	for _, attached := range [][2]string{{"net1", p.network}, {"eth0", p.first}} {
		if err := p.Detach(context.Background(), attached[0], attached[1]); err != nil {
			p.c.t.Errorf("%s is to lose %s: %v", p.Name, attached[0], err)
		}
	}
	p.lose()
}

// lose ends a pod without any call of its plugins.
func (p *pod) lose() {
	p.c.t.Helper()
	for _, listener := range p.echoes {
		_ = listener.Close()
	}
	p.c.must(p.Remove())
	p.c.podsOf = slices.DeleteFunc(p.c.podsOf, func(other *pod) bool { return other == p })
}

// ownerOf is the ENI that has an address, by itself or in a prefix.
func (c *cluster) ownerOf(a netip.Addr) (cloud.Interface, bool) {
	for _, e := range c.managed() {
		in := func(p netip.Prefix) bool { return p.Contains(a) }
		if slices.Contains(addressesOf(e), a) || slices.ContainsFunc(slices.Concat(e.IPv4Prefixes, e.IPv6Prefixes), in) {
			return e, true
		}
	}
	return cloud.Interface{}, false
}

// reachEachOther sends lines between all addresses of the same family, both ways.
func (c *cluster) reachEachOther(pods ...*pod) {
	c.t.Helper()
	for _, from := range pods {
		for _, to := range pods {
			for _, a := range from.addresses {
				for _, b := range to.addresses {
					if a.Is4() == b.Is4() && from != to {
						c.exchange(from.place(), a, b)
					}
				}
			}
		}
	}
	c.noDrops()
}
