package agent_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/agent"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// allocateTo gives the only claim a device and a UID, or takes the device away. As in the API
// server, the status of a device does not outlive its allocation.
func (c *claims) allocateTo(device string, uid types.UID) {
	c.mu.Lock()
	delete(c.attached, "claim-1") // before the agent can report the new allocation
	c.mu.Unlock()
	c.change(func(s *agent.Snapshot) {
		claim := agent.Claim{Namespace: "default", Name: "claim-1", UID: uid, Device: device, Pods: []types.UID{"pod"}}
		s.Claims = nil
		if device != "" {
			s.Claims = []agent.Claim{claim}
		}
	})
}

// A claim changes at any moment while its ENI is being made, and the agent may be killed
// then: it is deallocated, or deleted and created again, and gets the same device, another
// one, or first one of another node. It is attached in the end, with one ENI; no other
// stays; and no claim is ever said to be attached that is not (checkAttached).
func TestClaimsChangeHands(t *testing.T) {
	for name, change := range map[string]func(c *claims, first, second string){
		"to another device": func(c *claims, _, second string) { c.allocateTo(second, "uid-claim-1") },
		"to another node, and back": func(c *claims, first, _ string) {
			c.allocateTo("", "")
			pass(300 * time.Millisecond)
			c.allocateTo(first, "uid-claim-1")
		},
		"created again with the same device": func(c *claims, first, _ string) { c.allocateTo(first, "uid-again") },
		"created again with another device":  func(c *claims, _, second string) { c.allocateTo(second, "uid-again") },
	} {
		for after := 50 * time.Millisecond; after < 3*time.Second; after += 150 * time.Millisecond {
			for _, kill := range []bool{false, true} {
				synctest.Test(t, func(t *testing.T) {
					c := settledClaims(t, "od")
					at := fmt.Sprintf("%s after %v, killed: %v", name, after, kill)
					first, second := c.slices[1].Devices[0].Name, c.slices[1].Devices[1].Name
					c.allocateTo(first, "uid-claim-1")
					pass(after)
					if kill {
						c.halt(true)
					}
					change(c, first, second)
					if kill {
						c.boot()
					}
					pass(30 * time.Second)
					claim := c.memory.truth().Claims[0]
					if len(c.attached) != 1 {
						t.Errorf("%s: not attached: %+v, report %+v", at, claim, c.memory.saved())
					}
					c.checkClaims()
					pass(10 * time.Minute) // what has no claim is gone
					if all := c.living(); len(all) != 1 || placeOf(all[0]) != c.placeOfDevice(claim.Device) {
						t.Errorf("%s: left are %+v", at, all)
					}
					if n := cloud.CountCalls(c.cloud.Calls())["CreateNetworkInterface"]; n > 2 {
						t.Errorf("%s: %d creates", at, n)
					}
					c.allocateTo("", "")
					pass(10 * time.Minute)
					if all := c.living(); len(all) > 0 {
						t.Errorf("%s: left without a claim are %+v", at, all)
					}
					c.end()
				})
			}
		}
	}
}

// The API server is away while an ENI is made: the claim is attached when it is back, and
// has no second ENI.
func TestClaimsWithoutAPIServer(t *testing.T) {
	for after := 50 * time.Millisecond; after < 2*time.Second; after += 150 * time.Millisecond {
		for _, kill := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				c := settledClaims(t, "od")
				c.allocateTo(c.slices[1].Devices[0].Name, "uid-claim-1")
				pass(after)
				c.memory.set(func(m *memory) { m.cut = true })
				if kill {
					c.halt(true)
					c.boot()
				}
				pass(7 * time.Minute)
				c.memory.set(func(m *memory) { m.cut = false })
				pass(time.Minute)
				if n := cloud.CountCalls(c.cloud.Calls())["CreateNetworkInterface"]; len(c.attached) != 1 || len(c.living()) != 1 || n > 2 {
					t.Errorf("cut off after %v, killed: %v: attached are %v, ENIs %+v, %d creates", after, kill, c.attached, c.living(), n)
				}
				c.checkClaims()
				c.end()
			})
		}
	}
}

// A pod that was deleted by force runs on, and has the link of an ENI that no claim has any
// more. The next claim gets another ENI, and this one only when its link is back.
func TestClaimInGhost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := settledClaims(t, "od")
		first := c.claim()
		pass(10 * time.Second)
		c.takeIntoPod()
		pass(time.Second)
		ghost := c.memory.truth().Claims[0].Device
		c.dropClaim(first)
		pass(time.Second)
		c.claim()
		pass(10 * time.Second)
		if next := c.memory.truth().Claims[0]; next.Device == ghost {
			t.Errorf("the next claim got %s", next.Device)
		}
		c.allocateTo(ghost, "uid-next") // the scheduler may take it all the same
		pass(20 * time.Second)
		entries := c.memory.saved().ENIs
		i := slices.IndexFunc(entries, func(e v1alpha1.ENIState) bool { return e.Claim != nil })
		if !c.attached["claim-1"].IsZero() || entries[i].Reason != "LinkGone" {
			t.Errorf("attached are %v, reported is %+v", c.attached, entries[i])
		}
		c.returnFromPod()
		pass(10 * time.Second)
		c.checkClaims()
		c.end()
	})
}

// From the allocation to the report that the ENI is attached, no time passes but EC2's own:
// nothing is polled. A claim that gets a warm ENI has it at once.
func TestClaimsLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := settledClaims(t, "od")
		device := c.slices[1].Devices[0].Name
		for _, step := range []struct {
			what string
			uid  types.UID
			most time.Duration
		}{
			{"a new ENI", "uid-1", 3 * ec2Write}, // create, attach, modify
			{"a warm ENI", "uid-2", 0},
		} {
			began := time.Now()
			c.allocateTo(device, step.uid)
			pass(5 * time.Second)
			if took := c.attached["claim-1"].Sub(began); took < 0 || took > step.most+time.Millisecond {
				t.Errorf("%s: attached after %v, EC2's own time is %v", step.what, took, step.most)
			}
			c.allocateTo("", "")
			pass(5 * time.Second)
		}
		c.end()
	})
}
