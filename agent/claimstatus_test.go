package agent

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/driver"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// conditionsIn are a status's conditions in short.
func conditionsIn(status kube.AllocatedDevice) string {
	var texts []string
	for _, c := range status.Conditions {
		texts = append(texts, fmt.Sprintf("%s=%s %s", strings.TrimPrefix(c.Type, driver.TaintPrefix), c.Status, c.Reason))
	}
	return strings.Join(texts, ", ")
}

func TestDeviceStatus(t *testing.T) {
	now := time.Unix(10_000, 0)
	c := claimOf("x", "a-0")
	in := func(phase v1alpha1.Phase, reason string) progress {
		return progress{entry: v1alpha1.ENIState{Phase: phase, Reason: reason, Message: "because", SubnetID: subnetA, SubnetCIDR: "10.0.1.0/24", SubnetIPv6CIDRs: []string{"fd00::/64"},
			ENIID: "eni-0", MAC: "02:00:00:00:00:01", InterfaceName: "eth1", Addresses: []string{"10.0.1.4", "fd00::4"}}}
	}
	ready := in(v1alpha1.PhaseReady, "Ready")
	waiting := in(v1alpha1.PhaseFailed, "AttachmentLimitExceeded")
	waiting.awaitsRoom = true
	for name, test := range map[string]struct {
		steps []progress
		want  string
	}{
		"nothing yet":                      {[]progress{{}}, ""},
		"on its way":                       {[]progress{in(v1alpha1.PhasePending, "Creating"), in(v1alpha1.PhaseAttaching, "Attaching"), in(v1alpha1.PhaseConfiguring, "LinkMissing")}, ""},
		"ready":                            {[]progress{ready}, "Attached=True Ready"},
		"EC2 is in trouble":                {[]progress{in(v1alpha1.PhasePending, "InternalError")}, "Attached=False InternalError"},
		"EC2 was in trouble":               {[]progress{in(v1alpha1.PhasePending, "InternalError"), ready}, "Attached=True Ready"},
		"a subnet is full":                 {[]progress{in(v1alpha1.PhasePending, "InsufficientFreeAddressesInSubnet")}, "Attached=False InsufficientFreeAddressesInSubnet, AttachFailed=True InsufficientFreeAddressesInSubnet"},
		"a group is gone":                  {[]progress{in(v1alpha1.PhaseFailed, "InvalidGroup.NotFound")}, "Attached=False InvalidGroupNotFound, AttachFailed=True InvalidGroupNotFound"},
		"one that is leaving makes room":   {[]progress{waiting}, "Attached=False AttachmentLimitExceeded"},
		"failed, and then not":             {[]progress{in(v1alpha1.PhaseFailed, "UnauthorizedOperation"), ready}, "Attached=True Ready, AttachFailed=False Ready"},
		"lost after the pod may be bound":  {[]progress{ready, in(v1alpha1.PhaseConfiguring, "LinkGone")}, "Attached=False LinkGone"},
		"changes after it was ready":       {[]progress{ready, in(v1alpha1.PhaseConfiguring, "SettingAttributes")}, "Attached=True Ready"},
		"fails after the pod may be bound": {[]progress{ready, in(v1alpha1.PhaseFailed, "UnauthorizedOperation")}, "Attached=False UnauthorizedOperation"},
	} {
		t.Run(name, func(t *testing.T) {
			var before *kube.AllocatedDevice
			for _, p := range test.steps {
				after := deviceStatus(c, "node", p, before, now)
				if again := deviceStatus(c, "node", p, &after, now.Add(time.Hour)); !equality.Semantic.DeepEqual(after, again) {
					t.Errorf("it would be written again:\n%+v\n%+v", after, again)
				}
				before = &after
			}
			if got := conditionsIn(*before); got != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
			if before.Driver != driver.Name || before.Pool != "node" || before.Device != "a-0" {
				t.Errorf("%+v", before)
			}
		})
	}
	lost := kube.AllocatedDevice{Conditions: []metav1.Condition{{Type: driver.ConditionAttachFailed, Status: metav1.ConditionTrue, Reason: "NodeLost"}}}
	if got := conditionsIn(deviceStatus(c, "node", ready, &lost, now)); got != "AttachFailed=False Ready, Attached=True Ready" {
		t.Errorf("after the coordinator took the node for lost: %s", got)
	}
	status := deviceStatus(c, "node", ready, nil, now)
	var data deviceData
	if err := json.Unmarshal(status.Data, &data); err != nil || data != (deviceData{"eni-0", subnetA}) {
		t.Errorf("data is %s", status.Data)
	}
	if n := status.NetworkData; n.InterfaceName != "eth1" || n.HardwareAddress != "02:00:00:00:00:01" || !slices.Equal(n.IPs, []string{"10.0.1.4/24", "fd00::4/64"}) {
		t.Errorf("networkData is %+v", n)
	}
	ready.link, ready.entry.Message = "eni0", "because; "+linkIsIn+"default/p"
	if moved := deviceStatus(c, "node", ready, &status, now); moved.NetworkData.InterfaceName != "eni0" || conditionsIn(moved) != conditionsIn(status) || moved.Conditions[0].Message != "because" {
		t.Errorf("in the pod: %+v %+v", moved, moved.NetworkData)
	}
}
