package agent

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/agent/retry"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/imds"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

const cluster = "standalone"

var self = imds.Identity{InstanceID: me, Partition: "aws", Region: "us-east-1", AccountID: "123456789012"}

// unwanted is an ENI of this instance whose link has been taken down.
func unwanted(id string) tracked {
	return eniFor(id, "x", subnetA).with(func(t *tracked) {
		t.released, t.collected, t.Status = true, true, "available"
		t.Owner.Cluster, t.Owner.Instance = cluster, self.InstanceARN()
	})
}

func collectView(enis ...tracked) view {
	return view{certain: true, collects: true, cluster: cluster, instanceID: me, instanceARN: self.InstanceARN(), enis: enis, attaching: map[string]int32{}}
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
		{"not before its link is down", collectView(gone.at(me, 2, "attached").with(func(t *tracked) { t.released = false })), "release eni-x"},
		{"never attached, not before it is given up", collectView(gone.with(func(t *tracked) { t.released = false })), "release eni-x"},
		{"being detached", collectView(gone.at(me, 2, "detaching")), "release eni-x"},
		{"detached, not free yet", collectView(gone.with(func(t *tracked) { t.Status = "detaching" })), "release eni-x"},
		{"being attached by a call under way", func() view {
			v := collectView(gone)
			v.attaching["eni-x"] = 2
			return v
		}(), "release eni-x"},
		{"at device index 0", collectView(gone.at(me, 0, "attached")), "release eni-x"},
		{"attached to another instance", collectView(gone.at(other, 2, "attached")), "release eni-x"},
		{"of another cluster", collectView(gone.with(func(t *tracked) { t.Owner.Cluster = "other" })), "release eni-x"},
		{"of another instance", collectView(gone.with(func(t *tracked) { t.Owner.Instance = "arn:other" })), "release eni-x"},
		{"known from the report only", collectView(gone.with(func(t *tracked) { t.reported = true })), "release eni-x"},
		{"not shown once", collectView(gone.with(func(t *tracked) { t.absent = 1 })), "release eni-x"},
		{"wanted again", func() view {
			v := collectView(gone.at(me, 2, "attached"))
			v.desired.wants = []want{wantFor("x", subnetA, 2)}
			return v
		}(), ""},
		{"not known whether wanted", func() view {
			v := collectView(gone.at(me, 2, "attached"))
			v.desired.held = map[types.UID]bool{"x": true}
			return v
		}(), ""},
		{"of a NodeENI that may be in what cannot be read", func() view {
			v := collectView(gone.at(me, 2, "attached"))
			v.desired.told = map[types.UID]bool{"y": true}
			return v
		}(), ""},
		{"of a NodeENI that is known to be gone", func() view {
			v := collectView(gone.at(me, 2, "attached"))
			v.desired.told = map[types.UID]bool{"x": true}
			return v
		}(), "DetachNetworkInterface eni-x; release eni-x"},
		{"the second one for a place", func() view {
			v := collectView(gone, eniFor("eni-0", "x", subnetA).at(me, 2, "attached"))
			v.desired.wants = []want{wantFor("x", subnetA, 2)}
			return v
		}(), "DeleteNetworkInterface eni-x; release eni-x"},
		{"before EC2 has told", func() view {
			v := collectView(gone.at(me, 2, "attached"))
			v.certain = false
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
		byID := map[string]tracked{}
		for i := range v.enis {
			e := &v.enis[i]
			e.released, e.Status = r.IntN(2) == 0, []string{"available", "in-use", "pending"}[r.IntN(3)]
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
			case !e.released, !slices.Contains(p.release, e.ID):
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

func loner(enis ...tracked) *Agent {
	a := New(Config{Cluster: cluster, Identity: self, Collector: noCollector{}, Log: slog.New(slog.DiscardHandler)})
	a.certain, a.enis = true, enis
	return a
}

// What EC2 answers to Detach and Delete, and what follows from it.
func TestCollectAnswers(t *testing.T) {
	now := time.Unix(10_000, 0)
	soon := now.Add(doubtSteps[0])
	inUse := ec2Error("InvalidParameterValue", "Network interface 'eni-x' is currently in use.")
	for _, test := range []struct {
		name   string
		eni    tracked
		verb   verb
		err    error
		gone   bool
		asked  time.Time // when EC2 is asked next; zero: not before the hourly time
		waits  bool      // the call is not repeated at once
		people bool      // it waits for people
	}{
		{"detaching", unwanted("eni-x").at(me, 2, "attached"), detach, nil, false, soon, false, false},
		{"no such attachment", unwanted("eni-x").at(me, 2, "attached"), detach, ec2Error("InvalidAttachmentID.NotFound", ""), false, now, true, false},
		{"not in a state to be detached", unwanted("eni-x").at(me, 2, "attached"), detach, ec2Error("IncorrectState", ""), false, now, true, false},
		{"not ours to detach", unwanted("eni-x").at(me, 2, "attached"), detach, ec2Error("OperationNotPermitted", ""), false, time.Time{}, true, true},
		{"too many calls", unwanted("eni-x").at(me, 2, "attached"), detach, ec2Error("RequestLimitExceeded", ""), false, time.Time{}, true, false},
		{"no answer to a detach", unwanted("eni-x").at(me, 2, "attached"), detach, errors.New("reset"), false, now, true, false},
		{"deleted", unwanted("eni-x"), remove, nil, true, time.Time{}, false, false},
		{"deleted before", unwanted("eni-x"), remove, ec2Error("InvalidNetworkInterfaceID.NotFound", ""), true, time.Time{}, false, false},
		{"not to be found, but no describe has shown it yet", unwanted("eni-x").with(func(t *tracked) { t.listed = false }), remove,
			ec2Error("InvalidNetworkInterfaceID.NotFound", ""), false, now, true, false},
		{"in use", unwanted("eni-x"), remove, ec2Error("InvalidNetworkInterface.InUse", ""), false, soon, true, false},
		{"in use, in other words", unwanted("eni-x"), remove, inUse, false, soon, true, false},
		{"not allowed", unwanted("eni-x"), remove, ec2Error("UnauthorizedOperation", ""), false, time.Time{}, true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := loner(test.eni)
			a.nextObserve = now.Add(time.Hour)
			a.failures.Failed(call{verb: attach, eni: "eni-y"}.key(), ec2Error("AttachmentLimitExceeded", ""), now)
			c := call{verb: test.verb, slot: test.eni.slot(), eni: "eni-x"}
			if test.eni.Attachment != nil {
				c.attachment = test.eni.Attachment.ID
			}
			switch {
			case test.err != nil:
				a.failedCall(c, test.err, now)
			case test.verb == detach:
				a.detached(c, now)
			default:
				a.removed(c.eni, now)
			}
			if gone := len(a.enis) == 0; gone != test.gone {
				t.Errorf("gone %v, want %v", gone, test.gone)
			}
			want := test.asked
			switch {
			case want.IsZero() && a.nextObserve.After(now.Add(time.Hour/2)):
				want = a.nextObserve
			case want.Equal(now):
				want = time.Time{} // in the next pass
			}
			if !a.nextObserve.Equal(want) {
				t.Errorf("EC2 is asked at %v, want %v", a.nextObserve, want)
			}
			if waits := a.failures.Blocks(c.key(), now); waits != test.waits {
				t.Errorf("the call waits %v, want %v", waits, test.waits)
			}
			if test.gone {
				if len(a.failures.Keys()) > 0 {
					t.Error("what waited for a free place on the instance still waits")
				}
				if rec := a.records[test.eni.slot()]; rec.replaces != "eni-x" {
					t.Errorf("the next ENI here would have the same token: %+v", rec)
				}
				return
			}
			if polled := a.collecting(a.enis[0]); polled == test.people {
				t.Errorf("EC2 is asked again and again: %v", polled)
			}
		})
	}
}

// A describe that lags does not bring back what has been deleted, and one that
// shows the ENI long afterwards is right.
func TestDeletedStaysDeleted(t *testing.T) {
	now := time.Unix(10_000, 0)
	e := unwanted("eni-x")
	a := loner(e)
	a.removed("eni-x", now)
	if left := a.withoutDeleted([]eni.ENI{e.ENI}, now.Add(time.Minute)); len(left) > 0 {
		t.Error("a describe has brought back what was deleted a minute ago")
	}
	if left := a.withoutDeleted([]eni.ENI{e.ENI}, now.Add(consistencyWindow)); len(left) != 1 {
		t.Error("an ENI that EC2 still shows after any lag is never seen again")
	}
}

// An ENI that is released before any describe has shown it is not forgotten, be its
// link gone for as long as it takes to replace one in use: here nobody else would
// delete it, and a file that returns would get a second one beside it.
func TestMergeKeepsWhatIsToBeCollected(t *testing.T) {
	now := time.Unix(10_000, 0)
	detached := unwanted("eni-x").with(func(t *tracked) {
		t.listed, t.plugged, t.left, t.absent, t.Owner.CreatedAt = false, true, true, 1, now.Add(-pluggedWindow)
	})
	for _, test := range []struct {
		name string
		eni  tracked
		kept bool
	}{
		{"never attached", unwanted("eni-x").with(func(t *tracked) { t.listed, t.Owner.CreatedAt = false, now }), true},
		{"detached", detached, true},
		{"detached, known from the report only", detached.with(func(t *tracked) { t.reported = true }), true},
		{"detached and wanted again", detached.with(func(t *tracked) { t.returning, t.released, t.left = true, false, false }), true},
		{"detached, too old for a lag", detached.with(func(t *tracked) { t.Owner.CreatedAt = now.Add(-consistencyWindow) }), false},
		{"detached, and shown before", detached.with(func(t *tracked) { t.listed = true }), false},
		{"in use", detached.with(func(t *tracked) { t.released, t.left, t.collected = false, false, false }), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			after, gone := merge([]tracked{test.eni}, nil, func(tracked) bool { return false }, now)
			if kept := len(after) == 1 && len(gone) == 0; kept != test.kept {
				t.Errorf("known %v, gone %v", after, gone)
			}
		})
	}
}

// EC2 is asked while an ENI is on its way out, and not for ever when only people
// can help.
func TestCollectingIsPursued(t *testing.T) {
	now := time.Unix(10_000, 0)
	leaving := unwanted("eni-x").at(me, 2, "detaching")
	for _, test := range []struct {
		name  string
		agent *Agent
		soon  bool
	}{
		{"being detached", loner(leaving), true},
		{"known from the report only", loner(unwanted("eni-x").with(func(t *tracked) { t.reported, t.Owner.Cluster = true, "" })), true},
		{"being detached for long", func() *Agent {
			a := loner(leaving)
			a.doubts = len(doubtSteps)
			return a
		}(), true},
		{"not permitted", func() *Agent {
			a := loner(leaving)
			a.failures.Failed(call{verb: detach, slot: leaving.slot(), eni: "eni-x"}.key(), ec2Error("OperationNotPermitted", ""), now)
			return a
		}(), false},
		{"at device index 0", loner(unwanted("eni-x").at(me, 0, "attached")), false},
		{"in a cluster", func() *Agent {
			a := loner(leaving)
			a.Collector = nil
			return a
		}(), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.agent.schedule(now)
			if soon := !test.agent.nextObserve.After(now.Add(collectPoll)); soon != test.soon {
				t.Errorf("EC2 is asked in %v", test.agent.nextObserve.Sub(now))
			}
		})
	}
}

// A second ENI for a place that is wanted is on its way out; that is no reason
// to doubt it, over and over.
func TestSurplusIsNotDoubted(t *testing.T) {
	now := time.Unix(10_000, 0)
	a := loner(unwanted("eni-y"), eniFor("eni-x", "x", subnetA).at(me, 2, "attached"))
	a.desired.wants = []want{wantFor("x", subnetA, 2)}
	a.nextObserve = now.Add(time.Hour)
	a.doubtReturning()
	if !a.certain || a.nextObserve.Before(now.Add(time.Hour)) {
		t.Error("EC2 is asked whether a surplus ENI is still there")
	}
}

func TestReportOfRemoval(t *testing.T) {
	gone := unwanted("eni-x")
	for _, test := range []struct {
		name  string
		eni   tracked
		fails *retry.Failures
		want  string // phase, reason, words of the message
	}{
		{"link up", gone.at(me, 2, "attached").with(func(t *tracked) { t.released = false }), nil, "Releasing NotWanted taken down"},
		{"to be detached", gone.at(me, 2, "attached"), nil, "Released NotWanted asked to detach"},
		{"detaching", gone.at(me, 2, "detaching"), nil, "Released NotWanted is detaching it"},
		{"to be deleted", gone, nil, "Released Deleting asked to delete"},
		{"to be deleted, never attached and not shown yet", gone.with(func(t *tracked) { t.listed = false }), nil, "Released NotWanted asked to delete"},
		{"in use", gone, failedWith(call{verb: remove, slot: gone.slot(), eni: "eni-x"}.key(), ec2Error("InvalidNetworkInterface.InUse", "")), "Released NotWanted in use"},
		{"not permitted", gone.at(me, 2, "attached"), failedWith(call{verb: detach, slot: gone.slot(), eni: "eni-x"}.key(), ec2Error("OperationNotPermitted", "no")),
			"Released OperationNotPermitted another AWS service"},
		{"at device index 0", gone.at(me, 0, "attached"), nil, "Released PrimaryInterface left alone"},
		{"on another instance", gone.at(other, 2, "attached"), nil, "Released AttachedElsewhere " + other},
		{"not shown", gone.with(func(t *tracked) { t.absent = 1 }), nil, "Released Verifying asked again"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := report(situationOf(collectView(test.eni), nil, test.fails), v1alpha1.NodeENIStateStatus{}, time.Unix(50, 0))
			if len(r.ENIs) != 1 {
				t.Fatalf("%d entries: %+v", len(r.ENIs), r.ENIs)
			}
			got := r.ENIs[0]
			phase, rest, _ := strings.Cut(test.want, " ")
			reason, words, _ := strings.Cut(rest, " ")
			if string(got.Phase) != phase || got.Reason != reason || !strings.Contains(got.Message, words) {
				t.Errorf("got %s %s %q, want %s", got.Phase, got.Reason, got.Message, test.want)
			}
		})
	}
}

// A report tells an agent that starts whether EC2 was asked to delete an ENI that a
// describe had shown: then it has gone when none shows it. One that was being
// detached has not.
func TestRecallTellsWhatWasDeleted(t *testing.T) {
	gone := unwanted("eni-x")
	for _, test := range []struct {
		name   string
		eni    tracked
		listed bool
	}{
		{"to be deleted", gone, true},
		{"to be deleted, not shown yet", gone.with(func(t *tracked) { t.listed = false }), false},
		{"being detached", gone.at(me, 2, "detaching"), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := report(situationOf(collectView(test.eni), nil, nil), v1alpha1.NodeENIStateStatus{}, time.Unix(50, 0))
			if back := recall(r, self.InstanceARN()); len(back) != 1 || !back[0].released || back[0].listed != test.listed {
				t.Errorf("recalled %+v", back)
			}
		})
	}
}
