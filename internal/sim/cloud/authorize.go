package cloud

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/iam"
)

// Policies gives the policy that a caller has, by its access key id; nil lets it
// do everything.
type Policies func(sourceID string) *iam.Policy

// SetPolicies has calls authorized from now on; nil allows everything.
func (c *Cloud) SetPolicies(policies Policies) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.policies = policies
}

// AccessKeyID is the access key of an instance's role, by which the log of
// API calls tells instances apart: "ASIA" and the last 16 characters of the
// instance id in capitals.
func AccessKeyID(instanceID string) string {
	id := strings.TrimPrefix(instanceID, "i-")
	return "ASIA" + strings.ToUpper(id[max(0, len(id)-16):])
}

// Authorize says whether the caller's policy allows a call. Resources that do not
// exist are passed over: the call itself says so.
func (c *Cloud) Authorize(r Request) error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.policies == nil {
		return nil
	}
	policy := c.policies(r.SourceID)
	if policy == nil {
		return nil
	}
	for _, request := range c.authorizations(r) {
		if refused := policy.Refused(request); len(refused) > 0 {
			return Errorf("UnauthorizedOperation", "You are not authorized to perform this operation. User: %s is not authorized to perform: %s on resource: %s because no identity-based policy allows the %s action.",
				r.SourceID, request.Action, refused[0], request.Action)
		}
	}
	return nil
}

// authorizations are what IAM is asked about a call, as the Service Authorization
// Reference has it: an ENI that is born with tags asks for ec2:CreateTags too.
func (c *Cloud) authorizations(r Request) []iam.Request {
	global := iam.Keys{"aws:RequestedRegion": {c.config.Region}}
	if arn := c.sourceInstanceARN(r.SourceID); arn != "" {
		global["ec2:SourceInstanceARN"] = []string{arn}
	}
	request := iam.Request{Action: "ec2:" + r.Action, Keys: global}
	if strings.HasPrefix(r.Action, "Describe") {
		return []iam.Request{request}
	}
	request.Resources = c.namedResources(r.Params)
	tags := requestTags(r.Params)
	switch r.Action {
	case "CreateNetworkInterface":
		created := iam.Resource{ARN: c.arn("network-interface/*"), Keys: tags}
		request.Resources = append(request.Resources, created)
		if len(tags) > 0 {
			tagging := iam.Request{Action: "ec2:CreateTags", Keys: maps.Clone(global), Resources: []iam.Resource{created}}
			tagging.Keys["ec2:CreateAction"] = []string{r.Action}
			return []iam.Request{request, tagging}
		}
	case "CreateTags", "DeleteTags":
		for i := range request.Resources {
			maps.Copy(request.Resources[i].Keys, tags)
		}
	}
	return []iam.Request{request}
}

// sourceInstanceARN is the instance whose credentials a caller has, or "".
func (c *Cloud) sourceInstanceARN(sourceID string) string {
	for id := range c.instances {
		if AccessKeyID(id) == sourceID {
			return c.arn("instance/" + id)
		}
	}
	return ""
}

func (c *Cloud) arn(resource string) string {
	return fmt.Sprintf("arn:%s:ec2:%s:%s:%s", c.config.Partition, c.config.Region, c.config.AccountID, resource)
}

// namedResources are the resources that a call's parameters name; an attachment
// stands for its ENI and its instance.
func (c *Cloud) namedResources(params map[string]string) []iam.Resource {
	var all []iam.Resource
	add := func(r iam.Resource, ok bool) {
		if ok && !slices.ContainsFunc(all, func(have iam.Resource) bool { return have.ARN == r.ARN }) {
			all = append(all, r)
		}
	}
	for name, value := range params {
		switch strings.TrimRight(name, ".0123456789") {
		case "NetworkInterfaceId", "InstanceId", "SubnetId", "SecurityGroupId", "ResourceId":
			add(c.resource(value))
		case "AttachmentId", "Attachment.AttachmentId":
			if e, ok := c.attachments[value]; ok {
				i := e.history.latest()
				add(c.resource(i.ID))
				add(c.resource(i.Attachment.InstanceID))
			}
		}
	}
	return all
}

// resource is an existing resource with its condition keys.
func (c *Cloud) resource(id string) (iam.Resource, bool) {
	var kind, vpc string
	var tags map[string]string
	keys := iam.Keys{}
	switch {
	case c.enis[id] != nil:
		i := c.enis[id].history.latest()
		kind, vpc, tags = "network-interface", i.VPCID, i.Tags
	case c.instances[id] != nil:
		kind, tags = "instance", c.instances[id].history.latest().Tags
		keys["ec2:InstanceID"] = []string{id}
	case c.subnets[id] != nil:
		kind, vpc, tags = "subnet", c.subnets[id].VPCID, c.subnets[id].Tags
	case c.groups[id] != nil:
		kind, vpc, tags = "security-group", c.groups[id].VPCID, c.groups[id].Tags
	default:
		return iam.Resource{}, false
	}
	if vpc != "" {
		keys["ec2:Vpc"] = []string{c.arn("vpc/" + vpc)}
	}
	for key, value := range tags {
		keys["aws:ResourceTag/"+key] = []string{value}
		keys["ec2:ResourceTag/"+key] = []string{value}
	}
	return iam.Resource{ARN: c.arn(kind + "/" + id), Keys: keys}, true
}

// requestTags are the keys of the tags that a call brings: Tag.1.Key, or
// TagSpecification.1.Tag.1.Key.
func requestTags(params map[string]string) iam.Keys {
	keys := iam.Keys{}
	for name, tag := range params {
		element, ok := strings.CutSuffix(name, ".Key")
		if ok && strings.HasSuffix(strings.TrimRight(element, ".0123456789"), "Tag") {
			keys["aws:RequestTag/"+tag] = []string{params[element+".Value"]}
			keys["aws:TagKeys"] = append(keys["aws:TagKeys"], tag)
		}
	}
	return keys
}
