package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/version"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// checkCNI: whether the VPC CNI leaves our ENIs alone. It does, as they bear the
// tag no_manage from birth, unless it reads no tags: with ENABLE_IMDS_ONLY_MODE it
// takes every ENI that IMDS shows.
func checkCNI(f Facts) []Result {
	const check = "VPC CNI"
	c := f.CNI
	switch {
	case c == nil:
		return nil
	case c.Err != nil:
		return []Result{skipped(check, "cannot read the DaemonSet kube-system/aws-node: %v", c.Err)}
	case !c.Present:
		return []Result{ok(check, "not installed in this cluster")}
	case slices.Contains(c.Elsewhere, "ENABLE_IMDS_ONLY_MODE"):
		return []Result{skipped(check, "ENABLE_IMDS_ONLY_MODE of the DaemonSet kube-system/aws-node comes from a ConfigMap or Secret that the doctor does not read: make sure that it is not true")}
	case strings.EqualFold(c.Env["ENABLE_IMDS_ONLY_MODE"], "true"):
		return []Result{failure(check, "unset ENABLE_IMDS_ONLY_MODE of the DaemonSet kube-system/aws-node, at least on nodes that NodeENIs select",
			"ENABLE_IMDS_ONLY_MODE is true: the VPC CNI does not read tags, so it ignores %s and uses the ENIs of the agent for pods", "node.k8s.amazonaws.com/no_manage")}
	default:
		return []Result{ok(check, "reads tags, so it does not use the ENIs of the agent")}
	}
}

// checkSNAT: whether connections from an ENI's address keep it as their source. The
// VPC CNI's rule AWS-SNAT-CHAIN does not look at the link: whatever leaves the VPC's
// CIDRs gets the primary ENI's address, which EC2 lets pass on no other ENI.
func checkSNAT(f Facts) []Result {
	const check = "VPC CNI SNAT"
	c, hosts := f.CNI, f.Wanted.hosts()
	if c == nil || c.Err != nil || !c.Present || len(hosts) == 0 {
		return nil
	}
	switch {
	case c.isTrue("AWS_VPC_K8S_CNI_EXTERNALSNAT"):
		return []Result{ok(check, "disabled: packets from an ENI's address keep their source address")}
	case c.isTrue("ENABLE_IPv6"):
		return []Result{ok(check, "not used in this IPv6 cluster: packets from an ENI's address keep their source address")}
	}
	outside, more := "outside the VPC's CIDRs", ""
	if excluded := c.Env["AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS"]; excluded != "" {
		outside, more = fmt.Sprintf("outside the VPC's CIDRs and the excluded CIDRs %s", excluded), " as well"
	}
	return []Result{warning(check, "list the destinations in AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS of the DaemonSet kube-system/aws-node"+more+", or set AWS_VPC_K8S_CNI_EXTERNALSNAT to true, in which case pods need a NAT gateway to reach the internet",
		"the VPC CNI gives connections from an ENI's address (NodeENI %s has addressing Host) the primary ENI's source address if the destination is %s; EC2's source/destination check then drops them", strings.Join(hosts, ", "), outside)}
}

// firstWithoutIPv4 is the first VPC CNI that takes an ENI without an IPv4 address beside
// its own; earlier ones crash again and again.
const firstWithoutIPv4 = "1.23.1"

// checkCNIVersion: whether the VPC CNI takes ENIs in subnets that have IPv6 only.
func checkCNIVersion(f Facts) []Result {
	const check = "VPC CNI version"
	if f.CNI == nil || f.CNI.Err != nil || !f.CNI.Present || f.EC2 == nil || f.EC2.Forecast == nil {
		return nil
	}
	for _, e := range f.EC2.Forecast.ENIs {
		if !f.EC2.Forecast.Subnets[e.Create.SubnetID].IPv6Only {
			continue
		}
		switch v, err := version.ParseGeneric(f.CNI.Version); {
		case err != nil:
			return []Result{skipped(check, "cannot determine the version from the image tag; versions before %s crash on a node that has an ENI without IPv4, which NodeENI %s requests", firstWithoutIPv4, e.NodeENI)}
		case v.LessThan(version.MustParseGeneric(firstWithoutIPv4)):
			return []Result{failure(check, "update the VPC CNI to v"+firstWithoutIPv4+" or later before this node gets the ENI",
				"%s crashes on a node that has an ENI without IPv4, and NodeENI %s requests one in the IPv6-only subnet %s", f.CNI.Version, e.NodeENI, e.Create.SubnetID)}
		default:
			return []Result{ok(check, "%s works with ENIs without IPv4", f.CNI.Version)}
		}
	}
	return nil
}

// selecting are the NodeENIs that select this node.
func (w *Wanted) selecting() []*v1alpha1.NodeENI {
	if w == nil {
		return nil
	}
	var all []*v1alpha1.NodeENI
	for i := range w.NodeENIs {
		if n := &w.NodeENIs[i]; n.DeletionTimestamp == nil && n.Selects(w.Labels) {
			all = append(all, n)
		}
	}
	return all
}

// hosts are the NodeENIs that put addresses on this node.
func (w *Wanted) hosts() []string {
	var names []string
	for _, n := range w.selecting() {
		if n.Spec.Addressing == v1alpha1.AddressingHost {
			names = append(names, n.Name)
		}
	}
	return names
}

// isTrue reads a variable as the VPC CNI does.
func (c *CNI) isTrue(name string) bool {
	value, err := strconv.ParseBool(c.Env[name])
	return err == nil && value
}

// checkNodeIP: whether the Node keeps its address when ENIs come. The cloud
// controller makes an InternalIP of each ENI's address, unless the kubelet has
// said which one is the node's.
func checkNodeIP(f Facts) []Result {
	const check = "kubelet --node-ip"
	k := f.Kubelet
	switch {
	case k == nil:
		return nil
	case k.NodeIP != "":
		return []Result{ok(check, "%s", k.NodeIP)}
	case k.has("node-ip"):
		return []Result{ok(check, "set")}
	case k.Args == nil && k.InternalIPs == nil:
		return []Result{skipped(check, "neither the kubelet's process nor its Node is visible here")}
	}
	const action = "start the kubelet with --node-ip and the primary ENI's address"
	for _, v4 := range []bool{true, false} {
		if same := k.internalIPs(v4); len(same) > 1 {
			return []Result{warning(check, action, "the Node has %d InternalIPs of the same family (%s): kubectl logs, kubectl exec, and other clients may use the address of an ENI", len(same), strings.Join(same, ", "))}
		}
	}
	switch {
	case k.Cloud, k.has("cloud-provider"):
		return []Result{warning(check, action, "not set: the cloud controller adds the addresses of ENIs as InternalIPs of the Node, and kubectl logs and kubectl exec may use one of them")}
	case k.Args != nil:
		return []Result{ok(check, "not needed: the kubelet has no --cloud-provider, so the addresses of ENIs do not become InternalIPs")}
	}
	return []Result{skipped(check, "unknown: the kubelet's process is not visible, and no cloud controller has set the addresses of the Node")}
}

// has says whether the kubelet was started with a flag.
func (k *Kubelet) has(flag string) bool {
	return slices.ContainsFunc(k.Args, func(a string) bool {
		name, _, _ := strings.Cut(strings.TrimLeft(a, "-"), "=")
		return name == flag && strings.HasPrefix(a, "-")
	})
}

// internalIPs are those of one family: a dual-stack Node has one of each.
func (k *Kubelet) internalIPs(v4 bool) []string {
	return slices.DeleteFunc(slices.Clone(k.InternalIPs), func(text string) bool {
		address, err := netip.ParseAddr(text)
		return err != nil || address.Unmap().Is4() != v4
	})
}

func checkKernel(f Facts) []Result {
	const check = "kernel"
	k := f.Kernel
	if k == nil {
		return nil
	}
	var results []Result
	if !k.NetAdmin {
		results = append(results, failure("CAP_NET_ADMIN", "run as root, or in a container with uid 0 and the capability NET_ADMIN", "missing, so this process cannot configure links"))
	} else {
		results = append(results, ok("CAP_NET_ADMIN", "available"))
	}
	switch {
	case k.RulesErr != nil:
		results = append(results, failure(check, "use a kernel with CONFIG_IP_MULTIPLE_TABLES; addressing None does not need it", "policy routing does not work: %v", k.RulesErr))
	case older(k.Release, 4, 17):
		results = append(results, failure(check, "use Linux 4.17 or later", "%s is too old: its routing rules have no protocol, which the agent uses to recognize its own rules", k.Release))
	default:
		results = append(results, ok(check, "%s, with policy routing", k.Release))
	}
	return results
}

// checkRouters: whether IPv6 leaves the node by one of our ENIs. The kernel takes
// the default route that the VPC's router advertises in a subnet with IPv6, into
// main, as soon as the link is up, unless the agent keeps it from that.
func checkRouters(f Facts) []Result {
	const check = "IPv6 default route"
	if f.Kernel == nil {
		return nil
	}
	return f.ofOwnLinks(f.Kernel.Routers, ok(check, "none uses an ENI of the agent"), func(link, id string) Result {
		return warning(check,
			fmt.Sprintf("start eni-agent, which deletes the route; on a kernel without nf_tables, run sysctl -w net.ipv6.conf.%[1]s.accept_ra=0; ip -6 route del default dev %[1]s proto ra, and for future links set net.ipv6.conf.default.accept_ra = 0 in /etc/sysctl.d", link),
			"the kernel added one through %s, the link of %s, from a router advertisement: IPv6 packets of the node may leave through this ENI", link, id)
	})
}

// checkAdvertisements: whether the agent can keep that route from the kernel, where this
// node has or gets an ENI in a subnet with IPv6.
func checkAdvertisements(f Facts) []Result {
	const check = "router advertisements"
	if f.Kernel == nil || !f.Kernel.NetAdmin || f.EC2 == nil || f.EC2.Forecast == nil {
		return nil
	}
	for _, e := range f.EC2.Forecast.ENIs {
		switch {
		case len(f.EC2.Forecast.Subnets[e.Create.SubnetID].IPv6CIDRs) == 0:
			continue
		case f.Kernel.NFTablesErr != nil:
			return []Result{warning(check, "use a kernel with nf_tables, or set net.ipv6.conf.default.accept_ra = 0 in /etc/sysctl.d",
				"the kernel has no nf_tables (%v), so the agent cannot drop router advertisements in %s, which NodeENI %s lists: IPv6 packets of the node may leave through the ENI", f.Kernel.NFTablesErr, e.Create.SubnetID, e.NodeENI)}
		default:
			return []Result{ok(check, "the kernel has nf_tables, so the agent can drop them on the links of its ENIs")}
		}
	}
	return nil
}

// ofOwnLinks is a result for each of our ENIs whose link is among those found, by MAC,
// and otherwise what to say when none is. Without an ENI of ours there is nothing to say.
func (f Facts) ofOwnLinks(found map[string]string, none Result, of func(link, id string) Result) []Result {
	if f.EC2 == nil || f.EC2.Forecast == nil || len(f.EC2.Forecast.Own) == 0 {
		return nil
	}
	var results []Result
	for _, own := range f.EC2.Forecast.Own {
		if link, has := found[own.MAC]; has {
			results = append(results, of(link, own.ID))
		}
	}
	if len(results) == 0 {
		results = append(results, none)
	}
	return results
}

// checkReversePaths: whether connections that DNAT gives to a container arrive. A strict
// filter looks for the way back to the client from the container's address, which is the
// primary ENI's.
func checkReversePaths(f Facts) []Result {
	const check = "reverse path filter"
	if f.Kernel == nil || len(f.Wanted.hosts()) == 0 {
		return nil
	}
	return f.ofOwnLinks(f.Kernel.StrictPaths, ok(check, "not strict on the ENIs of the agent"), func(link, id string) Result {
		return warning(check,
			fmt.Sprintf("sysctl -w net.ipv4.conf.%s.rp_filter=2, and for future links set net.ipv4.conf.default.rp_filter = 2 in /etc/sysctl.d", link),
			"strict on %s, the link of %s: the kernel drops connections to the ENI's address that are translated to a container (NodePort, hostPort, docker -p); other connections work", link, id)
	})
}

// older says whether a kernel's release is before a version. One that cannot be
// read is not.
func older(release string, major, minor int) bool {
	var a, b int
	if n, _ := fmt.Sscanf(release, "%d.%d", &a, &b); n < 2 {
		return false
	}
	return a < major || a == major && b < minor
}
