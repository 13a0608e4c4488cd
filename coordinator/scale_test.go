package coordinator

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

const subnetBig = "subnet-0cccccccccccccccc"

// withBigSubnet has room for a fleet.
func withBigSubnet(c *cloud.Config) {
	c.Subnets = append(c.Subnets, cloud.Subnet{
		ID: subnetBig, VPCID: "vpc-00000000000000001", Zone: "us-east-1a", CIDR: netip.MustParsePrefix("10.0.64.0/18"),
	})
}

func inBigSubnet(n *v1alpha1.NodeENI) { n.Spec.SubnetID = subnetBig }

// TestThrottledDescribes: of a list of three pages every second page is throttled.
// The leader still lists all, and a deletion makes progress.
func TestThrottledDescribes(t *testing.T) {
	r := newRig(t, withBigSubnet)
	r.fleetENIs(r.nodeENI("fleet", inBigSubnet), 0, 2200)
	n := r.nodeENI("multi")
	id := r.newENI(owner(n, "node-a", "i-0fffffffffffffff0"), subnetA)
	r.throttleEverySecond(100)
	r.startLeading()
	r.awaitFinalizer(n)
	r.remove(r.kube.API, kube.NodeENIs, n.Name)
	r.awaitGone(id)
	r.awaitNoNodeENI(n.Name)
	// Three pages and two throttled ones, then the NodeENI's ENI, and twice that it
	// is gone at most, each perhaps throttled once.
	if calls := r.count("DescribeNetworkInterfaces"); calls > 5+2*3 {
		t.Errorf("%d describes for one ENI: %v", calls, r.filters())
	}
}

// TestDescribesOfChurn: nodes come and go, in a cluster of several pages and in one of
// a single page, where to list all takes as few calls as to ask for two things. The
// describes stay within what is allowed a second.
func TestDescribesOfChurn(t *testing.T) {
	for name, enis := range map[string]int{"three pages": 2200, "one page": 100} {
		t.Run(name, func(t *testing.T) { testChurn(t, enis, 1+enis/eni.PageSize) })
	}
}

func testChurn(t *testing.T, enis, pages int) {
	const perSecond, churn = 4, 40
	r := newRig(t, withBigSubnet)
	n := r.nodeENI("multi", inBigSubnet)
	r.fleetENIs(n, churn, enis)
	a := r.newNode("node-a")
	r.fullENI(r.nodeENI("other"), "node-a", a, subnetA, 2) // EC2 knows an instance
	r.startLeading()
	r.awaitFinalizer(n)
	r.await("the list of all", func() bool { return r.filters()[""] == pages })
	r.awaitSweep() // no Node appears in the middle of the first one
	began := time.Now()
	tick := time.NewTicker(time.Second / perSecond)
	defer tick.Stop()
	var gone []string
	for i := range churn {
		name, instance := fmt.Sprint("fleet-", i), fmt.Sprintf("i-%017x", i)
		r.node(name, instance)
		ids := r.fleetENIs(n, i, i+1)
		r.report(n, name, instance, v1alpha1.PhaseReady, ids...)
		<-tick.C
		r.remove(r.kube.Core, kube.Nodes, name)
		if pages == 1 { // a NodeENI goes, too: something else to ask for
			r.remove(r.kube.API, kube.NodeENIs, r.nodeENI(fmt.Sprint("brief-", i)).Name)
		}
		gone = append(gone, ids...)
	}
	r.awaitGone(gone...)
	took := time.Since(began)
	filters := r.filters()
	calls := -pages // of the first sweep
	for n := range maps.Values(filters) {
		calls += n
	}
	if most := describeBurst + int(took.Seconds()*describesPerSecond) + 1; calls > most {
		t.Errorf("%d describes in %v, want %d at most: %v", calls, took, most, filters)
	}
	if all := filters[""]; pages > 1 && all != pages {
		t.Errorf("%d describes of all ENIs, want the %d pages of the first sweep", all, pages)
	}
	if deletes := r.count("DeleteNetworkInterface"); deletes != churn {
		t.Errorf("%d Delete calls for %d ENIs", deletes, churn)
	}
}

// TestAbsenceOutsideOfFilters: an answer about some ENIs says nothing of others.
func TestAbsenceOutsideOfFilters(t *testing.T) {
	r := newRig(t)
	n := r.nodeENI("multi")
	kept := r.newENI(owner(n, "node-a", "i-0fffffffffffffff0"), subnetA)
	other := r.nodeENI("other")
	s := r.sweeperAsOf()
	r.remove(r.kube.API, kube.NodeENIs, n.Name) // no finalizer yet: it is gone
	s.tracks[kept] = &track{NodeENI: n.UID, FoundAt: time.Now()}
	s.ec2.pages = 5
	s.queue.add(eni.ByNodeENI, string(other.UID))
	s.queue.add(eni.ByNode, "node-b")
	if err := s.sweep(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if s.tracks[kept] == nil {
		t.Error("an ENI that was not asked for is taken for gone")
	}
	if want := map[string]int{string(eni.ByNode): 1, string(eni.ByNodeENI): 1}; !maps.Equal(r.filters(), want) {
		t.Errorf("asked for %v, want %v", r.filters(), want)
	}
	s.ec2.pages = 1 // then all cost less
	s.queue.add(eni.ByNodeENI, string(other.UID))
	s.queue.add(eni.ByNode, "node-b")
	if err := s.sweep(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if r.filters()[""] != 1 {
		t.Errorf("asked for %v, want all", r.filters())
	}
}

func TestFilters(t *testing.T) {
	var many []string
	for i := range 2*eni.SelectorLimit + 1 {
		many = append(many, fmt.Sprintf("node-%04d", i))
	}
	var f filters
	f.add(eni.ByNode, many...)
	f.add(eni.ByID, "eni-1", "eni-2", "eni-1")
	calls := f.calls()
	if len(calls) != 4 || calls[0].by != eni.ByID || !slices.Equal(calls[0].values, []string{"eni-1", "eni-2"}) {
		t.Errorf("got %d calls, the first is %v", len(calls), calls[0])
	}
	var answered filters
	answered.add(calls[1].by, calls[1].values...)
	rest := f.without(answered)
	if got, want := len(rest.values), len(f.values)-eni.SelectorLimit; got != want {
		t.Errorf("%d are left to be asked for, want %d", got, want)
	}
	if rest.cover(eni.ByNode, "node-0000") || !rest.cover(eni.ByNode, "node-0200") || !(&filters{all: true}).cover(eni.ByID, "eni-3") {
		t.Error("what is covered is wrong")
	}
	if rest := f.without(filters{all: true}); len(rest.values) > 0 {
		t.Errorf("a list of all leaves %v", rest)
	}
	queue := newDescribeQueue()
	for i := range maxQueued + 1 {
		queue.add(eni.ByNode, fmt.Sprint(i))
	}
	if got := queue.take(); !got.all || len(got.values) > 0 {
		t.Errorf("the names of %d nodes are kept", len(got.values))
	}
}

func TestTokenBucket(t *testing.T) {
	b := tokenBucket{burst: describeBurst, perSecond: describesPerSecond}
	now := testNow
	calls := 0
	for end := now.Add(time.Minute); now.Before(end); now = latest(now, b.next()) {
		b.spend(1, now)
		calls++
	}
	if want := describeBurst + 60*describesPerSecond; calls < int(want)-1 || calls > int(want) {
		t.Errorf("%d describes in a minute, want %v", calls, want)
	}
	b.spend(20, now)
	if wait := b.next().Sub(now); wait < 20*time.Second {
		t.Errorf("after an answer of 20 pages the next describe comes in %v", wait)
	}
}
