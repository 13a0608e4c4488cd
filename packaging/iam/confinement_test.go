package iam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/iam"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/simtest"
)

const (
	subnet      = "subnet-0000000000000000a"
	subnetOther = "subnet-0000000000000000b" // of another VPC
	group       = "sg-00000000000000001"
	groupOther  = "sg-00000000000000002" // of another VPC
)

// account has two instances of the cluster and one of another cluster.
type account struct {
	*testing.T
	cloud          *cloud.Cloud
	cfg            aws.Config
	me, you, alien cloud.Instance
}

func newAccount(t *testing.T) *account {
	t.Helper()
	const otherVPC = "vpc-00000000000000002"
	a := &account{T: t}
	a.cloud, a.cfg = simtest.Account(t, cloud.Config{
		VPCs: []cloud.VPC{{ID: vpcID, CIDR: netip.MustParsePrefix("10.0.0.0/16"), IPv6CIDR: netip.MustParsePrefix("2001:db8::/56")}, {ID: otherVPC, CIDR: netip.MustParsePrefix("10.1.0.0/16")}},
		Subnets: []cloud.Subnet{
			{ID: subnet, VPCID: vpcID, Zone: "us-east-1a", CIDR: netip.MustParsePrefix("10.0.0.0/24"), IPv6CIDR: netip.MustParsePrefix("2001:db8::/64")},
			{ID: subnetOther, VPCID: otherVPC, Zone: "us-east-1a", CIDR: netip.MustParsePrefix("10.1.0.0/24")},
		},
		SecurityGroups: []cloud.SecurityGroup{{ID: group, Name: "a", VPCID: vpcID}, {ID: groupOther, Name: "b", VPCID: otherVPC}},
	})
	a.me, a.you, a.alien = a.run(kubeName), a.run(kubeName), a.run("test")
	return a
}

func (a *account) run(kubeName string) cloud.Instance {
	i, err := a.cloud.RunInstance(cloud.RunInstance{Type: "m5.large", SubnetID: subnet, Tags: map[string]string{"kubernetes.io/cluster/" + kubeName: "owned"}})
	if err != nil {
		a.Fatal(err)
	}
	return i
}

// as makes calls with a key; only callers that are named in SetPolicies are held
// to a policy.
func (a *account) as(key string) (*eni.Client, *ec2.Client) {
	cfg := a.cfg
	cfg.Credentials = credentials.NewStaticCredentialsProvider(key, "secret", "")
	return eni.NewClient(cfg), ec2.NewFromConfig(cfg, func(o *ec2.Options) { o.Retryer = aws.NopRetryer{} })
}

func arn(i cloud.Instance) string { return "arn:aws:ec2:us-east-1:123456789012:instance/" + i.ID }

func owner(cluster string, i cloud.Instance) eni.Owner {
	return eni.Owner{Cluster: cluster, Node: "n", Instance: arn(i), NodeENI: "data", NodeENIUID: "uid", CreatedAt: time.Unix(1, 0)}
}

// params are those of a create; what makes it another ENI is the replaced one.
func params(o eni.Owner, in string, groups []string, tags map[string]string) eni.CreateParams {
	return eni.CreateParams{Owner: o, SubnetID: in, Groups: groups, UserTags: tags, Replaces: fmt.Sprint(time.Now().UnixNano())}
}

// made is an ENI that root has created and attached.
func (a *account) made(o eni.Owner, to cloud.Instance) (id, attachment string) {
	a.Helper()
	root, _ := a.as("root")
	e, err := root.Create(a.Context(), params(o, subnet, []string{group}, nil))
	if err != nil {
		a.Fatal(err)
	}
	if to.ID == "" {
		return e.ID, ""
	}
	index := map[string]int32{}
	for _, i := range a.cloud.Interfaces() {
		if i.Attachment != nil {
			index[i.Attachment.InstanceID] = max(index[i.Attachment.InstanceID], i.Attachment.DeviceIndex)
		}
	}
	attachment, err = root.Attach(a.Context(), eni.AttachParams{ENIID: e.ID, InstanceID: to.ID, DeviceIndex: index[to.ID] + 1})
	if err != nil {
		a.Fatal(err)
	}
	return e.ID, attachment
}

// attempt is a call that a policy allows or denies.
type attempt struct {
	name string
	// allowed is by which of the policies it is.
	allowed map[string]bool
	call    call
}

type call func(ctx context.Context, c *eni.Client, raw *ec2.Client) error

func by(policies ...string) map[string]bool {
	all := map[string]bool{}
	for _, p := range policies {
		all[p] = true
	}
	return all
}

// attempts are what agents and coordinators do, and what a thief of their
// credentials would do.
func (a *account) attempts() []attempt {
	agents := []string{"agent", "agent-standalone", "agent-pod-role"}
	mine, mineAt := a.made(owner(clusterID, a.me), a.me)
	yours, yoursAt := a.made(owner(clusterID, a.you), a.you)
	foreign, foreignAt := a.made(owner("another cluster", a.alien), a.alien)
	free := func(o eni.Owner) string { id, _ := a.made(o, cloud.Instance{}); return id }
	untagged := a.primary(a.me)
	create := func(p eni.CreateParams) call {
		return func(ctx context.Context, c *eni.Client, _ *ec2.Client) error { _, err := c.Create(ctx, p); return err }
	}
	attach := func(id string, to cloud.Instance) call {
		return func(ctx context.Context, c *eni.Client, _ *ec2.Client) error {
			_, err := c.Attach(ctx, eni.AttachParams{ENIID: id, InstanceID: to.ID, DeviceIndex: 9})
			return err
		}
	}
	groups := func(id string, groups ...string) call {
		return func(ctx context.Context, c *eni.Client, _ *ec2.Client) error { return c.SetGroups(ctx, id, groups) }
	}
	more := func(id string) call {
		return func(ctx context.Context, c *eni.Client, _ *ec2.Client) error {
			_, err := c.AssignIPv4(ctx, id, 1, 0)
			return err
		}
	}
	more6 := func(id string) call {
		return func(ctx context.Context, c *eni.Client, _ *ec2.Client) error {
			_, err := c.AssignIPv6(ctx, id, 1, 0)
			return err
		}
	}
	fewer := func(id string) call {
		return func(ctx context.Context, _ *eni.Client, raw *ec2.Client) error {
			_, err := raw.UnassignPrivateIpAddresses(ctx, &ec2.UnassignPrivateIpAddressesInput{NetworkInterfaceId: aws.String(id), PrivateIpAddresses: []string{"10.0.0.99"}})
			return err
		}
	}
	stay := func(id, attachment string) call {
		return func(ctx context.Context, c *eni.Client, _ *ec2.Client) error {
			return c.SetDeleteOnTermination(ctx, id, attachment, true)
		}
	}
	detach := func(attachment string) call {
		return func(ctx context.Context, c *eni.Client, _ *ec2.Client) error { return c.Detach(ctx, attachment) }
	}
	remove := func(id string) call {
		return func(ctx context.Context, c *eni.Client, _ *ec2.Client) error { return c.Delete(ctx, id) }
	}
	retag := func(id string) call {
		return func(ctx context.Context, _ *eni.Client, raw *ec2.Client) error {
			_, err := raw.CreateTags(ctx, &ec2.CreateTagsInput{Resources: []string{id},
				Tags: []types.Tag{{Key: aws.String(eni.TagInstance), Value: aws.String(arn(a.me))}}})
			return err
		}
	}
	former := func() string {
		id, _ := a.made(owner("another cluster", a.me), cloud.Instance{})
		a.retagged(id, map[string]string{"kubernetes.io/cluster/managed-by": "nodeeni-controller"}, eni.TagCluster)
		return id
	}
	adopted := func() string {
		id, _ := a.made(owner(clusterID, a.me), cloud.Instance{})
		a.retagged(id, map[string]string{eni.TagAdoptedFrom: "nodeeni-x"})
		return id
	}
	adopt := func(id, cluster string, tags map[string]string) call {
		return func(ctx context.Context, c *eni.Client, _ *ec2.Client) error {
			return c.Adopt(ctx, id, owner(cluster, a.me), tags, "nodeeni-x")
		}
	}
	disown := func(id, name string) call {
		return func(ctx context.Context, c *eni.Client, _ *ec2.Client) error { return c.Disown(ctx, id, name) }
	}
	bare := func(ctx context.Context, _ *eni.Client, raw *ec2.Client) error {
		_, err := raw.CreateNetworkInterface(ctx, &ec2.CreateNetworkInterfaceInput{SubnetId: aws.String(subnet), Groups: []string{group}})
		return err
	}
	describe := func(ctx context.Context, c *eni.Client, _ *ec2.Client) error {
		_, err := c.OfCluster(ctx, clusterID)
		for range 5 {
			if err == nil || eni.Code(err) != "" {
				break
			}
			// The SDK closes a request's body with the answer. A server that
			// answers before net/http has looked for the body's end loses its
			// connection then, in the middle of a long answer.
			_, err = c.OfCluster(ctx, clusterID)
		}
		return err
	}
	in := []string{group}
	return []attempt{
		{"describe ENIs", by(names...), describe},
		{"create an ENI for itself", by(agents...), create(params(owner(clusterID, a.me), subnet, in, nil))},
		{"create one with the user's tags", by(agents...), create(params(owner(clusterID, a.me), subnet, in, map[string]string{"team": "x", "cost/center": "y"}))},
		{"create one with tags that are not listed", nil, create(params(owner(clusterID, a.me), subnet, in, map[string]string{"kubernetes.io/cluster/prod": "owned"}))},
		{"create one for another instance", by("agent-pod-role"), create(params(owner(clusterID, a.you), subnet, in, nil))},
		{"create one for another cluster", nil, create(params(owner("another cluster", a.me), subnet, in, nil))},
		{"create one without tags", nil, bare},
		{"create one in another VPC", nil, create(params(owner(clusterID, a.me), subnetOther, []string{groupOther}, nil))},
		{"attach its own ENI to itself", by(agents...), attach(free(owner(clusterID, a.me)), a.me)},
		{"attach its own ENI to another instance", by("agent-pod-role"), attach(free(owner(clusterID, a.me)), a.you)},
		{"attach its own ENI to an instance of another cluster", nil, attach(free(owner(clusterID, a.me)), a.alien)},
		{"attach another instance's ENI to itself", by("agent-pod-role"), attach(free(owner(clusterID, a.you)), a.me)},
		{"attach another cluster's ENI to itself", nil, attach(free(owner("another cluster", a.me)), a.me)},
		{"change its own ENI's groups", by(agents...), groups(mine, group)},
		{"change its own ENI's groups to another VPC's", nil, groups(mine, groupOther)},
		{"change its own attachment", by(agents...), stay(mine, mineAt)},
		{"give its own ENI an address", by(agents...), more(mine)},
		{"give another instance's ENI an address", by("agent-pod-role"), more(yours)},
		{"give another cluster's ENI an address", nil, more(foreign)},
		{"give the primary ENI an address", nil, more(untagged)},
		{"give its own ENI an IPv6 address", by(agents...), more6(mine)},
		{"give another instance's ENI an IPv6 address", by("agent-pod-role"), more6(yours)},
		{"give another cluster's ENI an IPv6 address", nil, more6(foreign)},
		{"take an address from its own ENI", nil, fewer(mine)},
		{"change another instance's ENI", by("agent-pod-role"), groups(yours, group)},
		{"change another instance's attachment", by("agent-pod-role"), stay(yours, yoursAt)},
		{"change another cluster's ENI", nil, groups(foreign, group)},
		{"change the primary ENI, which has no tag", nil, groups(untagged, group)},
		{"tag an ENI as its own", nil, retag(yours)},
		{"detach another instance's ENI", by("coordinator"), detach(yoursAt)},
		{"detach another cluster's ENI", nil, detach(foreignAt)},
		{"detach its own ENI", by("agent-standalone", "coordinator"), detach(mineAt)},
		{"delete its own ENI", by("agent-standalone", "coordinator"), remove(free(owner(clusterID, a.me)))},
		{"delete another instance's ENI", by("coordinator"), remove(free(owner(clusterID, a.you)))},
		{"delete another cluster's ENI", nil, remove(free(owner("another cluster", a.you)))},
		{"adopt an ENI of the former controller", by("administrator-adopt"), adopt(former(), clusterID, map[string]string{"team": "x"})},
		{"adopt one with tags that are not listed", nil, adopt(former(), clusterID, map[string]string{"kubernetes.io/cluster/prod": "owned"})},
		{"adopt one for another cluster", nil, adopt(former(), "another cluster", nil)},
		{"adopt an ENI that the former controller did not create", nil, adopt(yours, clusterID, nil)},
		{"give an adopted ENI back", by("administrator-adopt"), disown(adopted(), "nodeeni-x")},
		{"give an adopted ENI back that had no name", by("administrator-adopt"), disown(adopted(), "")},
		{"take its tags from an ENI that an agent created", nil, disown(mine, "")},
		{"rename an ENI that an agent created", nil, disown(mine, "x")},
		{"do without an instance profile what it may for itself", by("agent-pod-role"), a.elsewhere(create(params(owner(clusterID, a.me), subnet, in, nil)))},
	}
}

// elsewhere makes the call with a key that is no instance's.
func (a *account) elsewhere(try call) call {
	return func(ctx context.Context, _ *eni.Client, _ *ec2.Client) error {
		c, raw := a.as("thief")
		return try(ctx, c, raw)
	}
}

// retagged changes the tags of an ENI, as root does.
func (a *account) retagged(id string, tags map[string]string, without ...string) {
	a.Helper()
	err := a.cloud.CreateTags([]string{id}, tags)
	for _, key := range without {
		err = errors.Join(err, a.cloud.DeleteTags([]string{id}, []cloud.TagDeletion{{Key: key}}))
	}
	if err != nil {
		a.Fatal(err)
	}
}

// primary is the id of the instance's primary ENI.
func (a *account) primary(i cloud.Instance) string {
	for _, e := range a.cloud.Interfaces() {
		if e.MAC == i.MAC {
			return e.ID
		}
	}
	a.Fatal("no primary ENI")
	return ""
}

// TestConfinement makes every attempt under every policy.
func TestConfinement(t *testing.T) {
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			p := policy(t, name)
			for i := range newAccount(t).attempts() {
				a := newAccount(t) // what one attempt has done, the next does not see
				try := a.attempts()[i]
				key := cloud.AccessKeyID(a.me.ID)
				a.cloud.SetPolicies(func(sourceID string) *iam.Policy {
					if sourceID == "root" {
						return nil
					}
					return p
				})
				c, raw := a.as(key)
				err := try.call(t.Context(), c, raw)
				switch allowed := try.allowed[name]; {
				case allowed && err != nil:
					t.Errorf("may not %s: %v", try.name, err)
				case !allowed && eni.Code(err) != "UnauthorizedOperation":
					t.Errorf("may %s: %v", try.name, err)
				}
			}
		})
	}
}
