package dra

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/aws-multi-eni/aws-multi-eni/internal/claimlink"
	"github.com/aws-multi-eni/aws-multi-eni/internal/claimnetwork"
	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
)

// Whatever happens to pods, sandboxes and the driver, a link is in one place, which is
// where its attachment says, a pod that started with a claim has the link, and all are on
// the host when all claims are released. ENI_SEED repeats a run, ENI_RUNS makes more of
// them.
func TestLinksProperty(t *testing.T) {
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
			w := &world{node: newNode(t), Rand: rand.New(rand.NewPCG(seed+i, 0)), pods: map[string]*living{}}
			for range 40 {
				w.step()
				w.check()
			}
			w.finish()
		})
	}
}

// world is a node whose ENI i is for claim ci, which the pods pi and qi share.
type world struct {
	*node
	*rand.Rand
	pods map[string]*living // by UID
	made int
}

// living is a pod that has a sandbox.
type living struct {
	claimnetwork.Pod
	ns      *netns.Namespace
	eni     int
	started bool // the runtime was told that it may
}

func (w *world) step() {
	i := w.IntN(2)
	uid := fmt.Sprint("c", i)
	podUID := []string{"p", "q"}[w.IntN(2)] + fmt.Sprint(i)
	pod := w.pods[podUID]
	switch w.IntN(8) {
	case 0, 1, 2:
		w.offer(offered(uid, i, fmt.Sprint("p", i), fmt.Sprint("q", i)))
		w.must(w.prepare(uid))
		if pod == nil || w.IntN(4) == 0 { // a new one may come before the old one is stopped
			w.made++
			p, ns := w.sandbox(fmt.Sprint("s", w.made), podUID)
			w.lose(pod)
			w.pods[podUID] = &living{Pod: p, ns: ns, eni: i}
		}
		w.pods[podUID].started = w.startPod(w.pods[podUID].Pod) == nil
	case 3, 4:
		if pod != nil {
			w.stopPod(pod.Sandbox)
			w.lose(pod)
		}
	case 5:
		w.lose(pod) // without a word
	case 6: // it is killed, or the runtime restarts
		w.Driver = New(w.cfg, w.host)
		var all []claimnetwork.Pod
		for _, p := range w.pods {
			all = append(all, p.Pod)
		}
		w.synchronize(all)
		w.setRuntime(nil)
		for _, p := range w.pods {
			p.started = w.where(p.ns, p.eni) != ""
		}
	case 7:
		if w.pods[fmt.Sprint("p", i)] == nil && w.pods[fmt.Sprint("q", i)] == nil {
			w.must(w.unprepare(ref(uid)))
			w.must(claimnetwork.Remove(w.cfg.ClaimsDir, uid))
		}
	}
}

// lose ends a sandbox, and does with its links what the kernel does with hardware.
func (w *world) lose(pod *living) {
	if pod == nil {
		return
	}
	if name := w.where(pod.ns, pod.eni); name != "" {
		link, _, err := claimlink.Find(pod.ns, macOf(pod.eni))
		w.must(err)
		if w.hostHas(name) {
			name = fmt.Sprint("dev", w.made)
		}
		w.must(claimlink.Move(link, pod.ns, w.host, name))
	}
	w.end(pod.Pod, pod.ns)
	delete(w.pods, pod.UID)
}

func (w *world) hostHas(name string) bool {
	_, names, err := claimlink.Find(w.host, "")
	w.must(err)
	return slices.Contains(names, name)
}

func (w *world) check() {
	for i := range 2 {
		attached := w.attachment(fmt.Sprint("c", i))
		onHost := w.where(w.host, i) != ""
		holders := 0
		for _, pod := range w.pods {
			if pod.eni != i {
				continue
			}
			has := w.where(pod.ns, i) != ""
			if has {
				holders++
			}
			if has != (attached == pod.Sandbox) || pod.started && !has {
				w.Fatalf("pod %s, started %v, in sandbox %s: has the link %v, and the attachment is of %q", pod.UID, pod.started, pod.Sandbox, has, attached)
			}
		}
		if onHost && holders > 0 || !onHost && holders != 1 {
			w.Fatalf("the link of ENI %d is on the host: %v, and in %d pods", i, onHost, holders)
		}
	}
}

func (w *world) finish() {
	for _, pod := range w.pods {
		w.stopPod(pod.Sandbox)
	}
	for i := range 2 {
		w.must(w.unprepare(ref(fmt.Sprint("c", i))))
		if w.where(w.host, i) == "" || w.attachment(fmt.Sprint("c", i)) != "-" {
			w.Errorf("ENI %d is not on the host, or its claim is not released", i)
		}
	}
}
