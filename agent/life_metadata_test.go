package agent_test

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/utils/ptr"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/imds"
	"github.com/aws-multi-eni/aws-multi-eni/internal/draw"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// settledWorld has one ENI that is Ready, of a NodeENI with these changes.
func settledWorld(t *testing.T, changes ...func(*v1alpha1.NodeENISpec)) (*world, cloud.Interface) {
	w := newWorld(t, draw.From(nil))
	w.withoutCoordinator()
	w.respecify(changes...)
	w.boot()
	time.Sleep(30 * time.Minute) // the verification after a create is over
	all := w.living()
	if len(all) != 1 || len(w.host.Links.Links()) != 1 {
		t.Fatalf("%d ENIs, links %v", len(all), w.host.Links.Links())
	}
	w.cloud.ResetCalls()
	return w, all[0]
}

func (w *world) expectCalls(what string, want map[string]int) {
	w.Helper()
	if got := cloud.CountCalls(w.cloud.Calls()); fmt.Sprint(got) != fmt.Sprint(want) {
		w.Errorf("%s: calls %v, want %v", what, got, want)
	}
	w.cloud.ResetCalls()
}

// What others assign to an ENI, or take away, is on its link within a minute, and
// groups are set back; EC2 is asked once for each change, and not meanwhile.
func TestOthersChangeAnENI(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, e := settledWorld(t)
		const describe, modify = "DescribeNetworkInterfaces", "ModifyNetworkInterfaceAttribute"
		var extra []netip.Addr
		for _, step := range []struct {
			what  string
			do    func() error
			calls map[string]int
		}{
			{"nothing", func() error { return nil }, map[string]int{}},
			{"an address is assigned", func() (err error) {
				extra, err = w.cloud.AssignPrivateIPAddresses(cloud.AssignPrivateIPAddressesInput{NetworkInterfaceID: e.ID, SecondaryCount: 2})
				return err
			}, map[string]int{describe: 1}},
			{"one is taken away", func() error { return w.cloud.UnassignPrivateIPAddresses(e.ID, extra[:1]) }, map[string]int{describe: 1}},
			{"an IPv6 address is assigned", func() error {
				got, err := w.cloud.AssignIPv6(cloud.AssignInput{NetworkInterfaceID: e.ID, AddressRequest: cloud.AddressRequest{Count: ptr.To(1)}})
				extra = got.Addresses
				return err
			}, map[string]int{describe: 1}},
			{"it is taken away", func() error { return w.cloud.UnassignIPv6(e.ID, cloud.Assigned{Addresses: extra}) }, map[string]int{describe: 1}},
			{"other groups are set", func() error {
				return w.cloud.ModifyNetworkInterfaceAttribute(cloud.ModifyNetworkInterfaceAttributeInput{NetworkInterfaceID: e.ID, GroupIDs: []string{groupY}})
			}, map[string]int{describe: 1, modify: 1}},
			{"nothing more", func() error { return nil }, map[string]int{}},
		} {
			w.must(step.do())
			time.Sleep(time.Minute)
			now, _ := w.cloud.Interface(e.ID)
			w.compare(now, w.wanted()[placeOf(e)])
			w.expectCalls(step.what, step.calls)
			time.Sleep(2 * time.Minute)
			w.expectCalls("2 minutes after: "+step.what, map[string]int{})
		}
		w.end()
	})
}

// An IMDS that lags for ever, or lies, costs one describe and no more; one whose
// answers change all the while costs few.
func TestIMDSLies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, e := settledWorld(t)
		w.hints.lies(&imds.Assigned{Addresses: e.PrivateIPs, Groups: []string{"sg-0none"}})
		time.Sleep(20 * time.Minute)
		w.expectCalls("other groups", map[string]int{"DescribeNetworkInterfaces": 1})
		w.hints.lies(&imds.Assigned{})
		time.Sleep(10 * time.Minute)
		w.expectCalls("nothing is shown", map[string]int{})
		for n := range 40 {
			w.hints.lies(&imds.Assigned{Addresses: append(e.PrivateIPs, netip.AddrFrom4([4]byte{10, 0, 9, byte(n)})), Groups: e.GroupIDs})
			time.Sleep(time.Minute)
		}
		if n := len(w.cloud.Calls()); n > 7 {
			t.Errorf("%d calls by 40 lies", n)
		}
		w.end()
	})
}

// Groups that a user sets back all the while are set again soon for a while, and then
// every few minutes: on a thousand nodes that must not use up EC2's buckets.
func TestOthersGoOnChangingAnENI(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, e := settledWorld(t)
		for range 90 {
			w.must(w.cloud.ModifyNetworkInterfaceAttribute(cloud.ModifyNetworkInterfaceAttributeInput{NetworkInterfaceID: e.ID, GroupIDs: []string{groupY}}))
			time.Sleep(2 * time.Minute)
		}
		const atOnce, every = 10, 6 * time.Minute // describes on behalf of IMDS
		calls := cloud.CountCalls(w.cloud.Calls())
		if n := calls["ModifyNetworkInterfaceAttribute"]; n < atOnce || n > atOnce+int(3*time.Hour/every)+4 {
			t.Errorf("within three hours: %v", calls)
		}
		time.Sleep(2 * every)
		now, _ := w.cloud.Interface(e.ID)
		w.compare(now, w.wanted()[placeOf(e)])
		w.end()
	})
}

// EC2's answer does not wait for IMDS: an agent that starts with its ENI attached
// configures the link at once, be it that IMDS hangs, and creates another meanwhile.
func TestIMDSHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, e := settledWorld(t)
		w.halt(true)
		w.host.Reboot()
		w.hints.set(imdsHangs)
		began := time.Now()
		w.boot()
		for len(w.host.Links.Links()) == 0 {
			if time.Sleep(10 * time.Millisecond); time.Since(began) > time.Minute {
				t.Fatal("no link within a minute")
			}
		}
		if took := time.Since(began); took > 100*time.Millisecond {
			t.Errorf("%s is configured after %v", e.ID, took)
		}
		if err := w.cloud.DetachByHand(e.ID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Second) // EC2 is asked again after 2, 5 and 15 s while it detaches
		now, _ := w.cloud.Interface(e.ID)
		w.compare(now, w.wanted()[placeOf(e)])
		w.end()
	})
}
