package kube

import "strings"

// RegionLabel is the label that cloud controllers and kubelets give to Nodes.
const RegionLabel = "topology.kubernetes.io/region"

// Region is the AWS Region that a Node of EC2 is in, by the zone in its providerID;
// "" when it names none. The providerID cannot be changed, labels can.
func (n *Node) Region() string {
	rest, ok := strings.CutPrefix(n.Spec.ProviderID, "aws://")
	if !ok {
		return ""
	}
	parts := strings.Split(rest, "/") // aws:///us-east-1a/i-0123456789abcdef0
	for _, part := range parts[:len(parts)-1] {
		if region := RegionOf(part); region != "" {
			return region
		}
	}
	return n.Labels[RegionLabel]
}

// RegionOf is the Region of a zone: us-east-1 for the Availability Zone us-east-1a, the
// Local Zone us-east-1-bos-1a and the Wavelength Zone us-east-1-wl1-bos-wlz-1. It is ""
// for what is no zone's name.
func RegionOf(zone string) string {
	parts := strings.Split(zone, "-")
	for i, part := range parts {
		digits := strings.TrimRight(part, "abcdefghijklmnopqrstuvwxyz")
		switch {
		case digits == "": // a word, as in us-gov-west-1a or eusc-de-east-1a
			if part == "" {
				return ""
			}
		case i < 2 || strings.Trim(digits, "0123456789") != "":
			return ""
		default:
			return strings.Join(parts[:i], "-") + "-" + digits
		}
	}
	return ""
}
