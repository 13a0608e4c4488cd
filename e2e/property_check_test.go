package e2e

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// wish is an ENI that there must be.
type wish struct {
	node, instance string
	nodeENI        v1alpha1.NodeENI
	subnet         string
}

func (w wish) key() string {
	return fmt.Sprintf("%s of %s in %s", w.nodeENI.Name, w.node, w.subnet)
}

// wishes are NodeENIs × nodes × listed subnets in the node's zone, told from the
// objects alone.
func (tr *trial) wishes(nodeENIs []v1alpha1.NodeENI) map[string]wish {
	wishes := map[string]wish{}
	for _, node := range tr.nodes {
		labels := tr.labels(tr.t.Context(), node)
		instance, err := tr.Sim.Node(node)
		tr.must(err)
		for _, n := range nodeENIs {
			matches := true
			for key, value := range n.Spec.NodeSelector {
				matches = matches && labels[key] == value
			}
			for _, s := range tr.Sim.Topology().Subnets {
				listed := slices.Contains(n.Spec.SubnetIDs, s.ID) || slices.Contains(n.Spec.SubnetNames, s.Name)
				if matches && listed && s.Zone == instance.Zone {
					w := wish{node, instance.ID, n, s.ID}
					wishes[w.key()] = w
				}
			}
		}
	}
	return wishes
}

// compare says what is not as it must be.
func (tr *trial) compare() string {
	all, err := tr.NodeENIs(tr.t.Context())
	if err != nil {
		return err.Error()
	}
	for _, n := range all {
		if n.DeletionTimestamp != nil {
			return fmt.Sprintf("NodeENI %s is still being deleted", n.Name)
		}
	}
	wishes := tr.wishes(all)
	have := map[string]cloud.Interface{}
	for _, e := range tr.managed() {
		key := fmt.Sprintf("%s of %s in %s", e.Tags[eni.TagNodeENI], e.Tags[eni.TagNode], e.SubnetID)
		w, wanted := wishes[key]
		if other, twice := have[key]; !wanted || twice || string(w.nodeENI.UID) != e.Tags[eni.TagNodeENIUID] {
			return fmt.Sprintf("%s (%s) is too much (beside %q)", e.ID, key, other.ID)
		}
		have[key] = e
	}
	for _, key := range slices.Sorted(maps.Keys(wishes)) {
		w := wishes[key]
		e, ok := have[key]
		if !ok {
			return "there is no ENI for " + key
		}
		if problem := tr.attributes(w, e); problem != "" {
			return problem
		}
		if problem := tr.readiness(w, e); problem != "" {
			return problem
		}
	}
	return cmp.Or(tr.compareIndexes(), tr.compareReports(wishes), tr.compareStatus(all, wishes),
		tr.compareHosts(wishes, have), tr.foreigners().diff(tr.before))
}

// attributes compares an ENI in EC2 with its wish.
func (tr *trial) attributes(w wish, e cloud.Interface) string {
	spec := w.nodeENI.Spec
	groups := slices.Clone(spec.SecurityGroupIDs)
	for _, name := range spec.SecurityGroupNames {
		groups = append(groups, tr.group(name))
	}
	slices.Sort(groups)
	description := cmp.Or(spec.Description, "NodeENI "+w.nodeENI.Name)
	a := e.Attachment
	switch {
	case a == nil || a.InstanceID != w.instance || a.Status != cloud.AttachmentAttached:
		return fmt.Sprintf("%s (%s) is not attached to %s: %+v", e.ID, w.key(), w.instance, a)
	case a.DeviceIndex < spec.DeviceIndex || a.NetworkCardIndex != 0:
		return fmt.Sprintf("%s is at index %d of card %d", e.ID, a.DeviceIndex, a.NetworkCardIndex)
	case a.DeleteOnTermination != *spec.DeleteOnTermination:
		return fmt.Sprintf("%s: deleteOnTermination is %v", e.ID, a.DeleteOnTermination)
	case e.SourceDestCheck != *spec.SourceDestCheck:
		return fmt.Sprintf("%s: sourceDestCheck is %v", e.ID, e.SourceDestCheck)
	case !slices.Equal(slices.Sorted(slices.Values(e.GroupIDs)), groups):
		return fmt.Sprintf("%s has the groups %v, want %v", e.ID, e.GroupIDs, groups)
	case e.Description != description:
		return fmt.Sprintf("%s has the description %q, want %q", e.ID, e.Description, description)
	case e.Tags[eni.TagNoManage] != "true" || !strings.HasSuffix(e.Tags[eni.TagInstance], ":instance/"+w.instance):
		return fmt.Sprintf("%s has the tags %v", e.ID, e.Tags)
	}
	return ""
}

// readiness compares report and host with the ENI in EC2.
func (tr *trial) readiness(w wish, e cloud.Interface) string {
	var mine []v1alpha1.ENIState
	for _, entry := range tr.entries(w.node, w.nodeENI.Name) {
		if entry.SubnetID == w.subnet && entry.Phase != v1alpha1.PhaseReleased {
			mine = append(mine, entry)
		}
	}
	if len(mine) != 1 || mine[0].Phase != v1alpha1.PhaseReady {
		return fmt.Sprintf("the report of %s is not Ready: %+v", w.key(), mine)
	}
	var addresses []string
	for _, a := range e.PrivateIPs {
		addresses = append(addresses, a.String())
	}
	got := mine[0]
	want := v1alpha1.ENIState{
		NodeENI: w.nodeENI.Name, NodeENIUID: w.nodeENI.UID, ObservedGeneration: w.nodeENI.Generation, SubnetID: w.subnet, SubnetCIDR: tr.ranges(w.subnet)[0].String(),
		ENIID: e.ID, AttachmentID: e.Attachment.ID, DeviceIndex: e.Attachment.DeviceIndex, MAC: e.MAC, Addresses: addresses,
		MTU: w.nodeENI.Spec.MTU, Phase: v1alpha1.PhaseReady, Reason: "Ready",
		InterfaceName: got.InterfaceName, Message: got.Message, LastTransitionTime: got.LastTransitionTime,
		CreatedAt: got.CreatedAt, Replaces: got.Replaces,
	}
	if !reflect.DeepEqual(got, want) {
		return fmt.Sprintf("%s reports %+v, want %+v", w.node, got, want)
	}
	if l, ok := tr.host(w.node).linkOf(e.MAC); ok && l.Attrs().Name != got.InterfaceName || !strings.HasPrefix(got.InterfaceName, w.nodeENI.Spec.InterfaceName) {
		return fmt.Sprintf("%s reports the link %s, it is %s, and must be %s", w.node, got.InterfaceName, l.Attrs().Name, w.nodeENI.Spec.InterfaceName)
	}
	return tr.configured(w.node, e, w.nodeENI.Spec.Addressing == v1alpha1.AddressingHost, w.nodeENI.Spec.MTU)
}

func (tr *trial) compareIndexes() string {
	holders := map[string]string{}
	for _, e := range tr.Sim.Cloud().Interfaces() {
		if e.Attachment == nil {
			continue
		}
		key := fmt.Sprint(e.Attachment.InstanceID, " card ", e.Attachment.NetworkCardIndex, " index ", e.Attachment.DeviceIndex)
		if other, twice := holders[key]; twice {
			return fmt.Sprintf("%s and %s share %s", other, e.ID, key)
		}
		holders[key] = e.ID
	}
	return ""
}

// compareReports: a report holds what is wanted, and besides only what has been
// released and is gone.
func (tr *trial) compareReports(wishes map[string]wish) string {
	for _, node := range tr.nodes {
		for _, entry := range tr.entries(node, "") {
			key := fmt.Sprintf("%s of %s in %s", entry.NodeENI, node, entry.SubnetID)
			if w, ok := wishes[key]; ok && w.nodeENI.UID == entry.NodeENIUID && entry.Phase == v1alpha1.PhaseReady {
				continue
			}
			if _, there := tr.Sim.Cloud().Interface(entry.ENIID); there || entry.Phase != v1alpha1.PhaseReleased {
				return fmt.Sprintf("%s reports %+v", node, entry)
			}
		}
	}
	return ""
}

func (tr *trial) compareStatus(nodeENIs []v1alpha1.NodeENI, wishes map[string]wish) string {
	for _, n := range nodeENIs {
		nodes := map[string]bool{}
		want := 0
		for _, w := range wishes {
			if w.nodeENI.UID == n.UID {
				nodes[w.node] = true
				want++
			}
		}
		ready := 0
		for _, a := range n.Status.Attachments {
			if a.Status == string(v1alpha1.PhaseReady) {
				ready++
			}
		}
		counts := v1alpha1.NodeCounts{Matching: int32(len(nodes)), Ready: int32(len(nodes))}
		if n.Status.Nodes != counts || ready != want || n.Status.ObservedGeneration != n.Generation {
			return fmt.Sprintf("the status of NodeENI %s (generation %d) is %+v, want %+v and %d ready attachments", n.Name, n.Generation, n.Status, counts, want)
		}
		if !slices.Contains(n.Finalizers, v1alpha1.CleanupFinalizer) {
			return fmt.Sprintf("NodeENI %s has no finalizer", n.Name)
		}
	}
	return ""
}

// compareHosts: no rule or route is left of an ENI that is no more.
func (tr *trial) compareHosts(wishes map[string]wish, have map[string]cloud.Interface) string {
	for _, node := range tr.nodes {
		s := tr.host(node)
		var want []string
		for key, w := range wishes {
			l, ok := s.linkOf(have[key].MAC)
			if w.node == node && w.nodeENI.Spec.Addressing == v1alpha1.AddressingHost && ok {
				want = append(want, planned(have[key], tr.ranges(w.subnet), l.Attrs().Name)...)
				for _, table := range []int{copyTable, copyTable + int(have[key].Attachment.DeviceIndex)} { // of translated replies
					want = append(want, fmt.Sprintf("rule %d: from all lookup %[1]d proto 2", table))
				}
			}
		}
		want = slices.DeleteFunc(want, func(line string) bool { return strings.HasPrefix(line, "addr ") })
		slices.Sort(want)
		got := s.band()
		if len(want) > 0 {
			got = slices.DeleteFunc(got, func(line string) bool { return strings.HasPrefix(line, fmt.Sprintf("route table %d ", copyTable)) })
		}
		if !slices.Equal(got, want) {
			return fmt.Sprintf("%s has the rules and routes\n\t%s\nwant\n\t%s", node, strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
		}
	}
	return ""
}

// foreigners is all that is none of ours, in EC2 and on the hosts.
type foreigners struct {
	enis  map[string]cloud.Interface
	hosts map[string][]string
}

// macs are those of our ENIs, past ones included: a link goes a moment after
// its ENI.
func (tr *trial) macs() map[string]bool {
	macs := map[string]bool{}
	for _, e := range tr.managed() {
		macs[e.MAC] = true
	}
	return macs
}

func (tr *trial) foreigners() foreigners {
	f := foreigners{enis: map[string]cloud.Interface{}, hosts: map[string][]string{}}
	ours := tr.macs()
	for _, e := range tr.Sim.Cloud().Interfaces() {
		if e.Tags[eni.TagCluster] != tr.clusterID {
			f.enis[e.ID] = e
		}
	}
	for _, node := range tr.nodes {
		f.hosts[node] = tr.host(node).foreign(ours)
	}
	return f
}

func (f foreigners) diff(before foreigners) string {
	if !reflect.DeepEqual(f.enis, before.enis) {
		return fmt.Sprintf("foreign ENIs are\n%+v\nand were\n%+v", f.enis, before.enis)
	}
	for node, lines := range f.hosts {
		if !slices.Equal(lines, before.hosts[node]) {
			return fmt.Sprintf("what is foreign on %s is\n\t%s\nand was\n\t%s", node, strings.Join(lines, "\n\t"), strings.Join(before.hosts[node], "\n\t"))
		}
	}
	return ""
}

// addForeign puts things of others beside ours: ENIs of the VPC CNI and of
// another cluster with the same names, links, addresses, rules and routes, some
// of them within our band of tables and priorities.
func (tr *trial) addForeign() {
	tr.t.Helper()
	var err error
	tr.clusterID, err = tr.Client.ClusterID(tr.t.Context())
	tr.must(err)
	tr.timing = tr.Sim.Cloud().Timing()
	for _, node := range tr.nodes {
		tr.addForeignTo(node)
	}
}

func (tr *trial) addForeignTo(node string) {
	tr.t.Helper()
	n, err := tr.Sim.Node(node)
	tr.must(err)
	arn := "arn:aws:ec2:us-east-1:123456789012:instance/" + n.ID
	shared := tr.subnet("data", node)
	if slices.Contains(tr.full, shared) {
		shared = tr.subnet("nodes", node) // which is never full
	}
	other, err := tr.Sim.Cloud().CreateNetworkInterface(cloud.CreateNetworkInterfaceInput{
		SubnetID: shared, Tags: map[string]string{
			eni.TagCluster: "another", eni.TagNode: node, eni.TagInstance: arn,
			eni.TagNodeENI: "alpha", eni.TagNodeENIUID: "0", eni.TagCreatedAt: "2020-01-01T00:00:00Z",
		},
	})
	tr.must(err)
	cni, err := tr.Sim.Cloud().CreateNetworkInterface(cloud.CreateNetworkInterfaceInput{SubnetID: tr.subnet("nodes", node)})
	tr.must(err)
	for index, e := range map[int32]cloud.Interface{1: cni, 3: other} {
		_, err = tr.Sim.Cloud().AttachNetworkInterface(cloud.AttachNetworkInterfaceInput{
			NetworkInterfaceID: e.ID, InstanceID: n.ID, DeviceIndex: index,
		})
		tr.must(err)
	}
	tr.await("the VPC CNI's ENI is attached", func() string {
		for _, id := range []string{cni.ID, other.ID} {
			if a := tr.eni(id).Attachment; a.Status != cloud.AttachmentAttached {
				return a.Status
			}
		}
		return ""
	})
	tr.named(node, cni.MAC, other.MAC)
	tr.addForeignHost(node, cni.MAC, byte(slices.Index(tr.nodes, node)))
}

func (tr *trial) addForeignHost(node, mac string, n byte) {
	tr.t.Helper()
	tr.await("the VPC CNI's link is there", func() string {
		if _, ok := tr.host(node).linkOf(mac); !ok {
			return "it is not"
		}
		return ""
	})
	l, _ := tr.host(node).linkOf(mac)
	tr.onHost(node, func(h *netlink.Handle) error {
		if err := h.LinkSetUp(l); err != nil {
			return err
		}
		if err := h.AddrAdd(l, &netlink.Addr{IPNet: ipv4(fmt.Sprintf("172.31.%d.9/24", n))}); err != nil {
			return err
		}
		for _, route := range []netlink.Route{
			{Table: 100, Dst: ipv4("0.0.0.0/0"), Scope: netlink.SCOPE_LINK, Protocol: unix.RTPROT_STATIC},
			{Table: unix.RT_TABLE_MAIN, Dst: ipv4("10.99.0.0/16"), Scope: netlink.SCOPE_LINK, Protocol: unix.RTPROT_BOOT},
			{Table: 20002, Dst: ipv4("10.98.0.0/16"), Scope: netlink.SCOPE_LINK, Protocol: unix.RTPROT_STATIC},
		} {
			route.LinkIndex = l.Attrs().Index
			if err := h.RouteAdd(&route); err != nil {
				return err
			}
		}
		for priority, table := range map[int]int{512: 100, 20002: 100, 20700: 20700} {
			rule := netlink.NewRule()
			rule.Priority, rule.Table, rule.Src = priority, table, ipv4("10.97.0.1/32")
			rule.Protocol = unix.RTPROT_STATIC
			if err := h.RuleAdd(rule); err != nil {
				return err
			}
		}
		return nil
	})
}
