package agent_test

import (
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"k8s.io/utils/ptr"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// beforeCall looks at each call before EC2 gets it: an agent whose Node is another
// instance changes nothing.
func (w *world) beforeCall(r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	_ = r.ParseForm()
	action := r.Form.Get("Action")
	if !w.idleSince.IsZero() && time.Since(w.idleSince) > eni.CallTimeout && !strings.HasPrefix(action, "Describe") {
		w.Errorf("%v: %s on a Node that is another instance", time.Now(), action)
	}
}

// afterCall looks at EC2 after each call that an agent has made.
func (w *world) afterCall(*http.Request) {
	if w.counted {
		w.checkCounts(false)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.noteGiven()
	if w.doubles {
		return
	}
	count := map[place]int{}
	for _, e := range w.living() {
		if count[placeOf(e)]++; count[placeOf(e)] > 1 {
			w.Errorf("%v: two ENIs for NodeENI %s in %s", time.Now(), placeOf(e).uid, e.SubnetID)
		}
	}
}

// doubt notes when a second ENI may be made: EC2 is believed linkedWindow after
// links were lost, so its lag must not be longer; which of both comes first does
// not matter.
func (w *world) doubt(lost, lagged bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.linksLost, w.lagged = w.linksLost || lost, lagged
	w.doubles = w.doubles || w.linksLost && w.lagged
}

// seeRelease is called before a link is taken down.
func (w *world) seeRelease(id string) {
	e, ok := w.cloud.Interface(id)
	w.mu.Lock()
	settled := w.flapping || time.Since(w.since) > 5*time.Second
	if !w.idleSince.IsZero() && time.Since(w.idleSince) > time.Second {
		w.Errorf("%v: %s was released on a Node that is another instance", time.Now(), id)
	}
	w.mu.Unlock()
	if _, wanted := w.wanted()[placeOf(e)]; !ok || !wanted || !settled || w.memory.misleads() {
		return
	}
	for _, other := range w.living() {
		if other.ID != id && placeOf(other) == placeOf(e) {
			return // one of two
		}
	}
	w.Errorf("%v: %s was released, which NodeENI %s wants", time.Now(), id, placeOf(e).uid)
}

// endFaults ends all faults, and waits until everything can have settled.
func (w *world) endFaults() {
	w.cloud.ClearFaults()
	w.cloud.SetThrottle(false)
	timing := w.cloud.Timing()
	timing.DescribeLag = 0
	w.must(w.cloud.SetTiming(timing))
	w.must(w.cloud.SetFreeAddresses(subnetA, 100))
	w.releasePods()
	w.host.take(false)
	w.hints.set(imdsAnswers)
	w.otherInstance(false)
	w.memory.set(func(m *memory) {
		m.refuses, m.cut, m.wanted.NodeExists = false, false, true
		clear(m.hidden)
	})
	time.Sleep(4 * time.Hour)
}

// check sees that all is quiet, and compares EC2, the host and the report with what
// is wanted.
func (w *world) check() {
	w.cloud.ResetCalls()
	time.Sleep(150 * time.Minute)
	wanted, room := w.wanted(), w.room()
	full := len(wanted) > room
	w.checkCalls("in two and a half quiet hours", full)
	attached, free := 0, 0
	for _, e := range w.living() {
		spec, ok := wanted[placeOf(e)]
		if !ok {
			w.Errorf("%s is left over, or there twice: NodeENI %s, %s", e.ID, placeOf(e).uid, e.SubnetID)
			continue
		}
		delete(wanted, placeOf(e))
		if full && e.Attachment == nil {
			free++
			continue
		}
		attached++
		w.compare(e, spec)
	}
	for s := range wanted {
		if !full {
			w.Errorf("NodeENI %s has no ENI in %s", s.uid, s.subnet)
		}
	}
	if lost := w.linksLost || len(w.foreign) > 1; full && (attached != room || free > 1 && !lost) {
		w.Errorf("%d are attached and %d wait on an instance with room for %d", attached, free, room)
	}
	for _, f := range w.foreign {
		if now, ok := w.cloud.Interface(f.ID); !ok || fmt.Sprint(now) != fmt.Sprint(f) && now.Attachment.DeviceIndex != 0 {
			w.Errorf("%s is not ours and was %+v, now it is %+v", f.ID, f, now)
		}
	}
	for _, wrong := range w.host.wrong {
		w.Error(wrong)
	}
	for _, e := range w.living() {
		if !slices.ContainsFunc(w.memory.saved().ENIs, func(entry v1alpha1.ENIState) bool { return entry.ENIID == e.ID }) {
			w.Errorf("%s is not reported", e.ID)
		}
	}
	w.tellReport()
}

// checkCalls sees that EC2 was asked no more than once an hour; on an instance that
// takes no more ENIs also whether it does by now.
func (w *world) checkCalls(when string, full bool) {
	calls, most := w.cloud.Calls(), 4
	if full {
		most = 24
	}
	changes := slices.DeleteFunc(slices.Clone(calls), func(c cloud.Call) bool {
		return strings.HasPrefix(c.Action, "Describe") || full && c.Action == "AttachNetworkInterface"
	})
	if len(calls) > most || len(changes) > 0 {
		w.Errorf("%d calls %s: %v", len(calls), when, cloud.CountCalls(calls))
	}
}

// checkRestart: a restart changes nothing on the data path.
func (w *world) checkRestart() {
	if w.Failed() {
		return
	}
	full := len(w.wanted()) > w.room()
	w.cloud.ResetCalls()
	before, offered := w.host.Changes(), w.podFiles()
	w.halt(w.choices.Bool())
	w.boot()
	time.Sleep(10 * time.Minute)
	if n := w.host.Changes() - before; n > 0 {
		w.Errorf("%d changes to links by a restart", n)
	}
	for path, is := range w.podFiles() {
		// One that EC2 refuses to attach is refused again, with other words meanwhile.
		if was := offered[path]; !full && (was == nil || !os.SameFile(was, is) || !was.ModTime().Equal(is.ModTime())) {
			w.Errorf("%s was written again after a restart", path)
		}
	}
	w.checkCalls("after a restart", full)
	w.tellReport()
}

// room is how many ENIs of ours the instance takes.
func (w *world) room() int {
	room := 15
	if w.self.InstanceType == small {
		room = 3
	}
	for _, f := range w.foreign {
		if now, ok := w.cloud.Interface(f.ID); ok && now.Attachment != nil && now.Attachment.InstanceID == w.self.InstanceID {
			room--
		}
	}
	return room
}

func (w *world) tellReport() {
	if w.Failed() {
		for _, entry := range w.memory.saved().ENIs {
			w.Logf("report: %s %s %s %s: %s", entry.NodeENIUID, entry.ENIID, entry.Phase, entry.Reason, entry.Message)
		}
	}
}

// compare looks at one ENI: a Ready one is Ready.
func (w *world) compare(e cloud.Interface, spec v1alpha1.NodeENISpec) {
	a := e.Attachment
	if a == nil || a.InstanceID != w.self.InstanceID || a.Status != cloud.AttachmentAttached {
		w.Errorf("%s is not attached: %+v", e.ID, a)
		return
	}
	if !slices.Equal(e.GroupIDs, spec.SecurityGroupIDs) || spec.Description != "" && e.Description != spec.Description ||
		e.SourceDestCheck != *spec.SourceDestCheck || a.DeleteOnTermination != *spec.DeleteOnTermination || lacks(e, spec) {
		w.Errorf("%s is %+v %+v, want %+v", e.ID, e, a, spec)
	}
	l, ok := w.host.Links.Links()[e.MAC]
	addresses := slices.Concat(e.PrivateIPs, e.IPv6Addresses)
	onLink := addresses
	if spec.Pods != nil {
		onLink = slices.Concat(e.PrivateIPs[:min(1, len(e.PrivateIPs))], l.Addresses[min(1, len(e.PrivateIPs)):])
		if len(e.IPv6Addresses) > 0 && !slices.Contains(e.IPv6Addresses, onLink[len(onLink)-1]) || len(l.PodRanges) != len(addresses)-len(onLink)+len(e.IPv4Prefixes)+len(e.IPv6Prefixes) {
			w.Errorf("%s with %v has for pods %v", e.ID, addresses, l.PodRanges)
		}
	}
	if !ok || l.Card != int(a.NetworkCardIndex) || l.DeviceIndex != int(a.DeviceIndex) || l.MTU != int(spec.MTU) || !sameAddresses(l.Addresses, onLink) {
		w.Errorf("%s at %d of card %d with %v has the link %+v, want the MTU %d", e.ID, a.DeviceIndex, a.NetworkCardIndex, addresses, l, spec.MTU)
	}
	entries := slices.DeleteFunc(w.memory.saved().ENIs, func(entry v1alpha1.ENIState) bool { return entry.ENIID != e.ID })
	if len(entries) != 1 || entries[0].Phase != v1alpha1.PhaseReady || len(entries[0].Addresses) != len(addresses) ||
		entries[0].AttachmentID != a.ID || entries[0].MAC != e.MAC || entries[0].DeviceIndex != a.DeviceIndex || entries[0].NetworkCard != a.NetworkCardIndex {
		w.Errorf("%s is %+v %+v, and reported as %+v", e.ID, e, a, entries)
	}
}

// lacks says whether an attached ENI lacks what not every instance type has.
func lacks(e cloud.Interface, spec v1alpha1.NodeENISpec) bool {
	a, ipv4, ipv6 := e.Attachment, ptr.Deref(spec.IPv4, v1alpha1.IPv4{}), ptr.Deref(spec.IPv6, v1alpha1.IPv6{})
	express, timeouts := ptr.Deref(a.EnaSrd, cloud.EnaSrd{}), ptr.Deref(spec.ConnectionTracking, v1alpha1.ConnectionTracking{})
	return a.NetworkCardIndex != spec.NetworkCard || spec.ENAQueues > 0 && a.EnaQueueCount != spec.ENAQueues ||
		v1alpha1.ENAExpress(express) != ptr.Deref(spec.ENAExpress, v1alpha1.ENAExpress{}) ||
		timeouts.UDPTimeout > 0 && timeouts.UDPTimeout != e.ConnectionTracking.UDP ||
		timeouts.UDPStreamTimeout > 0 && timeouts.UDPStreamTimeout != e.ConnectionTracking.UDPStream ||
		timeouts.TCPEstablishedTimeout > 0 && timeouts.TCPEstablishedTimeout != e.ConnectionTracking.TCPEstablished ||
		ipv4.SecondaryAddresses > 0 && len(e.PrivateIPs) <= int(ipv4.SecondaryAddresses) || len(e.IPv4Prefixes) < int(ipv4.Prefixes) ||
		len(e.IPv6Addresses) < int(ptr.Deref(ipv6.Addresses, 0)) || len(e.IPv6Prefixes) < int(ipv6.Prefixes) || ipv6.PrimaryIPv6 && !e.PrimaryIPv6
}

func sameAddresses(a, b []netip.Addr) bool {
	byAddress := netip.Addr.Compare
	return slices.Equal(slices.SortedFunc(slices.Values(a), byAddress), slices.SortedFunc(slices.Values(b), byAddress))
}
