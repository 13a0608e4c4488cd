package metadata

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// role is the name of the role that every instance's profile holds.
const role = "eni-sim"

// tree maps paths without leading slash to values; a path that ends in a
// slash is a directory that is listed even though it has nothing to show.
type tree map[string]string

// get returns a value, or, for a directory, the names in it, one a line and
// those of directories with a slash at the end.
func (t tree) get(path string) (string, bool) {
	path = strings.TrimPrefix(path, "/")
	if value, ok := t[path]; ok && !strings.HasSuffix(path, "/") {
		return value, true
	}
	dir := strings.TrimSuffix(path, "/") + "/"
	if dir == "/" {
		dir = ""
	}
	var names []string
	for p := range t {
		if rest, ok := strings.CutPrefix(p, dir); ok && rest != "" {
			name, _, isDir := strings.Cut(rest, "/")
			if isDir {
				name += "/"
			}
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), "\n"), len(names) > 0
}

// newTree lays out the metadata as described in
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-metadata.html#instancedata-data-categories
func newTree(m cloud.Metadata, now time.Time) tree {
	t := make(tree)
	t.addInstance(m)
	for _, i := range m.Interfaces {
		t.addInterface(i)
	}
	t["latest/dynamic/instance-identity/document"] = identityDocument(m)
	t.addCredentials(m, now)
	if m.UserData != "" {
		t["latest/user-data"] = m.UserData
	}
	return t
}

func (t tree) addInstance(m cloud.Metadata) {
	domain := "amazonaws.com"
	if m.Partition == "aws-cn" {
		domain = "amazonaws.com.cn"
	}
	for path, value := range map[string]string{
		"ami-id":                         m.ImageID,
		"hostname":                       m.LocalHostname,
		"instance-id":                    m.InstanceID,
		"instance-life-cycle":            "on-demand",
		"instance-type":                  m.InstanceType,
		"local-hostname":                 m.LocalHostname,
		"mac":                            m.MAC,
		"placement/availability-zone":    m.Zone,
		"placement/availability-zone-id": m.ZoneID,
		"placement/region":               m.Region,
		"services/domain":                domain,
		"services/partition":             m.Partition,
	} {
		t["latest/meta-data/"+path] = value
	}
	if m.LocalIPv4.IsValid() {
		t["latest/meta-data/local-ipv4"] = m.LocalIPv4.String()
	}
	if m.IPv6.IsValid() {
		t["latest/meta-data/ipv6"] = m.IPv6.String()
	}
	for key, value := range m.Tags {
		// Only keys that can be a path element are shown.
		if !strings.ContainsAny(key, "/ ") && key != "." && key != ".." {
			t["latest/meta-data/tags/instance/"+key] = value
		}
	}
}

func (t tree) addInterface(i cloud.MetadataInterface) {
	dir := "latest/meta-data/network/interfaces/macs/" + i.MAC + "/"
	if !i.Ready {
		t[dir] = ""
		return
	}
	card := strconv.Itoa(int(i.NetworkCard))
	for name, value := range map[string]string{
		"device-number":           strconv.Itoa(int(i.DeviceNumber)),
		"interface-id":            i.InterfaceID,
		"ipv4-prefix":             lines(i.IPv4Prefixes...),
		"ipv6-prefix":             lines(i.IPv6Prefixes...),
		"ipv6s":                   lines(i.IPv6s...),
		"local-hostname":          i.LocalHostname,
		"local-ipv4s":             lines(i.LocalIPv4s...),
		"mac":                     i.MAC,
		"network-card":            card,
		"network-card-index":      card,
		"owner-id":                i.OwnerID,
		"security-group-ids":      strings.Join(i.SecurityGroupIDs, "\n"),
		"security-groups":         strings.Join(i.SecurityGroupNames, "\n"),
		"subnet-id":               i.SubnetID,
		"subnet-ipv4-cidr-block":  lines(i.SubnetCIDR),
		"subnet-ipv6-cidr-blocks": lines(i.SubnetIPv6CIDR),
		"vpc-id":                  i.VPCID,
		"vpc-ipv4-cidr-block":     lines(i.VPCCIDR),
		"vpc-ipv4-cidr-blocks":    lines(i.VPCCIDR),
		"vpc-ipv6-cidr-blocks":    lines(i.VPCIPv6CIDR),
	} {
		if value != "" { // the service has no empty values, they are 404
			t[dir+name] = value
		}
	}
}

// lines writes addresses or ranges, one a line; those that are not valid, because
// there are none, are left out.
func lines[T interface {
	IsValid() bool
	String() string
}](list ...T) string {
	var texts []string
	for _, item := range list {
		if item.IsValid() {
			texts = append(texts, item.String())
		}
	}
	return strings.Join(texts, "\n")
}

// identityDocument is described in
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-identity-documents.html
func identityDocument(m cloud.Metadata) string {
	return document(map[string]any{
		"accountId":               m.AccountID,
		"architecture":            "x86_64",
		"availabilityZone":        m.Zone,
		"billingProducts":         nil,
		"devpayProductCodes":      nil,
		"marketplaceProductCodes": nil,
		"imageId":                 m.ImageID,
		"instanceId":              m.InstanceID,
		"instanceType":            m.InstanceType,
		"kernelId":                nil,
		"pendingTime":             m.LaunchTime.UTC().Format(time.RFC3339),
		"privateIp":               m.LocalIPv4,
		"ramdiskId":               nil,
		"region":                  m.Region,
		"version":                 "2017-09-30",
	})
}

// addCredentials lets the default credential chain of an SDK work on the
// instance. The access key tells the log of API calls which instance it was.
func (t tree) addCredentials(m cloud.Metadata, now time.Time) {
	const (
		dir      = "latest/meta-data/iam/"
		lifetime = 6 * time.Hour
	)
	updated := now.Truncate(time.Hour).UTC()
	t[dir+"info"] = document(map[string]any{
		"Code":               "Success",
		"LastUpdated":        updated.Format(time.RFC3339),
		"InstanceProfileArn": fmt.Sprintf("arn:%s:iam::%s:instance-profile/%s", m.Partition, m.AccountID, role),
		"InstanceProfileId":  "AIPAENISIMULATOR0000",
	})
	t[dir+"security-credentials/"+role] = document(map[string]any{
		"Code":            "Success",
		"LastUpdated":     updated.Format(time.RFC3339),
		"Type":            "AWS-HMAC",
		"AccessKeyId":     cloud.AccessKeyID(m.InstanceID),
		"SecretAccessKey": "simulated",
		"Token":           "simulated",
		"Expiration":      updated.Add(lifetime).Format(time.RFC3339),
	})
}

func document(fields map[string]any) string {
	text, err := json.MarshalIndent(fields, "", "  ")
	if err != nil {
		return err.Error() // not for strings
	}
	return string(text)
}
