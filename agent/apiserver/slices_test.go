package apiserver

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aws-multi-eni/aws-multi-eni/agent"
	"github.com/aws-multi-eni/aws-multi-eni/internal/controlplane"
	"github.com/aws-multi-eni/aws-multi-eni/internal/driver"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

var (
	counters = kube.ResourceSliceSpec{SharedCounters: []kube.CounterSet{{Name: "card-0", Counters: map[string]kube.Counter{"places": {Value: "2"}}}}}
	nodeOne  = kube.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1", UID: "uid-1"}}
)

func devices(names ...string) (spec kube.ResourceSliceSpec) {
	for _, name := range names {
		spec.Devices = append(spec.Devices, kube.Device{Name: name, BindsToNode: new(true), BindingConditions: []string{driver.ConditionAttached}, BindingFailureConditions: []string{driver.ConditionAttachFailed}})
	}
	return spec
}

func tainted(reason string, at *metav1.Time) kube.ResourceSliceSpec {
	spec := devices("a")
	spec.Devices[0].Taints = []kube.DeviceTaint{{Key: "networking.k8s.aws/" + reason, Effect: "NoSchedule", TimeAdded: at}}
	return spec
}

// The slices of a pool are written as seldom as possible, and a pool is incomplete only
// while more than one of them is.
func TestPlanSlices(t *testing.T) {
	written := func(specs ...kube.ResourceSliceSpec) []kube.ResourceSlice {
		writes, _ := planSlices(nodeOne, nil, specs)
		for i := range writes {
			writes[i].ResourceVersion = "7"
		}
		return writes
	}
	change := func(all []kube.ResourceSlice, f func([]kube.ResourceSlice)) []kube.ResourceSlice { f(all); return all }
	then := metav1.NewTime(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	for _, test := range []struct {
		name  string
		now   []kube.ResourceSlice
		specs []kube.ResourceSliceSpec
		want  string
	}{
		{"the first", nil, []kube.ResourceSliceSpec{counters, devices("a")}, "write node-1-eni-0 1/2, write node-1-eni-1 1/2"},
		{"the same", written(counters, devices("a")), []kube.ResourceSliceSpec{counters, devices("a")}, ""},
		{"one changes", written(counters, devices("a")), []kube.ResourceSliceSpec{counters, devices("b")}, "write node-1-eni-1 1/2 over 7"},
		{"two change", written(devices("a"), devices("b")), []kube.ResourceSliceSpec{devices("c"), devices("d")}, "write node-1-eni-0 2/2 over 7, write node-1-eni-1 2/2 over 7"},
		{"one more", written(counters), []kube.ResourceSliceSpec{counters, devices("a")}, "write node-1-eni-0 2/2 over 7, write node-1-eni-1 2/2"},
		{"one less", written(counters, devices("a")), []kube.ResourceSliceSpec{counters}, "write node-1-eni-0 1/1 over 7, delete node-1-eni-1"},
		{"none", written(counters, devices("a")), nil, "delete node-1-eni-0, delete node-1-eni-1"},
		{"one was deleted", written(counters, devices("a"))[1:], []kube.ResourceSliceSpec{counters, devices("a")}, "write node-1-eni-0 2/2, write node-1-eni-1 2/2 over 7"},
		{"one was edited", change(written(counters, devices("a")), func(s []kube.ResourceSlice) { s[1].Spec.Devices[0].BindingConditions = nil }),
			[]kube.ResourceSliceSpec{counters, devices("a")}, "write node-1-eni-1 1/2 over 7"},
		{"interrupted between two writes", change(written(counters, devices("a")), func(s []kube.ResourceSlice) { s[0].Spec.Pool.Generation = 2 }),
			[]kube.ResourceSliceSpec{counters, devices("a")}, "write node-1-eni-1 2/2 over 7"},
		{"of the Node before this one", change(written(counters), func(s []kube.ResourceSlice) { s[0].OwnerReferences[0].UID = "uid-0" }),
			[]kube.ResourceSliceSpec{counters}, "write node-1-eni-0 1/1 over 7"},
		{"a stray", change(written(counters, devices("a")), func(s []kube.ResourceSlice) { s[1].Name = "other" }),
			[]kube.ResourceSliceSpec{counters}, "write node-1-eni-0 1/1 over 7, delete other"},
		{"tainted as before", written(tainted("SubnetFull", &then)), []kube.ResourceSliceSpec{tainted("SubnetFull", nil)}, ""},
		{"tainted as before, it says when", written(tainted("SubnetFull", &then)), []kube.ResourceSliceSpec{tainted("SubnetFull", new(metav1.Now()))}, ""},
		{"tainted for another reason", written(tainted("SubnetFull", &then)), []kube.ResourceSliceSpec{tainted("AccessDenied", nil)}, "write node-1-eni-0 1/1 over 7"},
	} {
		writes, strays := planSlices(nodeOne, test.now, test.specs)
		var got []string
		for _, w := range writes {
			text := fmt.Sprintf("write %s %d/%d", w.Name, w.Spec.Pool.Generation, w.Spec.Pool.ResourceSliceCount)
			if w.ResourceVersion != "" {
				text += " over " + w.ResourceVersion
			}
			got = append(got, text)
			if w.Spec.Driver != driver.Name || w.Spec.NodeName != "node-1" || w.Spec.Pool.Name != "node-1" || w.OwnerReferences[0].UID != "uid-1" || w.Kind != "ResourceSlice" {
				t.Errorf("%s: %+v", test.name, w)
			}
		}
		for _, s := range strays {
			got = append(got, "delete "+s.Name)
		}
		if text := strings.Join(got, ", "); text != test.want {
			t.Errorf("%s: %s, want %s", test.name, text, test.want)
		}
	}
}

// The devices of NodeENIs that are not known at the moment stay as they are published, with
// their counters.
func TestWithKept(t *testing.T) {
	of := func(nodeENI string, names ...string) kube.ResourceSliceSpec {
		spec := devices(names...)
		for i := range spec.Devices {
			spec.Devices[i].Attributes = map[string]kube.DeviceAttribute{"nodeENI": {String: &nodeENI}}
		}
		return spec
	}
	both := of("a", "a-0")
	both.Devices = append(both.Devices, of("b", "b-0", "b-1").Devices...)
	countersOfCards := kube.ResourceSliceSpec{SharedCounters: []kube.CounterSet{counters.SharedCounters[0], {Name: "card-1"}}}
	now, _ := planSlices(nodeOne, nil, []kube.ResourceSliceSpec{countersOfCards, both, of("b", "b-2")})
	for _, test := range []struct {
		name string
		pool agent.Pool
		want string
	}{
		{"none", agent.Pool{Slices: []kube.ResourceSliceSpec{counters, of("a", "a-0")}}, "[card-0] [a-0]"},
		{"of one", agent.Pool{Slices: []kube.ResourceSliceSpec{counters, of("a", "a-0")}, Keep: []string{"b"}}, "[card-0 card-1] [a-0] [b-0 b-1] [b-2]"},
		{"of all", agent.Pool{Keep: []string{"a", "b"}}, "[card-0 card-1] [a-0 b-0 b-1] [b-2]"},
		{"of one that has none", agent.Pool{Slices: []kube.ResourceSliceSpec{counters, of("a", "a-0")}, Keep: []string{"c"}}, "[card-0] [a-0]"},
	} {
		var got []string
		for _, spec := range withKept(test.pool, now) {
			var names []string
			for _, set := range spec.SharedCounters {
				names = append(names, set.Name)
			}
			for _, d := range spec.Devices {
				names = append(names, d.Name)
			}
			got = append(got, fmt.Sprint(names))
		}
		if text := strings.Join(got, " "); text != test.want {
			t.Errorf("%s: %s, want %s", test.name, text, test.want)
		}
	}
	if len(countersOfCards.SharedCounters) != 2 || len(counters.SharedCounters) != 1 {
		t.Error("the wanted slices were changed")
	}
}

// Slices are written when they change, and again when the kubelet has deleted them.
func TestPublish(t *testing.T) {
	c := newCluster(t)
	s, claims, seen := c.agent("node-1")
	c.await("ready", s)
	publish := func(what string, requests string, specs ...kube.ResourceSliceSpec) {
		t.Helper()
		_, before := seen.snapshot()
		if err := claims.Publish(c.Context(), agent.Pool{Slices: specs}); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		_, after := seen.snapshot()
		var got []string
		for _, verb := range []string{"GET", "POST", "PUT", "DELETE"} {
			if n := after[verb+" resourceslices"] - before[verb+" resourceslices"]; n > 0 {
				got = append(got, fmt.Sprintf("%d %s", n, verb))
			}
		}
		if text := strings.Join(got, ", "); text != requests {
			t.Errorf("%s: requests %q, want %q", what, text, requests)
		}
		list, err := c.admin.Resource(slicesResource).List(c.Context(), metav1.ListOptions{})
		if err != nil || len(list.Items) != len(specs) {
			t.Errorf("%s: %d slices, want %d (%v)", what, len(list.Items), len(specs), err)
		}
	}
	// settled is for no change, when the watch may still show what was written before.
	settled := func(what string, specs ...kube.ResourceSliceSpec) {
		t.Helper()
		c.eventually(what, func() error {
			_, before := seen.snapshot()
			err := claims.Publish(c.Context(), agent.Pool{Slices: specs})
			if _, after := seen.snapshot(); !maps.Equal(before, after) {
				return fmt.Errorf("requests %v, after %v", after, before)
			}
			return err
		})
	}
	device := devices("a")
	device.Devices[0].ConsumesCounters = []kube.CounterConsumption{{CounterSet: "card-0", Counters: map[string]kube.Counter{"places": {Value: "1"}}}}
	device.Devices[0].Attributes = map[string]kube.DeviceAttribute{"nodeENI": {String: new("a")}, "attached": {Bool: new(false)}, "mtu": {Int: new(int64(9001))}}
	failing := *device.DeepCopy()
	failing.Devices[0].Taints = tainted("SubnetFull", nil).Devices[0].Taints

	publish("the first", "1 GET, 4 POST", counters, device) // each is shown by a dry run first
	publish("the same", "", counters, device)
	if snapshot, _ := s.Snapshot(); snapshot.SlicesLost {
		t.Error("the agent takes its own slices for those of others")
	}
	publish("tainted", "1 GET, 1 PUT", counters, failing)
	settled("still tainted", counters, failing)
	publish("not tainted any more", "1 GET, 1 PUT", counters, device)

	for len(s.Changed()) > 0 {
		<-s.Changed()
	}
	if err := c.admin.Resource(slicesResource).Delete(c.Context(), "node-1-eni-1", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.Changed():
	case <-time.After(20 * time.Second):
		t.Fatal("a slice was deleted, and the agent does not hear of it")
	}
	if snapshot, _ := s.Snapshot(); !snapshot.SlicesLost {
		t.Error("a slice was deleted, and the slices are not lost")
	}
	publish("deleted by others", "1 GET, 2 POST, 1 PUT", counters, device)
	if snapshot, _ := s.Snapshot(); snapshot.SlicesLost {
		t.Error("the slices are lost after they were written again")
	}
	// An agent that has been restarted and cannot resolve the NodeENI leaves its devices alone.
	if err := claims.Publish(c.Context(), agent.Pool{Keep: []string{"a"}}); err != nil {
		t.Fatal(err)
	}
	if list, err := c.admin.Resource(slicesResource).List(c.Context(), metav1.ListOptions{}); err != nil || len(list.Items) != 2 {
		t.Errorf("%d slices are kept (%v)", len(list.Items), err)
	}
	publish("none", "1 GET, 2 DELETE")
	settled("none again")
}

// The doctor finds out with the rights of an agent whether slices can be written, and writes
// none.
func TestCheckOnDemand(t *testing.T) {
	c := newCluster(t)
	s, _, _ := c.agent("node-1")
	if err := CheckOnDemand(t.Context(), s.client, "node-1"); err != nil {
		t.Error(err)
	}
	if err := CheckOnDemand(t.Context(), s.client, "node-2"); err == nil || !strings.Contains(err.Error(), "; install the component manifests/on-demand") {
		t.Errorf("for another node: %v", err)
	}
	if list, err := c.admin.Resource(slicesResource).List(t.Context(), metav1.ListOptions{}); err != nil || len(list.Items) > 0 {
		t.Errorf("%d slices (%v)", len(list.Items), err)
	}
}

// A device without its binding conditions would be given to pods before it has its ENI: where
// the API server does not keep them, there are no slices, and the user reads what to do.
func TestFeaturesThatAreOff(t *testing.T) {
	for gate, off := range map[string]string{
		"DRADeviceBindingConditions": "DRADeviceBindingConditions=false",
		"DRADeviceTaints":            "DRADeviceTaints=false,DRADeviceTaintRules=false", // which depends on it
		"DRAPartitionableDevices":    "DRAPartitionableDevices=false",
	} {
		t.Run(gate, func(t *testing.T) {
			cp, err := controlplane.Start(t.Context(), "--feature-gates="+off)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = cp.Stop() }()
			client, err := kube.NewClient(cp.AdminConfig(), "test")
			if err != nil {
				t.Fatal(err)
			}
			slices := newResourceSlices(client, kube.NewReach(slog.New(slog.DiscardHandler)), "node-1", make(chan struct{}, 1))
			spec := tainted("SubnetFull", nil)
			spec.Devices[0].ConsumesCounters = []kube.CounterConsumption{{CounterSet: "card-0", Counters: map[string]kube.Counter{"places": {Value: "1"}}}}
			err = classify(slices.publish(t.Context(), agent.Pool{Slices: []kube.ResourceSliceSpec{counters, spec}}, &nodeOne))
			if !errors.Is(err, errNotKept) || !strings.Contains(err.Error(), gate) || !errors.As(err, new(*agent.UnavailableError)) {
				t.Errorf("published with %v", err)
			}
			if _, err := client.Core.Post().Resource(kube.Nodes).Body([]byte(`{"apiVersion":"v1","kind":"Node","metadata":{"name":"node-1"}}`)).Do(t.Context()).Raw(); err != nil {
				t.Fatal(err)
			}
			if err := CheckOnDemand(t.Context(), client, "node-1"); !errors.Is(err, errNotKept) {
				t.Errorf("the check for the doctor: %v", err)
			}
			list, err := controlplane.Client(t, cp.AdminConfig()).Resource(slicesResource).List(t.Context(), metav1.ListOptions{})
			if err != nil || len(list.Items) > 1 { // that of the counters has no device
				t.Errorf("%d slices (%v)", len(list.Items), err)
			}
		})
	}
}
