package e2e

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/vishvananda/netlink"
	apitypes "k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// former does what aws-multi-eni-controller does: with its calls, its tags and its form of
// status.attachments. The facts are those of its releases 1.x.
type former struct {
	*cluster
	ec2 *ec2.Client
}

func (c *cluster) former() former {
	return former{c, ec2.NewFromConfig(aws.Config{
		Region: c.Sim.Topology().Region, BaseEndpoint: aws.String(c.Sim.EC2URL()),
		Credentials: credentials.NewStaticCredentialsProvider("former", "secret", ""),
	})}
}

// create creates and attaches the ENI of a NodeENI on a node in a subnet, and returns its
// entry in status.attachments.
func (f former) create(nodeENI, node, subnet string, index int32) map[string]any {
	f.t.Helper()
	n := f.instance(node)
	var tags []types.Tag
	for key, value := range map[string]string{
		"Name":    fmt.Sprintf("nodeeni-%s-%s-%s", nodeENI, node, subnet[len(subnet)-8:]),
		"NodeENI": nodeENI, "Node": node, "SubnetID": subnet,
		"kubernetes.io/cluster/managed-by": "nodeeni-controller", "node.k8s.amazonaws.com/no_manage": "true",
	} {
		tags = append(tags, types.Tag{Key: aws.String(key), Value: aws.String(value)})
	}
	created, err := f.ec2.CreateNetworkInterface(f.t.Context(), &ec2.CreateNetworkInterfaceInput{
		Description: aws.String("ENI created by nodeeni-controller for node " + node), SubnetId: aws.String(subnet), Groups: []string{f.group("data")},
		TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeNetworkInterface, Tags: tags}},
	})
	f.must(err)
	id := created.NetworkInterface.NetworkInterfaceId
	attached, err := f.ec2.AttachNetworkInterface(f.t.Context(), &ec2.AttachNetworkInterfaceInput{
		DeviceIndex: aws.Int32(index), InstanceId: aws.String(n.ID), NetworkInterfaceId: id,
	})
	f.must(err)
	_, err = f.ec2.ModifyNetworkInterfaceAttribute(f.t.Context(), &ec2.ModifyNetworkInterfaceAttributeInput{
		NetworkInterfaceId: id, Attachment: &types.NetworkInterfaceAttachmentChanges{AttachmentId: attached.AttachmentId, DeleteOnTermination: aws.Bool(true)},
	})
	f.must(err)
	return map[string]any{
		"nodeID": node, "instanceID": n.ID, "eniID": *id, "attachmentID": *attached.AttachmentId, "subnetID": subnet, "subnetCIDR": f.ranges(subnet)[0].String(),
		"mtu": 9001, "deviceIndex": index, "status": "attached", "lastUpdated": time.Now().UTC().Format(time.RFC3339),
	}
}

// record writes what it keeps in a NodeENI.
func (f former) record(name string, attachments []map[string]any) {
	f.t.Helper()
	f.must(f.PatchNodeENI(f.t.Context(), name, `{"metadata":{"finalizers":["nodeeni.networking.k8s.aws/finalizer"]}}`))
	status, err := json.Marshal(map[string]any{"status": map[string]any{"attachments": attachments}})
	f.must(err)
	f.must(f.Client.API.Patch(apitypes.MergePatchType).Resource(kube.NodeENIs).Name(name).SubResource("status").Body(status).Do(f.t.Context()).Error())
}

// setUp does to a link what its DaemonSet eni-manager does.
func (f former) setUp(node string, e cloud.Interface) {
	f.t.Helper()
	var link netlink.Link
	f.await("the link of "+e.ID, func() string {
		l, ok := f.host(node).linkOf(e.MAC)
		if !ok {
			return "it is not there"
		}
		link = l
		return ""
	})
	f.onHost(node, func(h *netlink.Handle) error {
		if err := h.LinkSetMTU(link, 9001); err != nil {
			return err
		}
		return h.LinkSetUp(link)
	})
}

// formerWorkloads are the objects of its manifests, as far as they matter.
const formerWorkloads = `
apiVersion: v1
kind: Namespace
metadata: {name: eni-controller-system}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: eni-controller, namespace: eni-controller-system, labels: {app: eni-controller}}
spec:
  replicas: 1
  selector: {matchLabels: {app: eni-controller}}
  template:
    metadata: {labels: {app: eni-controller}}
    spec: {containers: [{name: manager, image: ghcr.io/johnlam90/aws-multi-eni-controller:v1.3.9}]}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: eni-manager, namespace: eni-controller-system, labels: {app: eni-manager}}
spec:
  selector: {matchLabels: {app: eni-manager}}
  template:
    metadata: {labels: {app: eni-manager}}
    spec: {nodeSelector: {ng: multi-eni}, containers: [{name: eni-manager, image: ghcr.io/johnlam90/aws-multi-eni-controller:v1.3.9}]}
---
apiVersion: coordination.k8s.io/v1
kind: Lease
metadata: {name: nodeeni-controller-leader-election, namespace: eni-controller-system}
spec: {holderIdentity: eni-controller-5d8f7c_1, leaseDurationSeconds: 15, renewTime: "%s"}
`

// workloads starts its programs, as far as the API server shows them: no controller and no
// kubelet runs here, so their status is written by hand.
func (f former) workloads(replicas, nodes int, renewed time.Time) {
	f.t.Helper()
	f.must(f.Apply(f.t.Context(), fmt.Sprintf(formerWorkloads, renewed.UTC().Format("2006-01-02T15:04:05.000000Z"))))
	const apps = "/apis/apps/v1/namespaces/eni-controller-system/"
	for path, body := range map[string]string{
		apps + "deployments/eni-controller":    fmt.Sprintf(`{"spec":{"replicas":%d}}`, replicas),
		apps + "daemonsets/eni-manager/status": fmt.Sprintf(`{"status":{"currentNumberScheduled":%d,"desiredNumberScheduled":%d,"numberReady":0,"numberMisscheduled":0,"observedGeneration":9}}`, nodes, nodes),
	} {
		f.must(f.Client.Core.Patch(apitypes.MergePatchType).AbsPath(path).Body([]byte(body)).Do(f.t.Context()).Error())
	}
}
