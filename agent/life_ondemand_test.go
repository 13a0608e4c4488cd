package agent_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aws-multi-eni/aws-multi-eni/agent"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/claimnetwork"
	"github.com/aws-multi-eni/aws-multi-eni/internal/draw"
	"github.com/aws-multi-eni/aws-multi-eni/internal/driver"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// A claim gets an ENI; the next one gets it warm, without a call; without one it goes.
func TestClaims(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := settledClaims(t, "od")
		c.claim()
		pass(10 * time.Second)
		if len(c.attached) != 1 || len(c.living()) != 1 {
			t.Fatalf("attached are %v, ENIs %+v, report %+v", c.attached, c.living(), c.memory.saved())
		}
		c.expectCalls("a claim", map[string]int{"CreateNetworkInterface": 1, "AttachNetworkInterface": 1, "ModifyNetworkInterfaceAttribute": 1})
		c.checkClaims()
		e := c.living()[0]
		if entry := c.memory.saved().ENIs[0]; entry.Claim == nil || entry.Claim.Name != "claim-1" || entry.Place == nil || *entry.Place != 0 || e.Tags[eni.TagPlace] != "0" {
			t.Errorf("reported is %+v, tags are %v", entry, e.Tags)
		}
		if c.reports != 1 || len(c.followed) != 1 {
			t.Errorf("%d reports to the claim, followed are %v", c.reports, c.followed)
		}
		c.dropClaim("claim-1")
		pass(onDemandIdle - 5*time.Second)
		if entry := c.memory.saved().ENIs[0]; entry.Claim != nil || entry.Phase != v1alpha1.PhaseReady || len(c.followed) > 0 {
			t.Errorf("warm: reported is %+v, followed are %v", entry, c.followed)
		}
		c.claim()
		pass(2 * time.Second)
		if len(c.attached) != 1 {
			t.Error("a warm ENI is not given at once")
		}
		c.expectCalls("a warm ENI", map[string]int{})
		c.checkClaims()
		c.dropClaim("claim-2")
		pass(onDemandIdle + 30*time.Second)
		if all := c.living(); len(all) > 0 || len(c.host.Links.Links()) > 0 {
			t.Errorf("left are %+v", all)
		}
		pass(time.Minute)
		if files, _ := os.ReadDir(c.files.ClaimsDir); len(files) > 0 {
			t.Errorf("left are %v", files)
		}
		c.end()
	})
}

// An agent that is killed at any moment leaves no second ENI, no leak, and no claim that
// is said to be attached and is not.
func TestClaimsAndKills(t *testing.T) {
	for after := 50 * time.Millisecond; after < 4*time.Second; after += 150 * time.Millisecond {
		for _, drop := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				c := settledClaims(t, "od")
				name := c.claim()
				pass(after)
				c.halt(true)
				if drop {
					c.dropClaim(name)
				}
				pass(time.Second)
				c.boot()
				pass(20 * time.Second)
				if n := len(c.attached); !drop && n != 1 {
					t.Errorf("killed after %v: %d claims are attached, report %+v", after, n, c.memory.saved())
				}
				if n := cloud.CountCalls(c.cloud.Calls())["CreateNetworkInterface"]; n > 2 || len(c.living()) > 1 {
					t.Errorf("killed after %v: %d creates, %d ENIs", after, n, len(c.living()))
				}
				c.checkClaims()
				c.dropClaim(name)
				pass(10 * time.Minute) // describes show by then what nothing else tells of
				if all := c.living(); len(all) > 0 {
					t.Errorf("killed after %v, dropped %v: left are %+v", after, drop, all)
				}
				c.end()
			})
		}
	}
}

// What keeps an ENI from being made makes the scheduler choose again, and the devices
// that would fail for the same reason have taints until it is tried again.
func TestClaimsFail(t *testing.T) {
	for name, test := range map[string]struct {
		fail   func(*world)
		fix    func(*world)
		reason string
	}{
		"IAM, create": {
			func(w *world) {
				w.must(w.cloud.Inject(cloud.Fault{Action: "CreateNetworkInterface", Count: 1000, Code: "UnauthorizedOperation"}))
			},
			func(w *world) { w.cloud.ClearFaults() }, "UnauthorizedOperation",
		},
		"IAM, attach": {
			func(w *world) {
				w.must(w.cloud.Inject(cloud.Fault{Action: "AttachNetworkInterface", Count: 1000, Code: "UnauthorizedOperation"}))
			},
			func(w *world) { w.cloud.ClearFaults() }, "UnauthorizedOperation",
		},
		"a full subnet": {
			func(w *world) { w.must(w.cloud.SetFreeAddresses(subnetA, 0)) },
			func(w *world) { w.must(w.cloud.SetFreeAddresses(subnetA, 100)) }, "InsufficientFreeAddressesInSubnet",
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			c := settledClaims(t, "od")
			test.fail(c.world)
			c.claim()
			pass(20 * time.Minute)
			calls := cloud.CountCalls(c.cloud.Calls())
			if got := c.failures["claim-1"]; got != test.reason || len(c.attached) > 0 {
				t.Errorf("%s: the claim fails because of %q, attached are %v", name, got, c.attached)
			}
			if n := calls["CreateNetworkInterface"] + calls["AttachNetworkInterface"]; n > 30 {
				t.Errorf("%s: %v", name, calls)
			}
			test.fix(c.world)
			pass(15 * time.Minute)
			if len(c.attached) != 1 {
				t.Errorf("%s: not attached after it has ended; slices %+v, report %+v", name, c.slices, c.memory.saved())
			}
			c.checkClaims()
			c.end()
		})
	}
}

// On an instance with room for two, ENIs without a claim give way to those with one.
func TestClaimsGiveWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, draw.From(nil), small)
		c := w.withClaims("a", "b")
		w.boot()
		pass(10 * time.Second)
		first, second := c.claim(), c.claim()
		c.claim() // waits for room
		pass(20 * time.Second)
		if len(c.attached) != 2 || len(c.pending) != 1 {
			t.Fatalf("attached are %v, pending %v", c.attached, c.pending)
		}
		c.dropClaim(first)
		pass(3 * time.Second)
		if len(c.attached) != 2 {
			t.Errorf("attached are %v, pending %v", c.attached, c.pending)
		}
		c.dropClaim(second)
		pass(3 * time.Second)
		// A place of b takes the room of the warm ENI of a.
		c.mu.Lock()
		c.only = "b"
		c.mu.Unlock()
		c.cloud.ResetCalls()
		c.claim()
		pass(30 * time.Second)
		if len(c.attached) != 2 || len(c.living()) != 2 || len(c.failures) > 0 {
			t.Errorf("attached are %v, pending %v, failed %v, report %+v", c.attached, c.pending, c.failures, c.memory.saved())
		}
		// None of them is refused: the attach waits until EC2 has detached the warm ENI.
		c.expectCalls("a warm ENI that gives way", map[string]int{"CreateNetworkInterface": 1, "DescribeNetworkInterfaces": 1, "AttachNetworkInterface": 1, "ModifyNetworkInterfaceAttribute": 1})
		c.end()
	})
}

// A pod has the link: it is ready all the same, and the claim names the link as it is in
// the pod.
func TestClaimInPod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := settledClaims(t, "od")
		c.claim()
		pass(10 * time.Second)
		c.cloud.ResetCalls()
		c.takeIntoPod()
		pass(10 * time.Minute)
		status := c.memory.truth().Claims[0].Status
		if status.NetworkData.InterfaceName != "eni0" || !meta.IsStatusConditionTrue(status.Conditions, driver.ConditionAttached) || c.reports > 2 {
			t.Errorf("reported is %+v %+v, %d times", status, status.NetworkData, c.reports)
		}
		c.restart()
		pass(time.Minute)
		if entry := c.memory.saved().ENIs[0]; entry.Phase != v1alpha1.PhaseReady || !strings.HasSuffix(entry.Message, "default/pod") {
			t.Errorf("reported is %+v", entry)
		}
		c.end()
	})
}

// Someone detaches or deletes the ENI in EC2 that a running pod has. When eni-dra misses the
// link, the agent asks EC2 at once, and the claim is not attached until the pod has the link
// again.
func TestClaimLosesItsLink(t *testing.T) {
	for name, test := range map[string]struct {
		deleted bool
		calls   map[string]int
	}{
		"detached": {false, map[string]int{"AttachNetworkInterface": 1, "ModifyNetworkInterfaceAttribute": 1}},
		"deleted":  {true, map[string]int{"CreateNetworkInterface": 1, "AttachNetworkInterface": 1, "ModifyNetworkInterfaceAttribute": 1}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := settledClaims(t, "od")
				c.claim()
				pass(10 * time.Second)
				c.takeIntoPod()
				pass(time.Minute)
				attached := func(what string, want metav1.ConditionStatus, reason string) {
					t.Helper()
					status := c.memory.truth().Claims[0].Status
					if at := meta.FindStatusCondition(status.Conditions, driver.ConditionAttached); at.Status != want || at.Reason != reason {
						t.Errorf("%s: the claim reports %+v", what, at)
					}
				}
				e := c.living()[0]
				c.must(c.cloud.DetachByHand(e.ID))
				if test.deleted {
					time.Sleep(2 * time.Second)
					c.must(c.cloud.DeleteByHand(e.ID))
				}
				attached("before eni-dra notices", metav1.ConditionTrue, "Ready")
				c.cloud.ResetCalls()
				c.changeAttachment(func(a *claimnetwork.Attachment) { a.Pod.Missing = a.Pod.Interfaces })
				pass(5500 * time.Millisecond) // the agent checks every 5 s
				if calls := cloud.CountCalls(c.cloud.Calls()); calls["DescribeNetworkInterfaces"] == 0 {
					t.Errorf("EC2 is not asked at once: %v", calls)
				}
				pass(20 * time.Second)
				calls := cloud.CountCalls(c.cloud.Calls())
				if calls["DescribeNetworkInterfaces"] > 4 { // EC2 takes a while
					t.Errorf("calls are %v", calls)
				}
				if delete(calls, "DescribeNetworkInterfaces"); !maps.Equal(calls, test.calls) {
					t.Errorf("calls are %v, want %v", calls, test.calls)
				}
				attached("on the host", metav1.ConditionFalse, "LinkMissing")
				file, err := claimnetwork.Read(c.files.ClaimsDir, "uid-claim-1")
				if e = c.living()[0]; err != nil || file.Unready() != nil || file.Devices[0].ENI.ID != e.ID {
					t.Errorf("eni-dra reads %+v, %v; the ENI is %s", file, err, e.ID)
				}
				c.takeIntoPod()
				pass(5500 * time.Millisecond)
				attached("in the pod again", metav1.ConditionTrue, "Ready")
				if status := c.memory.truth().Claims[0].Status; status.NetworkData.InterfaceName != "eni0" || status.NetworkData.HardwareAddress != e.MAC {
					t.Errorf("the claim reports %+v", status.NetworkData)
				}
				c.cloud.ResetCalls()
				pass(30 * time.Minute)
				if calls := cloud.CountCalls(c.cloud.Calls()); calls["DescribeNetworkInterfaces"] > 2 || len(calls) > 1 {
					t.Errorf("in the pod again, later: calls are %v", calls)
				}
				c.end()
			})
		})
	}
}

// changeAttachment does what eni-dra does when it finds a link missing.
func (c *claims) changeAttachment(change func(*claimnetwork.Attachment)) {
	all, err := claimnetwork.Attachments(c.files.DataDir)
	c.must(err)
	for _, a := range all {
		change(&a)
		c.must(claimnetwork.WriteAttachment(c.files.DataDir, a))
	}
}

// A node loses its label, and with it the DaemonSet's pod, while a pod has the ENI. Without
// its devices, no more pods wait there, and the claim and an Event name what has happened.
func TestClaimLosesItsENI(t *testing.T) {
	for name, ends := range map[string]bool{"the agent continues": false, "the agent ends": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := settledClaims(t, "od")
				c.claim()
				pass(10 * time.Second)
				c.takeIntoPod()
				pass(time.Minute)
				c.change(func(s *agent.Snapshot) { s.NodeENIs = nil })
				if ends {
					c.halt(false)
				}
				pass(10 * time.Second)
				if len(c.slices) > 0 {
					t.Errorf("%d slices are still published", len(c.slices))
				}
				status := c.memory.truth().Claims[0].Status
				if at := meta.FindStatusCondition(status.Conditions, driver.ConditionAttached); at.Status != metav1.ConditionFalse || at.Reason != "DeviceGone" {
					t.Errorf("reported is %+v", status)
				}
				i := slices.Index(c.events.Reasons, "PodsLoseNetwork")
				if i < 0 || !strings.HasSuffix(c.events.Messages[i], "so that it is created again: default/pod") {
					t.Errorf("Events are %q", c.events.Messages)
				}
				if ends {
					c.boot()
				}
				c.end()
			})
		})
	}
}

// An agent that has just started, and cannot read claims yet, keeps what they have.
func TestClaimsUnknownAfterRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := settledClaims(t, "od")
		c.claim()
		pass(10 * time.Second)
		e, all := c.living()[0], c.memory.truth().Claims
		known := func(is bool, claims []agent.Claim) {
			c.memory.set(func(m *memory) { m.wanted.Claims, m.wanted.ClaimsKnown = claims, is })
		}
		c.halt(true)
		known(false, nil)
		c.boot()
		pass(10 * time.Minute)
		if entry := c.memory.saved().ENIs[0]; entry.ENIID != e.ID || entry.Claim == nil || entry.Phase != v1alpha1.PhaseReady || len(c.followed) != 1 {
			t.Errorf("reported is %+v, followed are %v", entry, c.followed)
		}
		known(true, all)
		pass(10 * time.Minute)
		if left := c.living(); len(left) != 1 || left[0].ID != e.ID {
			t.Errorf("left are %+v", left)
		}
		c.checkClaims()
		known(true, nil)
		pass(10 * time.Minute)
		if left := c.living(); len(left) > 0 {
			t.Errorf("left are %+v", left)
		}
		c.end()
	})
}

// takeIntoPod does what eni-dra does when pods start.
func (c *claims) takeIntoPod() {
	files, err := claimnetwork.List(c.files.ClaimsDir)
	c.must(err)
	netns := filepath.Join(c.TempDir(), "netns")
	c.must(os.WriteFile(netns, nil, 0o600))
	for _, f := range files {
		c.must(claimnetwork.WriteAttachment(c.files.DataDir, claimnetwork.Attachment{
			Claim: f, Created: time.Now(), Pod: &claimnetwork.Pod{Namespace: "default", Name: "pod", UID: "pod", Sandbox: "s", NetNS: netns, Interfaces: slices.Repeat([]string{"eni0"}, len(f.Devices))},
		}))
	}
	c.host.take(true)
}

// returnFromPod does what eni-dra does when pods end.
func (c *claims) returnFromPod() {
	c.must(os.RemoveAll(c.files.DataDir))
	c.host.take(false)
}

// FuzzClaims lets claims come and go while EC2, the API server and the agent fail.
func FuzzClaims(f *testing.F) {
	fuzzWorld(f, 60, func(w *world) {
		if w.alone {
			w.boot()
			return
		}
		c := w.withClaims(draw.Of(w.choices, []string{"od"}, []string{"od", "b"})...)
		w.boot()
		for step := 0; w.choices.More() && step < 24; step++ {
			c.happen()
			time.Sleep(draw.Of(w.choices, 300*time.Millisecond, 0, 10*time.Millisecond, 100*time.Millisecond,
				time.Second, 3*time.Second, 10*time.Second, 40*time.Second, 2*time.Minute, 6*time.Minute))
		}
		w.memory.set(func(m *memory) { m.wanted.ClaimsKnown = true })
		w.change(func(s *agent.Snapshot) { s.Labels = map[string]string{"on": "yes"} })
		w.endFaults()
		w.check()
		c.checkClaims()
		w.checkRestart()
		c.checkClaims()
	})
}

func (c *claims) happen() {
	w := c.world
	drop := func() {
		if names := c.names(); len(names) > 0 {
			c.dropClaim(names[w.choices.N(len(names))])
		}
	}
	make := func() { c.claim() }
	events := []func(){
		make, make, make, make, drop, drop, drop, w.restart, w.pause, w.fault, w.fault, w.lag, w.runOut, w.refuseReports, w.loseReport, w.flap, c.hideClaims, w.cutOffOnly, w.hints.turn(w),
	}
	events[w.choices.N(len(events))]()
}

// hideClaims has the agent know some claims only, for a while.
func (c *claims) hideClaims() {
	known := c.choices.Bool()
	c.memory.set(func(m *memory) { m.wanted.ClaimsKnown = known })
}

// cutOffOnly lets nothing else happen meanwhile.
func (w *world) cutOffOnly() {
	w.memory.set(func(m *memory) { m.cut = true })
	time.Sleep(draw.Of(w.choices, time.Second, 20*time.Second, 3*time.Minute))
	w.memory.set(func(m *memory) { m.cut = false })
}
