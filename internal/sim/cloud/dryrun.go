package cloud

import (
	"maps"
	"slices"
	"strings"
)

// DryRun answers a call that is only to be checked, with its parameters: the
// resources that it names must exist, and then it would have been carried out.
// Limits, states and quotas are not checked, as EC2 does not either. Whether the
// caller may do it is a matter of faults, as for every call; see Do.
func (c *Cloud) DryRun(params map[string]string) error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for _, name := range slices.Sorted(maps.Keys(params)) {
		exists, ok := namedBy[strings.TrimRight(name, ".0123456789")]
		if !ok {
			continue
		}
		if err := exists(c, params[name]); err != nil {
			return err
		}
	}
	return Errorf("DryRunOperation", "Request would have succeeded, but DryRun flag is set.")
}

// namedBy looks up what a parameter names, by the parameter's name without the
// number in a list.
var namedBy = map[string]func(c *Cloud, id string) error{
	"NetworkInterfaceId":      func(c *Cloud, id string) error { _, err := c.eni(id); return err },
	"InstanceId":              func(c *Cloud, id string) error { _, err := c.instance(id); return err },
	"ResourceId":              func(c *Cloud, id string) error { _, err := c.tagged(id); return err },
	"AttachmentId":            attachmentExists,
	"Attachment.AttachmentId": attachmentExists,
	"SubnetId":                func(c *Cloud, id string) error { return exists(subnetIDs, c.subnets, id) },
	"SecurityGroupId":         func(c *Cloud, id string) error { return exists(groupIDs, c.groups, id) },
	"GroupId":                 func(c *Cloud, id string) error { return exists(groupIDs, c.groups, id) },
	"VpcId":                   func(c *Cloud, id string) error { return exists(vpcIDs, c.vpcs, id) },
}

func attachmentExists(c *Cloud, id string) error { return exists(attachmentIDs, c.attachments, id) }

func exists[T any](kind idKind, all map[string]T, id string) error {
	if err := kind.check(id); err != nil {
		return err
	}
	if _, ok := all[id]; !ok {
		return kind.missing(id)
	}
	return nil
}
