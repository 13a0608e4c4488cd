package e2e

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

// node-feature-discovery removes its labels and sets them again at each restart. A
// label that is back within seconds has cost no packet and no call.
func TestLabelIsBackSoon(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, nil)
	c.coordinator("coordinator-1", "--sweep-interval", "1s", "--poll-interval", "200ms", "--release-grace", "15s") // the default grace
	for _, node := range []string{"node-1", "node-2"} {
		p, err := c.StartAgent(t.Context(), node) // with the default delay
		c.must(err)
		c.agents[node] = p
		c.remember(p.Log)
		c.want(node, node, c.hostSpec())
	}
	from, to := c.awaitOnly("node-1", "node-1"), c.awaitOnly("node-2", "node-2")
	p := c.startPings(c.instance("node-1"), from.PrivateIPs[0], c.instance("node-2"), to.PrivateIPs[0])
	p.await(t, 10)
	c.Sim.Cloud().ResetCalls()
	for _, gap := range []time.Duration{300 * time.Millisecond, time.Second, 3 * time.Second} {
		c.must(c.Unlabel(t.Context(), "node-2", "node-2"))
		time.Sleep(gap)
		c.must(c.Label(t.Context(), "node-2", "node-2", "node-2"))
		p.await(t, 10)
	}
	if sent, lost := p.stop(); lost > 0 {
		t.Errorf("%d of %d packets were lost", lost, sent)
	}
	same(t, c.awaitOnly("node-2", "node-2").ID, to.ID)
	if counts := cloud.CountCalls(c.Sim.Cloud().Calls()); mutating(counts) > 0 || len(c.calls(c.source("node-2"))) > 0 {
		t.Errorf("it has cost calls: %v", counts)
	}
	c.run("for good", func(t *testing.T) {
		c.must(c.Unlabel(t.Context(), "node-2", "node-2"))
		c.stays("it has its ENI for some seconds", 3*time.Second, func() string { return c.configured("node-2", to, true, 9001) })
		c.awaitMade("node-2", 0)
	})
}

// pings are UDP packets from one ENI to another, 50 a second, each of which is to come
// back.
type pings struct {
	conn           *net.UDPConn
	done           chan struct{}
	sent, answered atomic.Uint32
}

func (c *cluster) startPings(from sim.Node, source netip.Addr, to sim.Node, target netip.Addr) *pings {
	c.t.Helper()
	listen := func(n sim.Node, address netip.Addr, port uint16) *net.UDPConn {
		conn, err := n.Namespace.ListenPacket(c.t.Context(), "udp", netip.AddrPortFrom(address, port).String())
		c.must(err)
		c.t.Cleanup(func() { conn.Close() })
		return conn.(*net.UDPConn)
	}
	server := listen(to, target, 7)
	go func() {
		packet := make([]byte, 64)
		for {
			n, peer, err := server.ReadFromUDPAddrPort(packet)
			if err != nil {
				return
			}
			_, _ = server.WriteToUDPAddrPort(packet[:n], peer)
		}
	}()
	p := &pings{conn: listen(from, source, 0), done: make(chan struct{})}
	go func() {
		packet := make([]byte, 64)
		for {
			if _, err := p.conn.Read(packet); err != nil {
				return
			}
			p.answered.Add(1)
		}
	}()
	go func() {
		for tick := time.NewTicker(20 * time.Millisecond); ; {
			select {
			case <-p.done:
				tick.Stop()
				return
			case <-tick.C:
				packet := binary.BigEndian.AppendUint32(nil, p.sent.Add(1))
				_, _ = p.conn.WriteToUDPAddrPort(packet, netip.AddrPortFrom(target, 7))
			}
		}
	}()
	return p
}

// await waits until n more packets have come back.
func (p *pings) await(t *testing.T, n uint32) {
	t.Helper()
	for before, end := p.answered.Load(), time.Now().Add(30*time.Second); p.answered.Load() < before+n; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no %d packets come back any more", n)
		}
	}
}

// stop ends them, and says how many did not come back.
func (p *pings) stop() (sent, lost uint32) {
	close(p.done)
	time.Sleep(500 * time.Millisecond) // the last ones are on their way
	return p.sent.Load(), p.sent.Load() - p.answered.Load()
}

// An agent that hears EC2 and not the API server, or only its watches' old tale, does
// not work against the coordinator: what that detaches stays detached.
func TestOutOfTouch(t *testing.T) {
	t.Parallel()
	c := gated(t, sim.Topology{Nodes: sim.Nodes(2)})
	c.coordinator("coordinator-1", eager...)
	for i, cut := range []func(node string){
		func(node string) { // its token is no longer accepted
			c.Gate.Inject(testbed.APIFault{Process: "agent-" + node, Status: 401})
			c.Gate.Cut()
		},
		func(node string) { c.Gate.Stall("agent-"+node, 20*time.Second) },
	} {
		node := fmt.Sprintf("node-%d", i+1)
		c.agent(node)
		c.want(node, node, c.hostSpec())
		e := c.awaitOnly(node, node)
		c.Sim.Cloud().ResetCalls()
		cut(node)
		c.must(c.Unlabel(t.Context(), node, node))
		c.await("the ENI is gone", func() string {
			if len(c.managed()) > 0 {
				return c.enis()
			}
			return ""
		})
		c.awaitLogged(node, "another client detached or deleted ENIs of this node", 1)
		c.stays("nothing is made again", 3*time.Second, func() string {
			if counts := cloud.CountCalls(c.calls(c.source(node))); mutating(counts) > 0 {
				return fmt.Sprint(counts)
			}
			return ""
		})
		c.Gate.Clear()
		c.awaitLogged(node, "the API server confirmed which ENIs this node needs", 1)
		// A save that was refused is tried again within 10 s; until then the report is old.
		c.await("the ENI is no longer reported as ready", func() string {
			if entries := c.entries(node, node); strings.Contains(phases(entries), string(v1alpha1.PhaseReady)) {
				return fmt.Sprintf("%+v", entries)
			}
			return ""
		})
		c.must(c.Label(t.Context(), node, node, node))
		if again := c.awaitOnly(node, node); again.ID == e.ID {
			t.Error("the ENI that was deleted is back")
		}
		// Each of its watches comes back in its own time, and it would miss the deletion.
		c.must(c.PatchNodeENI(t.Context(), node, `{"spec":{"mtu":1500}}`))
		c.await("the agent hears of NodeENIs again", func() string {
			if entries := c.entries(node, node); len(entries) != 1 || entries[0].MTU != 1500 {
				return fmt.Sprintf("%+v", entries)
			}
			return ""
		})
		c.must(c.DeleteNodeENI(t.Context(), node))
		c.awaitENIs(0)
	}
	c.await("an Event", func() string {
		if n := c.events("node-1", "OutOfTouch"); n != 1 {
			return fmt.Sprintf("%d of them", n)
		}
		return ""
	})
}
