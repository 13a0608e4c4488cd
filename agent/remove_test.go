package agent

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/agent/inventory"
	"github.com/aws-multi-eni/aws-multi-eni/agent/retry"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/imds"
)

const cluster = "standalone"

var self = imds.Identity{InstanceID: me, Partition: "aws", Region: "us-east-1", AccountID: "123456789012"}

// unwanted is an ENI of this instance whose link has been taken down.
func unwanted(id string) fixture {
	return eniFor(id, "x", subnetA).with(func(e *inventory.ENI) {
		e.Use, e.Status = inventory.Released, "available"
		e.Owner.Cluster, e.Owner.Instance = cluster, self.InstanceARN()
	})
}

func collectView(all ...fixture) view {
	return view{synced: true, collects: true, cluster: cluster, instanceID: me, instanceARN: self.InstanceARN(), enis: enis(all...), attaching: map[string]inventory.Place{}}
}

// A stand-alone agent takes what it has released out of EC2, and nothing else.
func TestPlanCollects(t *testing.T) {
	gone := unwanted("eni-x")
	for _, test := range []struct {
		name string
		view view
		want string
	}{
		{"attached", collectView(gone.at(me, 2, "attached")), "DetachNetworkInterface eni-x; release eni-x"},
		{"free", collectView(gone), "DeleteNetworkInterface eni-x; release eni-x"},
		{"not before its link is down", collectView(gone.at(me, 2, "attached").with(func(e *inventory.ENI) { e.Use = inventory.Assigned })), "release eni-x"},
		{"never attached, not before it is given up", collectView(gone.with(func(e *inventory.ENI) { e.Use = inventory.Assigned })), "release eni-x"},
		{"being detached", collectView(gone.at(me, 2, "detaching")), "release eni-x"},
		{"detached, not free yet", collectView(gone.with(func(e *inventory.ENI) { e.Status = "detaching" })), "release eni-x"},
		{"being attached by a call under way", func() view {
			v := collectView(gone)
			v.attaching["eni-x"] = inventory.Place{DeviceIndex: 2}
			return v
		}(), "release eni-x"},
		{"at device index 0", collectView(gone.at(me, 0, "attached")), "release eni-x"},
		{"attached to another instance", collectView(gone.at(other, 2, "attached")), "release eni-x"},
		{"of another cluster", collectView(gone.with(func(e *inventory.ENI) { e.Owner.Cluster = "other" })), "release eni-x"},
		{"of another instance", collectView(gone.with(func(e *inventory.ENI) { e.Owner.Instance = "arn:other" })), "release eni-x"},
		{"known from the report only", collectView(gone.with(func(e *inventory.ENI) { e.Evidence = inventory.Reported })), "release eni-x"},
		{"not shown once", collectView(gone.with(func(e *inventory.ENI) { e.Evidence = inventory.Missed })), "release eni-x"},
		{"wanted again", func() view {
			v := collectView(gone.at(me, 2, "attached"))
			v.desired.wants = []want{wantFor("x", subnetA, 2)}
			return v
		}(), ""},
		{"not known whether wanted", func() view {
			v := collectView(gone.at(me, 2, "attached"))
			v.desired.unresolved = map[types.UID]bool{"x": true}
			return v
		}(), ""},
		{"of a NodeENI that may be in what cannot be read", func() view {
			v := collectView(gone.at(me, 2, "attached"))
			v.desired.listed = map[types.UID]bool{"y": true}
			return v
		}(), ""},
		{"of a NodeENI that is known to be gone", func() view {
			v := collectView(gone.at(me, 2, "attached"))
			v.desired.listed = map[types.UID]bool{"x": true}
			return v
		}(), "DetachNetworkInterface eni-x; release eni-x"},
		{"the second one for a place", func() view {
			v := collectView(gone, eniFor("eni-0", "x", subnetA).at(me, 2, "attached"))
			v.desired.wants = []want{wantFor("x", subnetA, 2)}
			return v
		}(), "DeleteNetworkInterface eni-x; release eni-x"},
		{"before EC2 has told", func() view {
			v := collectView(gone.at(me, 2, "attached"))
			v.synced = false
			return v
		}(), ""},
		{"in a cluster", func() view {
			v := collectView(gone.at(me, 2, "attached"))
			v.collects = false
			return v
		}(), "release eni-x"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := next(test.view).text(); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

// Whatever the situation: an agent in a cluster detaches and deletes nothing,
// and one that stands alone only what is its own, not wanted and taken down.
func TestPlanCollectsProperties(t *testing.T) {
	collected := 0
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 0))
		v := randomView(r)
		v.cluster, v.instanceARN = cluster, self.InstanceARN()
		byID := map[string]inventory.ENI{}
		for i := range v.enis {
			e := &v.enis[i]
			e.Use, e.Status = []inventory.Use{inventory.Assigned, inventory.Released}[r.IntN(2)], []string{"available", "in-use", "pending"}[r.IntN(3)]
			e.Owner.Cluster = []string{cluster, "other"}[r.IntN(2)]
			e.Owner.Instance = []string{self.InstanceARN(), "arn:other"}[r.IntN(2)]
			if e.Attachment != nil && r.IntN(4) == 0 {
				e.Attachment.DeviceIndex = 0
			}
			byID[e.ID] = *e
		}
		for _, c := range next(v).calls {
			if c.verb == detach || c.verb == remove {
				t.Fatalf("seed %d: %s of %s in a cluster", seed, c.verb, c.eni)
			}
		}
		v.collects = true
		p := next(v)
		for _, c := range p.calls {
			if c.verb != detach && c.verb != remove {
				continue
			}
			collected++
			e := byID[c.eni]
			switch {
			case !e.TakenDown(), !slices.Contains(p.release, e.ID):
				t.Fatalf("seed %d: %s of %s, which is in use", seed, c.verb, c.eni)
			case e.Owner.Cluster != cluster, e.Owner.Instance != self.InstanceARN():
				t.Fatalf("seed %d: %s of %s, which is not our own", seed, c.verb, c.eni)
			case e.Attachment != nil && e.Attachment.DeviceIndex == 0:
				t.Fatalf("seed %d: %s of %s at device index 0", seed, c.verb, c.eni)
			case c.verb == remove && e.Attachment != nil, c.verb == detach && c.attachment == "":
				t.Fatalf("seed %d: %s of %s, attached by %q", seed, c.verb, c.eni, c.attachment)
			}
		}
	}
	if collected == 0 {
		t.Error("nothing was collected in any situation")
	}
}

// Without a Collector, as in a cluster, no view collects.
func TestNoCollectorInACluster(t *testing.T) {
	if New(Config{}).view(time.Now()).collects {
		t.Error("an agent without a Collector collects")
	}
	if !New(Config{Collector: noCollector{}}).view(time.Now()).collects {
		t.Error("an agent with a Collector does not collect")
	}
}

type noCollector struct{}

func (noCollector) Detach(context.Context, string) error { return errors.New("not here") }
func (noCollector) Delete(context.Context, string) error { return errors.New("not here") }

func loner(all ...fixture) *Agent {
	a := New(Config{Cluster: cluster, Identity: self, Collector: noCollector{}, Log: slog.New(slog.DiscardHandler)})
	a.synced(time.Unix(10_000, 0), all...)
	return a
}

// What EC2 answers to Detach and Delete, and what follows from it.
func TestRemoveAnswers(t *testing.T) {
	now := time.Unix(10_000, 0)
	const soon = 2 * time.Second
	inUse := ec2Error("InvalidParameterValue", "Network interface 'eni-x' is currently in use.")
	for _, test := range []struct {
		name   string
		eni    fixture
		verb   verb
		err    error
		gone   bool
		asked  time.Duration // until EC2 is asked
		waits  bool          // the call is not repeated at once
		people bool          // it waits for people
	}{
		{"detaching", unwanted("eni-x").at(me, 2, "attached"), detach, nil, false, soon, false, false},
		{"no such attachment", unwanted("eni-x").at(me, 2, "attached"), detach, ec2Error("InvalidAttachmentID.NotFound", ""), false, 0, true, false},
		{"not in a state to be detached", unwanted("eni-x").at(me, 2, "attached"), detach, ec2Error("IncorrectState", ""), false, 0, true, false},
		{"not ours to detach", unwanted("eni-x").at(me, 2, "attached"), detach, ec2Error("OperationNotPermitted", ""), false, time.Hour, true, true},
		{"too many calls", unwanted("eni-x").at(me, 2, "attached"), detach, ec2Error("RequestLimitExceeded", ""), false, time.Hour, true, false},
		{"no answer to a detach", unwanted("eni-x").at(me, 2, "attached"), detach, errors.New("reset"), false, 0, true, false},
		{"deleted", unwanted("eni-x"), remove, nil, true, time.Hour, false, false},
		{"deleted before", unwanted("eni-x"), remove, ec2Error("InvalidNetworkInterfaceID.NotFound", ""), true, time.Hour, false, false},
		{"not to be found, but no describe has shown it yet", unwanted("eni-x").with(func(e *inventory.ENI) { e.Evidence, e.Since = inventory.Expected, time.Unix(9_999, 0) }), remove,
			ec2Error("InvalidNetworkInterfaceID.NotFound", ""), false, 0, true, false},
		{"in use", unwanted("eni-x"), remove, ec2Error("InvalidNetworkInterface.InUse", ""), false, soon, true, false},
		{"in use, in other words", unwanted("eni-x"), remove, inUse, false, soon, true, false},
		{"not allowed", unwanted("eni-x"), remove, ec2Error("UnauthorizedOperation", ""), false, time.Hour, true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := loner(test.eni)
			a.failures.Failed(call{verb: attach, eni: "eni-y"}.key(), ec2Error("AttachmentLimitExceeded", ""), now)
			c := call{verb: test.verb, slot: test.eni.Slot(), eni: "eni-x"}
			if test.eni.Attachment != nil {
				c.attachment = test.eni.Attachment.ID
			}
			switch {
			case test.err != nil:
				a.callFailed(c, test.err, now)
			case test.verb == detach:
				a.inventory.Detaching("eni-x", c.attachment, now)
			default:
				a.deleted("eni-x", now)
			}
			all := a.inventory.All()
			if gone := len(all) == 0; gone != test.gone {
				t.Errorf("gone %v, want %v", gone, test.gone)
			}
			if in := a.asked(now); in != test.asked && (test.asked < time.Hour || in < time.Hour) {
				t.Errorf("EC2 is asked in %v, want %v", in, test.asked)
			}
			if waits := a.failures.Blocks(c.key(), now); waits != test.waits {
				t.Errorf("the call waits %v, want %v", waits, test.waits)
			}
			if test.gone {
				if len(a.failures.Times()) > 0 {
					t.Error("what waited for a free place on the instance still waits")
				}
				if decided := a.intents[test.eni.Slot()]; decided.replaces != "eni-x" {
					t.Errorf("the next ENI here would have the same token: %+v", decided)
				}
				return
			}
			if polled := next(a.view(now)).open.Removing["eni-x"]; polled == test.people {
				t.Errorf("EC2 is asked again and again: %v", polled)
			}
		})
	}
}

// EC2 is asked while an ENI is on its way out, and not for ever when only people
// can help.
func TestRemovalIsPursued(t *testing.T) {
	now := time.Unix(10_000, 0)
	leaving := unwanted("eni-x").at(me, 2, "detaching")
	refused := failedWith(call{verb: detach, slot: leaving.Slot(), eni: "eni-x"}.key(), ec2Error("UnauthorizedOperation", ""))
	for _, test := range []struct {
		name   string
		eni    fixture
		change func(*view)
		want   bool
	}{
		{"being detached", leaving, func(*view) {}, true},
		{"known from the report only", unwanted("eni-x").with(func(e *inventory.ENI) { e.Evidence, e.Owner.Cluster = inventory.Reported, "" }), func(*view) {}, true},
		{"not permitted", leaving, func(v *view) { v.failures = *refused }, false},
		{"at device index 0", unwanted("eni-x").at(me, 0, "attached"), func(*view) {}, false},
		{"in a cluster", leaving, func(v *view) { v.collects = false }, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			v := collectView(test.eni)
			v.now = now
			test.change(&v)
			if got := next(v).open.Removing["eni-x"]; got != test.want {
				t.Errorf("EC2 is asked: %v", got)
			}
		})
	}
}

func TestReportOfRemoval(t *testing.T) {
	gone := unwanted("eni-x")
	for _, test := range []struct {
		name  string
		eni   fixture
		fails *retry.Failures
		want  string // phase, reason, words of the message
	}{
		{"link up", gone.at(me, 2, "attached").with(func(e *inventory.ENI) { e.Use = inventory.Assigned }), nil, "Releasing NotWanted taking its link down"},
		{"to be detached", gone.at(me, 2, "attached"), nil, "Released NotWanted waiting to detach"},
		{"detaching", gone.at(me, 2, "detaching"), nil, "Released NotWanted waiting for EC2 to detach"},
		{"to be deleted", gone, nil, "Released Deleting waiting for EC2 to delete"},
		{"to be deleted, never attached and not shown yet", gone.with(func(e *inventory.ENI) { e.Evidence, e.Since = inventory.Expected, time.Unix(9_999, 0) }), nil, "Released NotWanted waiting for EC2 to delete"},
		{"in use", gone, failedWith(call{verb: remove, slot: gone.Slot(), eni: "eni-x"}.key(), ec2Error("InvalidNetworkInterface.InUse", "")), "Released NotWanted in use"},
		{"not permitted", gone.at(me, 2, "attached"), failedWith(call{verb: detach, slot: gone.Slot(), eni: "eni-x"}.key(), ec2Error("OperationNotPermitted", "no")),
			"Released OperationNotPermitted another AWS service"},
		{"at device index 0", gone.at(me, 0, "attached"), nil, "Released PrimaryInterface does not touch it"},
		{"on another instance", gone.at(other, 2, "attached"), nil, "Released AttachedElsewhere " + other},
		{"not shown", gone.with(func(e *inventory.ENI) { e.Evidence = inventory.Missed }), nil, "Released Verifying checking again"},
	} {
		t.Run(test.name, func(t *testing.T) {
			wantEntry(t, situationOf(collectView(test.eni), nil, test.fails), test.want)
		})
	}
}

// A report tells an agent that starts whether EC2 was asked to delete an ENI that a
// describe had shown: then it has gone when none shows it. One that was being
// detached has not.
func TestReportTellsWhatWasDeleted(t *testing.T) {
	gone := unwanted("eni-x")
	for _, test := range []struct {
		name  string
		eni   fixture
		shown bool
	}{
		{"to be deleted", gone, true},
		{"to be deleted, not shown yet", gone.with(func(e *inventory.ENI) { e.Evidence, e.Since = inventory.Expected, time.Unix(9_999, 0) }), false},
		{"being detached", gone.at(me, 2, "detaching"), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := report(situationOf(collectView(test.eni), nil, nil), v1alpha1.NodeENIStateStatus{}, time.Unix(50, 0))
			back := restoredFrom(r, self.InstanceARN(), time.Unix(60, 0)).enis
			if len(back) != 1 || back[0].Use != inventory.Released || back[0].Since.IsZero() != test.shown {
				t.Errorf("restored %+v", back)
			}
		})
	}
}
