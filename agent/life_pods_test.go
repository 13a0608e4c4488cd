package agent_test

import (
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/podnetwork"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// podFiles are those that tell what is offered to pods.
func (w *world) podFiles() map[string]fs.FileInfo {
	w.Helper()
	paths, err := filepath.Glob(filepath.Join(w.pods.NetworksDir, "*"))
	w.must(err)
	files := map[string]fs.FileInfo{}
	for _, path := range paths {
		files[path], err = os.Lstat(path)
		w.must(err)
	}
	return files
}

// checkPods compares what is offered to pods with EC2 and the report.
func (w *world) checkPods() {
	w.Helper()
	networks, err := podnetwork.List(w.pods.NetworksDir)
	if err != nil {
		w.Error(err)
	}
	offered := map[string]podnetwork.ENI{}
	for _, n := range networks {
		for _, e := range n.ENIs {
			offered[e.ID] = e
		}
		if !slices.ContainsFunc(w.memory.truth().NodeENIs, func(o v1alpha1.NodeENI) bool {
			return string(o.UID) == n.NodeENIUID && o.Name == n.NodeENI && o.Spec.Pods != nil && o.Selects(w.memory.truth().Labels)
		}) {
			w.Errorf("NodeENI %s offers %+v", n.NodeENI, n)
		}
	}
	wanted := w.wanted()
	for _, e := range w.living() {
		spec, ok := wanted[placeOf(e)]
		is, found := offered[e.ID]
		delete(offered, e.ID)
		if found != (ok && spec.Pods != nil) {
			w.Errorf("%s is offered: %v, want %v", e.ID, found, !found)
		} else if found {
			w.comparePods(e, is)
		}
	}
	for id := range offered {
		w.Errorf("%s is offered, which is not there", id)
	}
}

// comparePods compares what an ENI offers with what EC2 and the report say of it.
func (w *world) comparePods(e cloud.Interface, is podnetwork.ENI) {
	w.Helper()
	var ranges []netip.Prefix
	for _, a := range slices.Concat(e.PrivateIPs, e.IPv6Addresses) {
		if !slices.Contains(is.Addresses, a) {
			ranges = append(ranges, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	ranges = append(append(ranges, e.IPv4Prefixes...), e.IPv6Prefixes...)
	slices.SortFunc(ranges, netip.Prefix.Compare)
	families := min(1, len(e.PrivateIPs)) + min(1, len(e.IPv6Addresses))
	if len(is.Addresses) != families || !slices.Equal(ranges, is.Ranges) || len(e.PrivateIPs) > 0 && is.Addresses[0] != e.PrivateIPs[0] || is.MAC != e.MAC {
		w.Errorf("%s with %v %v %v %v offers %+v", e.ID, e.PrivateIPs, e.IPv6Addresses, e.IPv4Prefixes, e.IPv6Prefixes, is)
	}
	if len(is.VPC) != 2 {
		w.Errorf("%s offers %+v", e.ID, is)
	}
	for _, entry := range w.memory.saved().ENIs {
		if ready := entry.Phase == v1alpha1.PhaseReady; entry.ENIID == e.ID && (ready != is.Ready || ready == (is.Reason != "")) {
			w.Errorf("%s is %s, and offered as %+v", e.ID, entry.Phase, is)
		}
	}
}
