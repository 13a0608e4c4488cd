package cni

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
	"github.com/aws-multi-eni/aws-multi-eni/internal/podnetwork"
)

// Whatever happens to the plugin, no two pods have the same address, none has one that
// its ENI did not have, and nothing is left when all are gone. ENI_SEED repeats a run,
// ENI_RUNS makes more of them.
func TestAddressesProperty(t *testing.T) {
	t.Parallel()
	seed, runs := rand.Uint64N(1_000_000), 3
	if text := os.Getenv("ENI_SEED"); text != "" {
		seed, _ = strconv.ParseUint(text, 10, 64)
		runs = 1
	}
	if text := os.Getenv("ENI_RUNS"); text != "" {
		runs, _ = strconv.Atoi(text)
	}
	for i := range uint64(runs) {
		t.Run(fmt.Sprint("ENI_SEED=", seed+i), func(t *testing.T) {
			w := &world{node: newNode(t), Rand: rand.New(rand.NewPCG(seed+i, 0)), pods: map[string]*livingPod{}}
			w.replaceENI()
			for range 60 {
				w.step()
				w.check()
			}
			w.end()
		})
	}
}

// world is a node and the pods that have a sandbox on it.
type world struct {
	*node
	*rand.Rand
	pods   map[string]*livingPod
	made   int
	ranges []netip.Prefix // that the file has
	log    []string
}

type livingPod struct {
	ns      *netns.Namespace
	allowed []netip.Prefix // the file's ranges when its ADD began
	added   bool           // successfully
}

func (w *world) step() {
	switch n := w.IntN(20); {
	case n < 9:
		w.addSome(1, false)
	case n < 11:
		w.addSome(2, false)
	case n < 13:
		w.addSome(1+w.IntN(2), true)
	case n < 16:
		w.delSome(w.IntN(2) == 0)
	case n < 18:
		w.remove(w.pick(), "without DEL") // DEL is lost
	case n < 19:
		w.collect()
	default:
		w.replaceENI()
	}
}

// replaceENI has the file offer another ENI, with other ranges or the same.
func (w *world) replaceENI() {
	choices := [][]string{{"10.0.0.16/29"}, {"10.0.0.16/29"}, {"10.0.0.32/29", "10.0.0.64/32"}, {"10.0.0.20/30"}}
	e := eniOf(choices[w.IntN(len(choices))]...)
	e.ID = fmt.Sprint("eni-", w.IntN(1000))
	w.ranges = e.Ranges
	w.offer(e)
	w.say("%s has %s", e.ID, e.Ranges)
}

// addSome adds pods side by side; killed, the runtime loses its patience with them.
func (w *world) addSome(n int, killed bool) {
	var wait sync.WaitGroup
	for range n {
		w.made++
		id := fmt.Sprint("pod", w.made)
		ns, _, err := w.Sandbox(id)
		w.must(err)
		pod := &livingPod{ns: ns, allowed: w.ranges}
		w.pods[id] = pod
		patience := time.Minute
		if killed {
			patience = time.Duration(w.IntN(60_000)) * time.Microsecond
		}
		wait.Go(func() {
			ctx, cancel := context.WithTimeout(w.Context(), patience)
			defer cancel()
			_, err := w.AddNetworkList(ctx, w.list("storage"), w.Attachment(id, "net1"))
			pod.added = err == nil
			if err != nil && !killed && !strings.Contains(err.Error(), "has no free addresses") {
				w.Errorf("ADD %s: %v", id, err)
			}
		})
	}
	wait.Wait()
	w.say("%d pods more, up to pod%d, killed: %v", n, w.made, killed)
	// Some runtimes clean up after an ADD that failed, others leave it to the kubelet.
	for _, id := range w.ids() {
		if !w.pods[id].added && w.IntN(2) == 0 {
			w.delete(id, false)
		}
	}
}

func (w *world) delSome(killed bool) {
	if id := w.pick(); id != "" {
		w.delete(id, killed)
	}
}

// delete is what a runtime does when a pod ends. A DEL that fails is made again.
func (w *world) delete(id string, killed bool) {
	if killed {
		ctx, cancel := context.WithTimeout(w.Context(), time.Duration(w.IntN(40_000))*time.Microsecond)
		_ = w.DelNetworkList(ctx, w.list("storage"), w.Attachment(id, "net1"))
		cancel()
		w.check()
	}
	if err := w.del(id); err != nil {
		w.Errorf("DEL %s: %v", id, err)
	}
	w.remove(id, "after DEL")
}

func (w *world) remove(id, how string) {
	if id == "" {
		return
	}
	w.say("%s goes %s", id, how)
	delete(w.pods, id)
	w.must(w.RemoveSandbox(id))
}

// collect has the runtime know only some of the pods; the others lose their interfaces.
func (w *world) collect() {
	var valid []string
	for _, id := range w.ids() {
		if w.IntN(2) == 0 {
			valid = append(valid, id)
		}
	}
	w.say("GC without %v", valid)
	w.must(w.gc(valid...))
	for id := range w.pods {
		if !slices.Contains(valid, id) && len(w.addressesOf(id)) > 0 {
			w.Errorf("%s keeps its interface after GC", id)
		}
	}
}

func (w *world) pick() string {
	ids := w.ids()
	if len(ids) == 0 {
		return ""
	}
	return ids[w.IntN(len(ids))]
}

func (w *world) ids() []string { return slices.Sorted(maps.Keys(w.pods)) }

// addressesOf are those that a pod's interface really has.
func (w *world) addressesOf(id string) []netip.Addr {
	handle, err := w.pods[id].ns.Netlink()
	w.must(err)
	defer handle.Close()
	link, err := handle.LinkByName("net1")
	if err != nil {
		return nil
	}
	list, err := handle.AddrList(link, netlink.FAMILY_V4)
	w.must(err)
	var addresses []netip.Addr
	for _, a := range list {
		address, _ := netip.AddrFromSlice(a.IP.To4())
		addresses = append(addresses, address)
	}
	return addresses
}

func (w *world) check() {
	w.Helper()
	holders := map[netip.Addr]string{}
	for id, pod := range w.pods {
		for _, address := range w.addressesOf(id) {
			if other, held := holders[address]; held {
				w.fail("%s and %s both have %s", id, other, address)
			}
			holders[address] = id
			if !slices.ContainsFunc(pod.allowed, func(r netip.Prefix) bool { return r.Contains(address) }) {
				w.fail("%s has %s, which is not in %s", id, address, pod.allowed)
			}
		}
	}
}

func (w *world) end() {
	for len(w.pods) > 0 {
		if id := w.pick(); w.IntN(2) == 0 {
			w.delete(id, false)
		} else {
			w.remove(id, "without DEL")
		}
	}
	// A delegate that is still at work holds its attachment.
	_, err := podnetwork.Reclaim(w.dir, podnetwork.Any)
	w.must(err)
	if files := w.store(); len(files) > 0 {
		w.fail("all pods are gone, and there are %s", files)
	}
	var links []string
	for range 100 { // the kernel removes namespaces in its own time
		links = nil
		w.must(w.ns.Do(func() error {
			all, err := netlink.LinkList()
			for _, link := range all {
				links = append(links, link.Attrs().Name)
			}
			return err
		}))
		if len(links) == 3 { // lo, eth1 and the VPC's end
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	w.fail("all pods are gone, and the node has the links %s", links)
}

func (w *world) say(format string, args ...any) {
	w.log = append(w.log, fmt.Sprintf(format, args...))
}

func (w *world) fail(format string, args ...any) {
	w.Helper()
	w.Fatalf(format+"\n%s", append(args, strings.Join(w.log, "\n"))...)
}
