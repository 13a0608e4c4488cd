package agent_test

import (
	"net/netip"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/aws/aws-sdk-go-v2/aws"
	"k8s.io/utils/ptr"

	"github.com/aws-multi-eni/aws-multi-eni/agent"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/draw"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/podnetwork"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

// someENI is one of ours, if there is any.
func (w *world) someENI() (cloud.Interface, bool) {
	all := w.living()
	if len(all) == 0 {
		return cloud.Interface{}, false
	}
	return all[w.choices.N(len(all))], true
}

// meddle detaches or deletes one of our ENIs by hand.
func (w *world) meddle() {
	e, ok := w.someENI()
	if !ok {
		return
	}
	w.loseLinks()
	if e.Attachment != nil {
		_ = w.cloud.DetachByHand(e.ID)
		if w.choices.Bool() {
			return
		}
		time.Sleep(100 * time.Second)
	}
	_ = w.cloud.DeleteByHand(e.ID)
}

// loseLinks is called before links vanish.
func (w *world) loseLinks() {
	w.doubt(true, w.cloud.Timing().DescribeLag > linkedWindow)
}

// takeLinks moves links into a pod, or back.
func (w *world) takeLinks() {
	w.loseLinks()
	what := w.choices.N(4) // one byte for both, as for the first of them alone
	taken := what%2 == 1
	w.releasePods()
	if taken && what/2 == 1 {
		for _, e := range w.living() {
			w.attach(e.ID, podnetwork.HostDevice, e)
		}
	}
	w.host.take(taken)
}

// edit changes an attribute of one of our ENIs by hand.
func (w *world) edit() {
	e, ok := w.someENI()
	if !ok {
		return
	}
	in := cloud.ModifyNetworkInterfaceAttributeInput{NetworkInterfaceID: e.ID}
	switch w.choices.N(5) {
	case 4:
		_ = w.cloud.CreateTags([]string{e.ID}, map[string]string{eni.TagNodeENIUID: draw.Of(w.choices, "uid-gone", "uid-b", "uid-b-2")})
		return
	case 0:
		in.GroupIDs = draw.Of(w.choices, []string{groupX}, []string{groupY}, []string{groupX, groupY})
	case 1:
		in.Description = aws.String("edited")
	case 2:
		in.SourceDestCheck = aws.Bool(!e.SourceDestCheck)
	case 3:
		if e.Attachment == nil {
			return
		}
		in.Attachment = &cloud.AttachmentChange{AttachmentID: e.Attachment.ID, DeleteOnTermination: !e.Attachment.DeleteOnTermination}
	}
	_ = w.cloud.ModifyNetworkInterfaceAttribute(in) // it may be gone
}

// readdress assigns addresses to one of our ENIs by hand, or takes them away.
func (w *world) readdress() {
	e, ok := w.someENI()
	if !ok {
		return
	}
	if secondary := e.PrivateIPs[1:]; len(secondary) > 0 && w.choices.Bool() {
		_ = w.cloud.UnassignPrivateIPAddresses(e.ID, secondary[:1+w.choices.N(len(secondary))])
		return
	}
	what := w.choices.N(6) // of IPv4 for less than 2, as before there was IPv6
	request := cloud.AddressRequest{Count: ptr.To(1 + what%2)}
	switch {
	case what < 2:
		_, _ = w.cloud.AssignIPv4(cloud.AssignInput{NetworkInterfaceID: e.ID, AddressRequest: request})
	case what < 4 || len(e.IPv6Addresses) == 0:
		_, _ = w.cloud.AssignIPv6(cloud.AssignInput{NetworkInterfaceID: e.ID, AddressRequest: request})
	default:
		_ = w.cloud.UnassignIPv6(e.ID, cloud.Assigned{Addresses: e.IPv6Addresses[:1]})
	}
}

// intrude attaches an ENI that is not ours, where ours may be wanted.
func (w *world) intrude() {
	if len(w.foreign) > 3 {
		return
	}
	e, err := w.cloud.CreateNetworkInterface(cloud.CreateNetworkInterfaceInput{SubnetID: subnetA, Description: "of the CNI"})
	if err != nil {
		return // the subnet is full
	}
	index := int32(1 + w.choices.N(4))
	for ; index < 15; index++ {
		if _, err := w.cloud.AttachNetworkInterface(cloud.AttachNetworkInterfaceInput{
			NetworkInterfaceID: e.ID, InstanceID: w.self.InstanceID, DeviceIndex: index,
		}); err == nil {
			break
		}
	}
	time.Sleep(6 * time.Second) // attached
	now, _ := w.cloud.Interface(e.ID)
	w.foreign = append(w.foreign, now)
}

// loseReport deletes the report by hand, with the Node or without.
func (w *world) loseReport() {
	gone := w.choices.Bool() && !w.alone
	w.distrustReport()
	w.memory.set(func(m *memory) {
		m.report, m.lost = v1alpha1.NodeENIStateStatus{}, true
		m.wanted.NodeExists = !gone
	})
	if !gone {
		return
	}
	time.Sleep(draw.Of(w.choices, time.Second, 30*time.Second, 3*time.Minute))
	w.change(func(s *agent.Snapshot) { s.NodeExists = true })
}

// distrustReport: what was asked for may be forgotten.
func (w *world) distrustReport() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.doubles, w.since = true, time.Now()
}

// lie edits the report by hand. The agent finds out soon, or starts from it.
func (w *world) lie() {
	c := w.choices
	w.distrustReport()
	w.memory.set(func(m *memory) {
		m.edited = true
		if m.lost = true; len(m.report.ENIs) == 0 {
			m.report.ENIs = []v1alpha1.ENIState{{NodeENI: "a", NodeENIUID: "uid-a-1", SubnetID: subnetA, Phase: v1alpha1.PhaseReady, Reason: "Ready"}}
		}
		for range 1 + c.N(3) {
			w.falsify(&m.report, &m.report.ENIs[c.N(len(m.report.ENIs))])
		}
	})
	if c.Bool() {
		w.restart()
	}
}

// falsify changes one thing about a report.
func (w *world) falsify(r *v1alpha1.NodeENIStateStatus, e *v1alpha1.ENIState) {
	c := w.choices
	victim := w.foreign[c.N(len(w.foreign))]
	switch c.N(10) {
	case 0:
		e.Phase = draw.Of(c, v1alpha1.PhasePending, v1alpha1.PhaseAttaching, v1alpha1.PhaseConfiguring, v1alpha1.PhaseReady,
			v1alpha1.PhaseFailed, v1alpha1.PhaseReleasing, v1alpha1.PhaseReleased, "Nonsense")
	case 1:
		e.Reason = draw.Of(c, "", "Deleting", "LinkOverdue", "UnauthorizedOperation")
	case 2: // a whole foreign ENI
		e.ENIID, e.MAC, e.Addresses, e.AttachmentID = victim.ID, victim.MAC, []string{victim.PrivateIPs[0].String()}, victim.Attachment.ID
	case 3:
		e.ENIID = draw.Of(c, "", victim.ID, "eni-0123456789abcdef0", "nonsense")
	case 4:
		e.MAC = draw.Of(c, "", victim.MAC, "02:00:00:00:00:99", "nonsense")
	case 5:
		e.NodeENIUID = draw.Of(c, "", "uid-gone", types.UID("uid-b"), "uid-b-2")
	case 6:
		e.CreatedAt = draw.Of(c, nil, &metav1.Time{Time: time.Now().Add(-time.Hour)}, &metav1.Time{Time: time.Now().Add(24 * time.Hour)})
	case 7:
		e.Replaces, e.SubnetID = draw.Of(c, "", victim.ID), draw.Of(c, e.SubnetID, subnetA2, "")
	case 8:
		e.Addresses = draw.Of(c, nil, []string{netip.MustParseAddr("10.0.1.77").String()}, []string{"nonsense"})
	case 9:
		r.ENIs = append(slices.Clone(r.ENIs), *e)
	}
	w.host.mu.Lock()
	defer w.host.mu.Unlock()
	w.host.lied = true // after a reboot without EC2 a link is configured as the report has it
}
