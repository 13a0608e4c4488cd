package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/version"

	"github.com/aws-multi-eni/aws-multi-eni/agent"
	"github.com/aws-multi-eni/aws-multi-eni/agent/apiserver"
	"github.com/aws-multi-eni/aws-multi-eni/imds"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// insist calls f until it succeeds or is answered otherwise than by throttling,
// three times at most.
func insist[T any](f func() (T, error)) (T, error) {
	for try := 1; ; try++ {
		v, err := f()
		if err == nil || try == 3 || eni.Code(err) != "" && !eni.IsThrottled(err) {
			return v, err
		}
		time.Sleep(time.Duration(try) * 300 * time.Millisecond)
	}
}

// GatherIMDS asks the metadata service.
func GatherIMDS(ctx context.Context, client *imds.Client) *IMDS {
	identity, err := client.Identity(ctx)
	return &IMDS{Identity: identity, Err: err, Version1: err == nil && answersVersion1(ctx)}
}

// answersVersion1 asks without a token.
func answersVersion1(ctx context.Context) bool {
	endpoint := os.Getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT")
	if endpoint == "" {
		endpoint = "http://169.254.169.254"
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(endpoint, "/")+"/latest/meta-data/instance-id", nil)
	if err != nil {
		return false
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // and no proxy
	response, err := client.Do(request)
	if err != nil {
		return false
	}
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// GatherCredentials finds the credentials that calls to EC2 are signed with.
func GatherCredentials(ctx context.Context, cfg aws.Config) *Credentials {
	if cfg.Credentials == nil {
		return &Credentials{Region: cfg.Region, Err: os.ErrNotExist}
	}
	found, err := cfg.Credentials.Retrieve(ctx)
	return &Credentials{Source: found.Source, Region: cfg.Region, Err: err}
}

// GatherNode reads the Node, and the NodeENIs when all is set.
func GatherNode(ctx context.Context, client *kube.Client, name, instanceID, from string, all bool) (*Wanted, *Kubelet) {
	w := &Wanted{From: from}
	data, err := client.Core.Get().Resource(kube.Nodes).Name(name).Do(ctx).Raw()
	if err != nil {
		w.Err = err
		return w, nil
	}
	var node kube.Node
	var more struct {
		Status struct {
			Addresses []struct{ Type, Address string }
		}
	}
	if err := json.Unmarshal(data, &node); err != nil {
		w.Err = err
		return w, nil
	}
	if err := json.Unmarshal(data, &more); err != nil {
		w.Err = err
		return w, nil
	}
	k := &Kubelet{NodeIP: node.Annotations["alpha.kubernetes.io/provided-node-ip"]}
	for _, a := range more.Status.Addresses {
		switch a.Type {
		case "InternalIP":
			k.InternalIPs = append(k.InternalIPs, a.Address)
		case "InternalDNS":
			k.Cloud = true
		}
	}
	w.Labels = node.Labels
	if instanceID != "" {
		w.Problem = apiserver.NodeProblem(&node, instanceID)
	}
	if all {
		w.NodeENIs, w.Err = client.NodeENIs(ctx)
	}
	return w, k
}

// GatherCNI reads the configuration of the Amazon VPC CNI.
func GatherCNI(ctx context.Context, client *kube.Client) *CNI {
	data, err := client.Core.Get().AbsPath("/apis/apps/v1/namespaces/kube-system/daemonsets/aws-node").Do(ctx).Raw()
	switch {
	case apierrors.IsNotFound(err):
		return &CNI{}
	case err != nil:
		return &CNI{Err: err}
	}
	var daemonSet struct {
		Spec struct {
			Template struct {
				Spec struct {
					Containers []struct {
						Name, Image string
						Env         []struct {
							Name, Value string
							ValueFrom   json.RawMessage
						}
					}
				}
			}
		}
	}
	if err := json.Unmarshal(data, &daemonSet); err != nil {
		return &CNI{Err: err}
	}
	c := &CNI{Present: true, Env: map[string]string{}}
	for _, container := range daemonSet.Spec.Template.Spec.Containers {
		if container.Name == "aws-node" {
			c.Version = imageVersion(container.Image)
		}
		for _, env := range container.Env {
			switch {
			case container.Name != "aws-node":
			case len(env.ValueFrom) > 0:
				c.Elsewhere = append(c.Elsewhere, env.Name)
			default:
				c.Env[env.Name] = env.Value
			}
		}
	}
	return c
}

// imageVersion takes the version off the tag of an image, such as 1.19.0 of
// …/amazon-k8s-cni:v1.19.0-eksbuild.1.
func imageVersion(image string) string {
	image, _, _ = strings.Cut(image, "@")
	name := image[strings.LastIndex(image, "/")+1:]
	_, tag, _ := strings.Cut(name, ":")
	v, err := version.ParseGeneric(tag)
	if err != nil {
		return ""
	}
	return v.String()
}

// Asker is who asks EC2, and for whom.
type Asker struct {
	EC2           *eni.Client
	Cluster, Node string
	Identity      imds.Identity
}

// GatherEC2 asks EC2 what the NodeENIs would lead to, and by dry runs whether it
// would be allowed.
func GatherEC2(ctx context.Context, a Asker, w *Wanted) *EC2 {
	e := &EC2{Cluster: a.Cluster, Untried: map[string]string{}, Done: map[string]bool{}}
	e.try(ctx, "", a.EC2.DryRunDescribes(a.Identity.InstanceType))
	if w == nil {
		w = &Wanted{}
	}
	f, err := insist(func() (agent.Forecast, error) {
		return agent.NewForecast(ctx, a.EC2, a.Cluster, a.Node, a.Identity, w.NodeENIs, w.Labels)
	})
	if e.ForecastErr = err; err != nil {
		for _, action := range slices.Concat(needed, removal) {
			e.Untried[action] = "not tested, because the doctor could not get the required IDs from EC2"
		}
		return e
	}
	e.Forecast = &f
	if ids := groupsOf(f); len(ids) > 0 {
		e.Groups, e.GroupsErr = insist(func() ([]eni.Group, error) { return a.EC2.GroupsByID(ctx, ids) })
	}
	e.InstanceType, e.InstanceTypeErr = insist(func() (eni.InstanceType, error) { return a.EC2.InstanceType(ctx, a.Identity.InstanceType) })
	e.Done = map[string]bool{
		"DescribeNetworkInterfaces": true,
		"DescribeSubnets":           len(f.Subnets) > 0,
		"DescribeSecurityGroups":    len(e.Groups) > 0,
		"DescribeInstanceTypes":     e.InstanceType.MaxENIs > 0,
	}
	if err := e.notDry(); err != nil {
		for _, action := range slices.Concat(needed, removal) {
			e.Untried[action] = fmt.Sprintf("not tested, because this endpoint does not support dry runs: %v", err)
		}
		return e
	}
	e.tryChanges(ctx, a, w)
	return e
}

// notDry says why the endpoint cannot be trusted with a dry run of a change, or nil:
// it did not take a dry run of a describe for one, though the describe is allowed.
func (e *EC2) notDry() error {
	for _, a := range e.Attempts {
		if a.Err != nil && e.Done[a.Action] && !eni.IsUnauthorized(a.Err) && !eni.IsThrottled(a.Err) && eni.Reason(a.Err) != "NoAnswer" {
			return a.Err
		}
		if errors.Is(a.Err, eni.ErrNotDry) {
			return a.Err
		}
	}
	return nil
}

// tryChanges dry-runs what an agent does with ENIs: it creates them as the NodeENIs
// say, or, without any, in the primary ENI's place; and it attaches and changes
// one of its own. Only one of its own tells: a policy may allow nothing else.
func (e *EC2) tryChanges(ctx context.Context, a Asker, w *Wanted) {
	tried := map[string]bool{}
	for _, want := range e.Forecast.ENIs {
		if !tried[want.NodeENI] {
			tried[want.NodeENI] = true
			e.try(ctx, "NodeENI "+want.NodeENI, []eni.DryRun{a.EC2.DryRunCreate(want.Create)})
		}
	}
	for _, p := range e.Forecast.Attached {
		if isPrimary(p) && len(tried) == 0 {
			owner := eni.Owner{Cluster: a.Cluster, Node: a.Node, Instance: a.Identity.InstanceARN(), NodeENI: "doctor", NodeENIUID: "doctor", CreatedAt: time.Now()}
			e.try(ctx, "", []eni.DryRun{a.EC2.DryRunCreate(eni.CreateParams{Owner: owner, SubnetID: p.SubnetID, Groups: p.Groups})})
		}
	}
	i := slices.IndexFunc(e.Forecast.Own, func(own eni.ENI) bool { return own.Attachment != nil })
	switch {
	case len(e.Forecast.Own) == 0:
		for _, action := range append([]string{"AttachNetworkInterface", "ModifyNetworkInterfaceAttribute"}, removal...) {
			e.Untried[action] = "not tested: a dry run needs an ENI that was created for this instance, and none exists yet"
		}
		return
	case i < 0:
		i = 0
		e.Untried["DetachNetworkInterface"] = "not tested: a dry run needs an attached ENI"
	}
	own := e.Forecast.Own[i]
	e.try(ctx, own.ID, a.EC2.DryRunChanges(own, a.Identity.InstanceID))
	if w.Standalone {
		e.try(ctx, own.ID, a.EC2.DryRunRemoval(own))
	}
}

func (e *EC2) try(ctx context.Context, about string, runs []eni.DryRun) {
	for _, run := range runs {
		_, err := insist(func() (struct{}, error) { return struct{}{}, run.Run(ctx) })
		e.Attempts = append(e.Attempts, Attempt{run.Action, about, err})
	}
}

// groupsOf are the ids of all security groups that are wanted.
func groupsOf(f agent.Forecast) []string {
	var ids []string
	for _, e := range f.ENIs {
		ids = append(ids, e.Create.Groups...)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}
