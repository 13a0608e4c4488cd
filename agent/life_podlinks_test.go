package agent_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/podnetwork"
)

// A pod takes the ENI's link by the CNI plugin eni: it is where it belongs. EC2 is not
// asked, not even by an agent that starts meanwhile but for the one describe of a start.
func TestPodHasTheLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, e := settledWorld(t, forPods)
		const describe = "DescribeNetworkInterfaces"
		const taken = "the link is in the network namespace of default/p"
		entry := func(what, phase, message string) {
			t.Helper()
			got := w.memory.saved().ENIs[0]
			if string(got.Phase) != phase || !strings.HasPrefix(got.Message, message) || message == "" && got.Message != "" || w.offered().ENIs[0].Ready != (phase == "Ready") {
				t.Errorf("%s: reported is %+v, offered %+v", what, got, w.offered())
			}
			if phase == "Ready" && (got.InterfaceName != "eth7" || w.offered().ENIs[0].Link != "eth7") {
				t.Errorf("%s: the link has the name %q, offered is %+v", what, got.InterfaceName, w.offered())
			}
		}
		quiet := func(what string) {
			t.Helper()
			w.cloud.ResetCalls()
			pass(30 * time.Minute)
			w.expectCalls(what, map[string]int{})
		}
		w.cloud.ResetCalls()
		events := len(w.events.Reasons)
		a := w.attach("p", podnetwork.HostDevice, e, e.PrivateIPs[0])
		w.host.take(true)
		pass(20 * time.Minute)
		w.expectCalls("a pod takes the link", map[string]int{})
		entry("a pod takes the link", "Ready", taken)
		if more := w.events.Messages[events:]; len(more) > 0 {
			t.Errorf("a pod takes the link: Events %q", more)
		}
		w.restart()
		pass(10 * time.Second)
		w.expectCalls("a restart", map[string]int{describe: 1, "DescribeSubnets": 1}) // as every start
		entry("a restart", "Ready", taken)
		quiet("a restart, later")
		events = len(w.events.Reasons)
		w.host.take(false)
		pass(time.Second)
		entry("the pod gives it back", "Ready", "")
		w.expectCalls("the pod gives it back", map[string]int{})
		if more := w.events.Messages[events:]; len(more) > 0 {
			t.Errorf("the pod gives it back: Events %q", more)
		}

		w.host.take(true)
		pass(time.Second)
		w.expectCalls("a pod takes it again", map[string]int{})
		w.must(os.Remove(a.NetNS)) // and is killed with its namespace
		w.host.Change()
		pass(time.Second)
		entry("the link is lost", "Configuring", "the link with MAC")
		pass(20 * time.Minute)
		w.expectCalls("the link is lost", map[string]int{describe: 6})
		w.end()
	})
}

// A NodeENI that goes while pods use its ENI: an Event names them. One whose pods are gone
// needs none.
func TestPodsLoseTheirENI(t *testing.T) {
	for pods, want := range map[int]string{
		0:  "",
		2:  "so that they are created again: default/p00, default/p01",
		12: "default/p09, and 2 more",
	} {
		synctest.Test(t, func(t *testing.T) {
			w, e := settledWorld(t, forPods, ipv4(0, 1))
			for n := range pods {
				w.attach(fmt.Sprintf("p%02d", n), "ptp", e)
			}
			w.must(os.Remove(w.attach("gone", "ptp", e).NetNS))
			w.drop()
			pass(10 * time.Second)
			var said []string
			for i, reason := range w.events.Reasons {
				if reason == "PodsLoseNetwork" {
					said = append(said, w.events.Messages[i])
				}
			}
			if pods == 0 && len(said) > 0 || pods > 0 && (len(said) != 2 || !strings.HasSuffix(said[0], want) || !strings.Contains(said[0], e.ID)) {
				t.Errorf("%d pods: Events %q, want two with %q", pods, said, want)
			}
			if len(w.podFiles()) > 0 || len(w.host.Links.Links()) > 0 {
				t.Errorf("left are %v, %v", w.podFiles(), w.host.Links.Links())
			}
			w.end()
		})
	}
}

// A NodeENI goes while a pod has the link: nothing waits for it.
func TestPodLosesItsLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, e := settledWorld(t, forPods)
		w.attach("p", podnetwork.HostDevice, e, e.PrivateIPs[0])
		w.host.take(true)
		pass(time.Minute)
		w.drop()
		pass(10 * time.Second)
		if r := w.memory.saved(); len(r.ENIs) != 1 || r.ENIs[0].Phase != v1alpha1.PhaseReleased {
			t.Errorf("reported is %+v", r.ENIs)
		}
		if said := w.events.Messages[len(w.events.Messages)-1]; len(w.podFiles()) > 0 || !slices.Contains(w.events.Reasons, "PodsLoseNetwork") {
			t.Errorf("offered are %v, the last Event is %q", w.podFiles(), said)
		}
		w.expectCalls("until the coordinator detaches it", map[string]int{"DescribeNetworkInterfaces": 1})
		w.end()
	})
}
