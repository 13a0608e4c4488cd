package coordinator

import (
	"bytes"
	"log/slog"
	"net/http"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// TestThrottledDetach: EC2 has a bucket for each action; an account whose Detach
// calls are used up can still delete.
func TestThrottledDetach(t *testing.T) {
	r := newRig(t)
	n := r.nodeENI("multi")
	r.node("node-a", "i-0fffffffffffffff0")
	a := r.instance()
	s := r.sweeperAsOf()
	s.executor.concurrency = 1
	var jobs []job
	for i, act := range []act{actDetach, actDetach, actDelete, actDelete} {
		id := r.newENI(owner(n, "node-a", a), subnetA)
		e := eni.ENI{ID: id, SubnetID: subnetA, Owner: owner(n, "node-a", a)}
		if act == actDetach {
			r.attachENI(id, a, int32(i+1))
			attached, _ := r.cloud.Interface(id)
			e.Attachment = &eni.Attachment{ID: attached.Attachment.ID}
		}
		jobs = append(jobs, job{e, decision{reasonNodeReplaced, graceNone}, act})
	}
	r.inject(cloud.Fault{Action: "DetachNetworkInterface", Code: "RequestLimitExceeded"})
	got := map[act][]outcome{}
	for _, result := range s.executor.execute(t.Context(), jobs) {
		got[result.act] = append(got[result.act], result.outcome)
	}
	slices.Sort(got[actDetach]) // either of the two may come first
	if want := []outcome{outcomePostponed, outcomeThrottled}; !slices.Equal(got[actDetach], want) {
		t.Errorf("Detach: %v, want %v", got[actDetach], want)
	}
	if want := []outcome{outcomeDone, outcomeDone}; !slices.Equal(got[actDelete], want) {
		t.Errorf("Delete: %v, want %v", got[actDelete], want)
	}
}

// TestSideBySide: so many calls of each action are under way, and neither action
// waits for the other.
func TestSideBySide(t *testing.T) {
	r := newRig(t)
	n := r.nodeENI("multi")
	r.node("node-a", "i-0fffffffffffffff0")
	s := r.sweeperAsOf()
	s.executor.concurrency = 2
	var jobs []job
	for range 6 {
		a := r.instance()
		detach := eni.ENI{ID: r.newENI(owner(n, "node-a", a), subnetA), SubnetID: subnetA, Owner: owner(n, "node-a", a)}
		r.attachENI(detach.ID, a, 1)
		attached, _ := r.cloud.Interface(detach.ID)
		detach.Attachment = &eni.Attachment{ID: attached.Attachment.ID}
		remove := detach
		remove.ID, remove.Attachment = r.newENI(owner(n, "node-a", a), subnetA), nil
		jobs = append(jobs, job{detach, decision{reasonNodeReplaced, graceNone}, actDetach}, job{remove, decision{reasonNodeReplaced, graceNone}, actDelete})
	}
	if err := r.cloud.SetTiming(cloud.Timing{Write: 200 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	r.cloud.ResetCalls()
	s.executor.execute(t.Context(), jobs)
	calls := r.cloud.Calls()
	all := func(string) bool { return true }
	is := func(action string) func(string) bool { return func(a string) bool { return a == action } }
	if most := atOnce(calls, is("DetachNetworkInterface")); most != 2 {
		t.Errorf("%d Detach calls side by side, want 2", most)
	}
	if most := atOnce(calls, is("DeleteNetworkInterface")); most != 2 {
		t.Errorf("%d Delete calls side by side, want 2", most)
	}
	if most := atOnce(calls, all); most <= 2 {
		t.Errorf("at most %d calls side by side: Detach and Delete wait for each other", most)
	}
}

// atOnce is how many of the calls were under way at one moment, at most.
func atOnce(calls []cloud.Call, counts func(action string) bool) int {
	most := 0
	for _, at := range calls {
		n := 0
		for _, c := range calls {
			if counts(c.Action) && !c.Time.After(at.Time) && at.Time.Before(c.Time.Add(c.Latency)) {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}

// TestRefusedIsNotStuck: what waits for a person, or for its agent, gets no
// advice to force a detach, least of all a node's primary ENI.
func TestRefusedIsNotStuck(t *testing.T) {
	r := newRig(t)
	a := r.instance()
	n := r.nodeENI("multi")
	primary := r.tagPrimary(n, a)
	r.newNode("node-a") // its Node is another one now
	s := r.sweeperAsOf()
	for range 2 { // it is refused, and then it waits
		if err := s.sweep(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		s.tracks[primary].StateSince = time.Now().Add(-time.Hour)
	}
	r.awaitEvent("ENIRefused", "is the primary ENI of "+a)
	s.recorder.events.Event(refOf(n), kube.EventNormal, "AfterIt", "Events are written in order")
	r.awaitEvent("AfterIt", "in order")
	if stuck := r.events("ENIStuck"); len(stuck) > 0 {
		t.Errorf("got %q", stuck)
	}
}

// TestThrottlingIsLoggedOnce: a deletion of a thousand ENIs is throttled for
// minutes.
func TestThrottlingIsLoggedOnce(t *testing.T) {
	var log bytes.Buffer
	var b ec2Backoff
	for range 3 {
		b.note([]result{{outcome: outcomeDone}, {outcome: outcomeThrottled}}, slog.New(slog.NewTextHandler(&log, nil)))
	}
	if lines := strings.Count(log.String(), "\n"); lines != 1 {
		t.Errorf("%d lines, want 1: %s", lines, log.String())
	}
}

func TestAfterEvent(t *testing.T) {
	for _, test := range []struct {
		name  string
		until time.Duration // all from now
		began time.Duration
		spent float64
		want  time.Duration
	}{
		{"long after a sweep", -time.Hour, -time.Minute, 0, settleTime},
		{"during a sweep", -time.Hour, 0, 0, minSweepGap},
		{"EC2 is left alone", time.Second, -time.Minute, 0, time.Second},
		{"EC2 is left alone for a short time", settleTime / 2, -time.Minute, 0, settleTime},
		{"one describe is left", -time.Hour, -time.Minute, describeBurst - 1, settleTime},
		{"no describe is left", -time.Hour, -time.Minute, describeBurst + 0.5, 2 * time.Second},
	} {
		s := &sweeper{backoff: ec2Backoff{until: testNow.Add(test.until)}, ec2: describer{limit: tokenBucket{describeBurst, describesPerSecond, test.spent, testNow}}}
		if got := s.afterEvent(testNow.Add(test.began), testNow).Sub(testNow); got != test.want {
			t.Errorf("%s: got %v, want %v", test.name, got, test.want)
		}
	}
}

// TestSlowAPIServer: an API server that takes a second for every read makes the
// collection slow, and does not stop it: the reads of one job take longer than a
// sweep is given.
func TestSlowAPIServer(t *testing.T) {
	r := newRig(t)
	n := r.nodeENI("multi")
	r.newNode("node-a")
	a := r.instance()
	ids := []string{r.newENI(owner(n, "node-a", a), subnetA), r.newENI(owner(n, "node-a", a), subnetA)}
	r.access = rest.CopyConfig(r.access)
	r.access.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(req *http.Request) (*http.Response, error) {
			if path.Base(req.URL.Path) == "node-a" {
				time.Sleep(batchTimeout/2 + 100*time.Millisecond)
			}
			return next.RoundTrip(req)
		})
	})
	r.startLeading()
	r.awaitGone(ids...)
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
