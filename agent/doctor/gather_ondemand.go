package doctor

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/aws-multi-eni/aws-multi-eni/agent/apiserver"
	"github.com/aws-multi-eni/aws-multi-eni/internal/driver"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// Roles of files on the host.
const (
	pluginRegistry = "the kubelet's directory for the registration of plugins"
	pluginSocket   = "the socket on which eni-dra serves the kubelet"
	registration   = "the socket with which eni-dra registers with the kubelet"
	nriSocket      = "the NRI socket of the container runtime"
)

// Look looks for the files that ENIs on demand need on a host whose file system is at path.
// The kubelet may be nil.
func (o *OnDemand) Look(at string, kubelet *Kubelet) {
	r := root(at)
	o.KubeletDir = kubelet.rootDir()
	o.Missing = map[string]string{}
	for role, path := range map[string]string{
		pluginRegistry: driver.RegistrationDir(o.KubeletDir),
		pluginSocket:   driver.PluginSocket(o.KubeletDir),
		registration:   driver.RegistrationSocket(o.KubeletDir),
		nriSocket:      driver.DefaultNRISocket,
	} {
		// /var/run is usually a link to /run, which does not lead to that of the host in a container.
		if !r.exists(path) && !r.exists(strings.TrimPrefix(path, "/var")) {
			o.Missing[role] = path
		}
	}
}

// rootDir is the kubelet's flag --root-dir.
func (k *Kubelet) rootDir() string {
	if k != nil {
		for _, arg := range k.Args {
			if dir, is := strings.CutPrefix(arg, "--root-dir="); is {
				return dir
			}
		}
	}
	return driver.DefaultKubeletDir
}

// GatherOnDemandAPI asks the API server for what it has for ENIs on demand.
func GatherOnDemandAPI(ctx context.Context, client *kube.Client, node string) *OnDemandAPI {
	a := &OnDemandAPI{SlicesErr: apiserver.CheckOnDemand(ctx, client, node)}
	for _, right := range onDemandRights {
		allowed, err := right.allowed(ctx, client)
		if err != nil {
			a.LackingErr = err
			break
		}
		if !allowed {
			a.Lacking = append(a.Lacking, right.String())
		}
	}
	_, a.ClassErr = client.Resource.Get().Resource("deviceclasses").Name(driver.Name).Do(ctx).Raw()
	return a
}

// right is a permission.
type right struct {
	Group    string `json:"group,omitempty"`
	Resource string `json:"resource"`
	Sub      string `json:"subresource,omitempty"`
	Name     string `json:"name,omitempty"`
	Verb     string `json:"verb"`
}

// onDemandRights are those of the ClusterRole eni-agent-on-demand.
var onDemandRights = slices.Concat(
	rights(right{Resource: kube.Pods}, "list", "watch"),
	rights(right{Group: kube.ResourceGroupVersion.Group, Resource: kube.ResourceClaims}, "get", "list", "watch"),
	rights(right{Group: kube.ResourceGroupVersion.Group, Resource: kube.ResourceClaims, Sub: "status"}, "patch"),
	rights(right{Group: kube.ResourceGroupVersion.Group, Resource: kube.ResourceClaims, Sub: "driver", Name: driver.Name}, "associated-node:patch"),
	rights(right{Group: kube.ResourceGroupVersion.Group, Resource: kube.ResourceSlices}, "list", "watch", "create", "update", "delete"),
)

func rights(of right, verbs ...string) (all []right) {
	for _, verb := range verbs {
		of.Verb = verb
		all = append(all, of)
	}
	return all
}

func (r right) String() string {
	return r.Verb + " " + strings.TrimSuffix(r.Resource+"/"+r.Sub, "/")
}

// allowed asks the API server whether these credentials have the permission.
func (r right) allowed(ctx context.Context, client *kube.Client) (bool, error) {
	review := map[string]any{
		"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
		"spec": map[string]any{"resourceAttributes": r},
	}
	body, err := json.Marshal(review)
	if err != nil {
		return false, err
	}
	data, err := client.Core.Post().AbsPath("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews").SetHeader("Content-Type", "application/json").Body(body).Do(ctx).Raw()
	if err != nil {
		return false, err
	}
	var answer struct {
		Status struct{ Allowed bool }
	}
	err = json.Unmarshal(data, &answer)
	return answer.Status.Allowed, err
}

// GatherDRA finds the container eni-dra of the agent's pod on a node.
func GatherDRA(ctx context.Context, client *kube.Client, node string) *Container {
	const name = "eni-dra"
	data, err := client.Core.Get().Resource(kube.Pods).
		Param("fieldSelector", "spec.nodeName="+node).Param("labelSelector", "app.kubernetes.io/name=aws-multi-eni,app.kubernetes.io/component=agent").Do(ctx).Raw()
	if err != nil {
		return &Container{Err: err}
	}
	var pods struct {
		Items []struct {
			Metadata struct{ Namespace, Name string }
			Spec     struct{ Containers []struct{ Name string } }
			Status   struct {
				ContainerStatuses []struct {
					Name  string
					Ready bool
				}
			}
		}
	}
	if err := json.Unmarshal(data, &pods); err != nil {
		return &Container{Err: err}
	}
	c := new(Container)
	for _, pod := range pods.Items {
		c.Namespace, c.Pod = pod.Metadata.Namespace, pod.Metadata.Name
		for _, container := range pod.Spec.Containers {
			c.Exists = c.Exists || container.Name == name
		}
		for _, container := range pod.Status.ContainerStatuses {
			c.Ready = c.Ready || container.Name == name && container.Ready
		}
	}
	return c
}
