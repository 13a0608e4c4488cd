package adopt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// apiTimeout bounds one request to the API server.
const apiTimeout = 30 * time.Second

// Cluster is what the API server shows.
type Cluster struct {
	// Name is the value of the tag networking.k8s.aws/cluster.
	Name     string
	NodeENIs []v1alpha1.NodeENI
	Nodes    []kube.Node
	// Agents are the names of the Nodes on which an agent of ours runs.
	Agents map[string]bool
	// Releasing are the ENIs that an agent's report says it releases, with the name of the
	// report. The coordinator acts on a report even if its agent has gone.
	Releasing map[string]string
	former    programs
	own       programs
}

// Account is what EC2 shows.
type Account struct {
	Region    string
	ENIs      map[string]eni.Tagged
	Instances map[string]eni.Instance
	Subnets   []eni.Subnet
	// Groups are the ids of security groups, by VPC and name.
	Groups map[string]map[string][]string
}

// get reads a list of objects of any kind.
func get[T any](ctx context.Context, client *kube.Client, path, parameter, value string) ([]T, error) {
	data, err := client.Core.Get().AbsPath(path).Param(parameter, value).SetHeader("Accept", "application/json").Timeout(apiTimeout).Do(ctx).Raw()
	if err != nil {
		return nil, fmt.Errorf("listing %s where %s is %s: %w", path, parameter, value, err)
	}
	var all struct{ Items []T }
	if err := json.Unmarshal(data, &all); err != nil {
		return nil, fmt.Errorf("listing %s: %w", path, err)
	}
	return all.Items, nil
}

// readPrograms lists workloads by label, and the Lease of that name, in all namespaces.
func readPrograms(ctx context.Context, client *kube.Client, selector, leaseName string) (p programs, err error) {
	const apps, core, coordination = "/apis/apps/v1/", "/api/v1/", "/apis/coordination.k8s.io/v1/"
	if p.Deployments, err = get[workload](ctx, client, apps+"deployments", "labelSelector", selector); err != nil {
		return p, err
	}
	if p.DaemonSets, err = get[workload](ctx, client, apps+"daemonsets", "labelSelector", selector); err != nil {
		return p, err
	}
	if p.Pods, err = get[pod](ctx, client, core+"pods", "labelSelector", selector); err != nil {
		return p, err
	}
	p.Leases, err = get[lease](ctx, client, coordination+"leases", "fieldSelector", "metadata.name="+leaseName)
	return p, err
}

// readCluster reads everything that counts from the API server.
func readCluster(ctx context.Context, client *kube.Client, name string) (c Cluster, err error) {
	c.Name = name
	if c.NodeENIs, err = client.NodeENIs(ctx); err != nil {
		return c, fmt.Errorf("listing NodeENIs: %w", err)
	}
	var nodes kube.NodeList
	if err := client.Core.Get().Resource(kube.Nodes).Timeout(apiTimeout).Do(ctx).Into(&nodes); err != nil {
		return c, fmt.Errorf("listing Nodes: %w", err)
	}
	c.Nodes = nodes.Items
	if c.former, err = readPrograms(ctx, client, "app in ("+formerController+","+formerManager+")", formerLease); err != nil {
		return c, err
	}
	if c.own, err = readPrograms(ctx, client, "app.kubernetes.io/name=aws-multi-eni,app.kubernetes.io/component in (agent,coordinator)", "eni-coordinator"); err != nil {
		return c, err
	}
	if c.Releasing, err = readReleasing(ctx, client); err != nil {
		return c, fmt.Errorf("listing NodeENIStates: %w", err)
	}
	c.Agents = map[string]bool{}
	for _, p := range c.own.Pods {
		if p.runs() && p.Metadata.Labels["app.kubernetes.io/component"] == "agent" {
			c.Agents[p.Spec.NodeName] = true
		}
	}
	return c, nil
}

// readReleasing reads the reports of agents. Before the first installation, there is no such
// kind.
func readReleasing(ctx context.Context, client *kube.Client) (map[string]string, error) {
	var reports v1alpha1.NodeENIStateList
	err := client.API.Get().Resource(kube.NodeENIStates).Timeout(apiTimeout).Do(ctx).Into(&reports)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	all := map[string]string{}
	for _, report := range reports.Items {
		for _, e := range report.Status.ENIs {
			if e.Phase == v1alpha1.PhaseReleasing || e.Phase == v1alpha1.PhaseReleased {
				all[e.ENIID] = report.Name
			}
		}
	}
	return all, nil
}

// instanceIDs are those of all Nodes, sorted.
func (c Cluster) instanceIDs() []string {
	ids := map[string]bool{}
	for _, n := range c.Nodes {
		if id := kube.InstanceID(n.Spec.ProviderID); id != "" {
			ids[id] = true
		}
	}
	return slices.Sorted(maps.Keys(ids))
}

// attached are the ids of the ENIs in the status of NodeENIs, sorted.
func (c Cluster) attached() []string {
	ids := map[string]bool{}
	for _, n := range c.NodeENIs {
		for _, a := range n.Status.Attachments {
			if a.ENIID != "" {
				ids[a.ENIID] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(ids))
}

// readAccount reads everything that counts from EC2: the former controller's ENIs, the
// cluster's own, and those that NodeENIs name; the Nodes' instances; the NodeENIs' subnets.
func readAccount(ctx context.Context, client *eni.Client, region string, c Cluster) (a Account, err error) {
	a = Account{Region: region, ENIs: map[string]eni.Tagged{}, Instances: map[string]eni.Instance{}}
	list := func(by eni.Selector, values ...string) error {
		for part := range slices.Chunk(values, eni.SelectorLimit) {
			found, err := client.TaggedBy(ctx, by, part)
			if err != nil {
				return advice("DescribeNetworkInterfaces", err)
			}
			for _, e := range found {
				a.ENIs[e.ID] = e
			}
		}
		return nil
	}
	if err := list("tag:"+FormerTag, FormerTagValue); err != nil {
		return a, err
	}
	if err := list("tag:"+eni.TagCluster, c.Name); err != nil {
		return a, err
	}
	unknown := slices.DeleteFunc(c.attached(), func(id string) bool { _, ok := a.ENIs[id]; return ok })
	if err := list(eni.ByID, unknown...); err != nil {
		return a, err
	}
	instances, err := client.Instances(ctx, c.instanceIDs())
	if err != nil {
		return a, advice("DescribeInstances", err)
	}
	for _, i := range instances {
		a.Instances[i.ID] = i
	}
	if a.Subnets, err = readSubnets(ctx, client, c, a); err != nil {
		return a, advice("DescribeSubnets", err)
	}
	if a.Groups, err = readGroups(ctx, client, c, a); err != nil {
		return a, advice("DescribeSecurityGroups", err)
	}
	return a, a.check(c)
}

// advice is the error of a call to EC2, with what to do about it.
func advice(action string, err error) error { return errors.New(inWords(action, err)) }

// inWords is eni.Advice for a person who runs a command: nothing retries the call, and the
// credentials are not those of an instance.
func inWords(action string, err error) string {
	what, do := eni.Explain(action, err)
	if eni.Reason(err) == "NoCredentials" {
		do = "log in to AWS, or set AWS_PROFILE; aws sts get-caller-identity shows whether that works"
	}
	return what + "; " + strings.ReplaceAll(do, eni.Retried, "run the command again")
}

// readSubnets describes the subnets that NodeENIs name, those by name in the Nodes' VPCs.
func readSubnets(ctx context.Context, client *eni.Client, c Cluster, a Account) ([]eni.Subnet, error) {
	ids, names := map[string]bool{}, map[string]bool{}
	for _, n := range c.NodeENIs {
		byID, byName := subnetsOf(&n.Spec)
		for _, id := range byID {
			ids[id] = true
		}
		for _, name := range byName {
			names[name] = true
		}
	}
	all, err := client.SubnetsByID(ctx, slices.Sorted(maps.Keys(ids)))
	if err != nil {
		return nil, err
	}
	for _, vpc := range a.vpcs() {
		found, err := client.SubnetsByName(ctx, vpc, slices.Sorted(maps.Keys(names)))
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

// readGroups looks up the security groups that NodeENIs name, in the Nodes' VPCs.
func readGroups(ctx context.Context, client *eni.Client, c Cluster, a Account) (map[string]map[string][]string, error) {
	names := map[string]bool{}
	for _, n := range c.NodeENIs {
		for _, name := range n.Spec.SecurityGroupNames {
			names[name] = true
		}
	}
	all := map[string]map[string][]string{}
	for _, vpc := range a.vpcs() {
		found, err := client.GroupsByName(ctx, vpc, slices.Sorted(maps.Keys(names)))
		if err != nil {
			return nil, err
		}
		all[vpc] = found
	}
	return all, nil
}

// vpcs are those of the Nodes, sorted.
func (a Account) vpcs() []string {
	ids := map[string]bool{}
	for _, i := range a.Instances {
		ids[i.VPCID] = true
	}
	return slices.Sorted(maps.Keys(ids))
}

// subnetsOf are the subnets that a NodeENI lists.
func subnetsOf(spec *v1alpha1.NodeENISpec) (ids, names []string) {
	notEmpty := func(all ...string) []string { return slices.DeleteFunc(all, func(s string) bool { return s == "" }) }
	return notEmpty(append([]string{spec.SubnetID}, spec.SubnetIDs...)...), notEmpty(append([]string{spec.SubnetName}, spec.SubnetNames...)...)
}

// check returns an error when EC2 is asked in the wrong place: there, all ENIs seem to be
// gone.
func (a Account) check(c Cluster) error {
	regions := map[string]bool{}
	for _, n := range c.Nodes {
		if region := n.Region(); region != "" {
			regions[region] = true
		}
	}
	const next = "nothing was changed; check AWS_REGION, AWS_PROFILE, and AWS_ENDPOINT_URL, and that the kubeconfig is that of this cluster"
	if len(regions) > 0 && !regions[a.Region] {
		return fmt.Errorf("EC2 calls go to Region %s, but the Nodes are in %s; %s", a.Region, strings.Join(slices.Sorted(maps.Keys(regions)), ", "), next)
	}
	ids := c.instanceIDs()
	if len(ids) == 0 {
		return errors.New("no Node has a providerID of EC2, so no ENI can be matched to a Node; check that the kubeconfig is that of the right cluster")
	}
	if len(a.Instances) == 0 {
		return fmt.Errorf("EC2 has none of the Nodes' instances (%s), so the account or the endpoint is wrong; %s", list(ids), next)
	}
	return nil
}
