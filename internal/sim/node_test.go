package sim

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/vishvananda/netlink"

	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// subnetEnv tells the process on the node which subnet to use.
const subnetEnv = "SIM_TEST_SUBNET"

// TestProcessOnANode runs TestAsAgent in a node's namespace, with no more in
// its environment than the simulator says.
func TestProcessOnANode(t *testing.T) {
	for name, links := range map[string]string{"eth": "eth%d", "ens": "ens%d"} {
		t.Run(name, func(t *testing.T) {
			var topology Topology
			topology.Links.Names, topology.Links.Rename = links, name == "ens"
			s := start(t, Config{Topology: topology})
			n := node(t, s, "node-2")
			cmd := exec.Command("/proc/self/exe", "-test.run=^TestAsAgent$", "-test.v")
			cmd.Env = append(s.Env(n), "HOME="+t.TempDir(), subnetEnv+"="+s.Topology().Subnets[4].ID)
			cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
			var out strings.Builder
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := n.Namespace.Start(cmd); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err != nil || !strings.Contains(out.String(), "--- PASS: TestAsAgent") {
				t.Fatalf("%v:\n%s", err, out.String())
			}
			calls := s.Cloud().Calls()
			if len(calls) < 4 {
				t.Errorf("only %d calls are logged", len(calls))
			}
			for _, call := range calls {
				if call.SourceID != cloud.AccessKeyID(n.ID) {
					t.Errorf("%s came from %s, not from the node", call.Action, call.SourceID)
				}
			}
		})
	}
}

// TestAsAgent goes the way of an agent with the real SDK: who am I, create,
// attach, the link appears, detach, it is gone, delete.
func TestAsAgent(t *testing.T) {
	subnet := os.Getenv(subnetEnv)
	if subnet == "" {
		return // runs within TestProcessOnANode
	}
	ctx := t.Context()
	sdk, err := config.LoadDefaultConfig(ctx, config.WithEC2IMDSRegion())
	check(t, err)
	identity, err := imds.NewFromConfig(sdk).GetInstanceIdentityDocument(ctx, nil)
	check(t, err)
	if identity.AvailabilityZone != "us-east-1b" {
		t.Errorf("identity %+v", identity)
	}
	api := ec2.NewFromConfig(sdk)
	created, err := api.CreateNetworkInterface(ctx, &ec2.CreateNetworkInterfaceInput{SubnetId: &subnet})
	check(t, err)
	eni := created.NetworkInterface
	attached, err := api.AttachNetworkInterface(ctx, &ec2.AttachNetworkInterfaceInput{
		NetworkInterfaceId: eni.NetworkInterfaceId, InstanceId: &identity.InstanceID,
		DeviceIndex: aws.Int32(1), NetworkCardIndex: aws.Int32(0),
	})
	check(t, err)
	eventually(t, "the ENI is a link of the node", func() bool { return hasLink(t, *eni.MacAddress) })
	_, err = api.DetachNetworkInterface(ctx, &ec2.DetachNetworkInterfaceInput{AttachmentId: attached.AttachmentId})
	check(t, err)
	eventually(t, "the link is gone", func() bool { return !hasLink(t, *eni.MacAddress) })
	eventually(t, "the ENI can be deleted", func() bool {
		_, err := api.DeleteNetworkInterface(ctx, &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: eni.NetworkInterfaceId})
		return err == nil
	})
}

func hasLink(t *testing.T, mac string) bool {
	t.Helper()
	links := must[[]netlink.Link](t)(netlink.LinkList())
	return slices.ContainsFunc(links, func(l netlink.Link) bool { return l.Attrs().HardwareAddr.String() == mac })
}
