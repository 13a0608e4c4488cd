package e2e

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// slices are a node's ResourceSlices of the newest generation.
func (d *onDemand) slices(node string) []resourcev1.ResourceSlice {
	d.t.Helper()
	var list resourcev1.ResourceSliceList
	d.must(d.objects.List(d.t.Context(), &list, client.MatchingFields{"spec.nodeName": node}))
	newest := int64(0)
	for _, s := range list.Items {
		newest = max(newest, s.Spec.Pool.Generation)
	}
	return slices.DeleteFunc(list.Items, func(s resourcev1.ResourceSlice) bool { return s.Spec.Pool.Generation < newest })
}

// devices are those that a node offers, in their order.
func (d *onDemand) devices(node string) (all []resourcev1.Device) {
	d.t.Helper()
	for _, s := range d.slices(node) {
		all = append(all, s.Spec.Devices...)
	}
	return all
}

// awaitDevices waits until a node offers n devices of a NodeENI.
func (d *onDemand) awaitDevices(node, nodeENI string, n int) []resourcev1.Device {
	d.t.Helper()
	var found []resourcev1.Device
	d.await(fmt.Sprintf("%d devices of %s on %s", n, nodeENI, node), func() string {
		all := d.devices(node)
		found = slices.DeleteFunc(slices.Clone(all), func(device resourcev1.Device) bool { return text(device, "nodeENI") != nodeENI })
		if len(found) != n {
			return fmt.Sprintf("%d: %+v", len(found), all)
		}
		return ""
	})
	return found
}

// room is how many more ENIs a node's slices say that pods can have, with those they have.
func (d *onDemand) room(node string) int64 {
	d.t.Helper()
	n := int64(0)
	for _, s := range d.slices(node) {
		for _, set := range s.Spec.SharedCounters {
			places := set.Counters["places"].Value
			n += places.Value()
		}
	}
	return n
}

func text(device resourcev1.Device, attribute resourcev1.QualifiedName) string {
	if v := device.Attributes[attribute].StringValue; v != nil {
		return *v
	}
	return ""
}

func attached(device resourcev1.Device) bool {
	v := device.Attributes["attached"].BoolValue
	return v != nil && *v
}

// podEvents are the messages of a pod's Events of a reason.
func (d *onDemand) podEvents(pod, reason string) []string {
	var list corev1.EventList
	d.must(d.objects.List(d.t.Context(), &list, client.InNamespace("default"), client.MatchingFields{"involvedObject.name": pod}))
	var all []string
	for _, e := range list.Items {
		if reason == "" || e.Reason == reason {
			all = append(all, e.Reason+": "+e.Message)
		}
	}
	return all
}

// awaitPodEvent waits until an Event of the pod holds the words, which is what kubectl
// describe pod shows.
func (d *onDemand) awaitPodEvent(pod, reason string, words ...string) {
	d.t.Helper()
	d.await(fmt.Sprintf("%s has an Event %s", pod, reason), func() string {
		all := d.podEvents(pod, "")
		for _, message := range all {
			if strings.HasPrefix(message, reason+": ") && !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(message, w) }) {
				return ""
			}
		}
		return "it has:\n" + strings.Join(all, "\n")
	})
}
