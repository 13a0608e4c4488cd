package query

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

func (r *rig) modify(eni *string, change func(*ec2.ModifyNetworkInterfaceAttributeInput)) error {
	in := &ec2.ModifyNetworkInterfaceAttributeInput{NetworkInterfaceId: eni}
	change(in)
	_, err := r.ec2.ModifyNetworkInterfaceAttribute(r.ctx, in)
	return err
}

func (r *rig) mustModify(eni *string, change func(*ec2.ModifyNetworkInterfaceAttributeInput)) {
	r.Helper()
	if err := r.modify(eni, change); err != nil {
		r.Fatal(err)
	}
}

func TestConnectionTracking(t *testing.T) {
	r := newRig(t)
	spec := func(tcp, stream, udp int32) *types.ConnectionTrackingSpecificationRequest {
		s := &types.ConnectionTrackingSpecificationRequest{}
		for field, value := range map[**int32]int32{&s.TcpEstablishedTimeout: tcp, &s.UdpStreamTimeout: stream, &s.UdpTimeout: udp} {
			if value >= 0 {
				*field = &value
			}
		}
		return s
	}
	if got := r.create(subnetA).ConnectionTrackingConfiguration; got != nil {
		t.Errorf("without a specification: %+v", got)
	}
	eni := r.createWith(subnetA, func(in *ec2.CreateNetworkInterfaceInput) { in.ConnectionTrackingSpecification = spec(350, -1, 60) })
	r.attach(eni.NetworkInterfaceId, r.host(subnetA).ID, 1)
	r.mustModify(eni.NetworkInterfaceId, func(in *ec2.ModifyNetworkInterfaceAttributeInput) {
		in.ConnectionTrackingSpecification = spec(432000, 180, -1)
	})
	got := r.describe(eni.NetworkInterfaceId).ConnectionTrackingConfiguration
	if got == nil || *got.TcpEstablishedTimeout != 432000 || *got.UdpStreamTimeout != 180 || *got.UdpTimeout != 60 {
		t.Errorf("after modify: %+v", got)
	}
	for _, bad := range []*types.ConnectionTrackingSpecificationRequest{
		spec(59, -1, -1), spec(432001, -1, -1), spec(0, -1, -1), spec(-1, 59, -1), spec(-1, 181, -1), spec(-1, -1, 29), spec(-1, -1, 61),
	} {
		r.wantCode(r.modify(eni.NetworkInterfaceId, func(in *ec2.ModifyNetworkInterfaceAttributeInput) { in.ConnectionTrackingSpecification = bad }), "InvalidParameterValue")
		_, err := r.ec2.CreateNetworkInterface(r.ctx, &ec2.CreateNetworkInterfaceInput{SubnetId: aws.String(subnetA), ConnectionTrackingSpecification: bad})
		r.wantCode(err, "InvalidParameterValue")
	}
	r.wantCode(r.modify(eni.NetworkInterfaceId, func(in *ec2.ModifyNetworkInterfaceAttributeInput) {
		in.ConnectionTrackingSpecification = spec(350, -1, -1)
		in.SourceDestCheck = &types.AttributeBooleanValue{Value: aws.Bool(false)}
	}), "InvalidParameterCombination")
}

func enaSrd(enabled, udp *bool) *types.EnaSrdSpecification {
	s := &types.EnaSrdSpecification{EnaSrdEnabled: enabled}
	if udp != nil {
		s.EnaSrdUdpSpecification = &types.EnaSrdUdpSpecification{EnaSrdUdpEnabled: udp}
	}
	return s
}

func TestENAExpress(t *testing.T) {
	r := newRig(t)
	host := r.hostOf("m6i.8xlarge")
	eni := r.create(subnetA)
	on, off := aws.Bool(true), aws.Bool(false)
	set := func(enabled, udp *bool) error {
		return r.modify(eni.NetworkInterfaceId, func(in *ec2.ModifyNetworkInterfaceAttributeInput) { in.EnaSrdSpecification = enaSrd(enabled, udp) })
	}
	r.wantCode(set(on, nil), "IncorrectState")
	r.wantCode(r.attachWith(eni.NetworkInterfaceId, host, func(in *ec2.AttachNetworkInterfaceInput) { in.EnaSrdSpecification = enaSrd(off, on) }), "InvalidParameterCombination")
	if err := r.attachWith(eni.NetworkInterfaceId, host, func(in *ec2.AttachNetworkInterfaceInput) { in.EnaSrdSpecification = enaSrd(on, nil) }); err != nil {
		t.Fatal(err)
	}
	want := func(step string, enabled, udp bool) {
		t.Helper()
		got := r.describe(eni.NetworkInterfaceId).Attachment.EnaSrdSpecification
		if got == nil || *got.EnaSrdEnabled != enabled || *got.EnaSrdUdpSpecification.EnaSrdUdpEnabled != udp {
			t.Errorf("%s: %+v", step, got)
		}
	}
	want("attached", true, false)
	if err := set(nil, on); err != nil {
		t.Fatal(err)
	}
	want("with UDP", true, true)
	if err := set(off, nil); err != nil {
		t.Fatal(err)
	}
	want("off", false, false)
	if got := r.describe(r.create(subnetA).NetworkInterfaceId).Attachment; got != nil {
		t.Errorf("not attached: %+v", got)
	}
}

// m6i.8xlarge has 64 queues here, 32 for an ENI at most and 8 by default.
func TestENAQueues(t *testing.T) {
	r := newRig(t)
	host := r.hostOf("m6i.8xlarge")
	var ids []string
	attach := func(index, queues int32) error {
		eni := r.create(subnetA)
		in := attachInput(eni.NetworkInterfaceId, host, index)
		if queues > 0 {
			in.EnaQueueCount = &queues
		}
		out, err := r.ec2.AttachNetworkInterface(r.ctx, in)
		if err == nil {
			ids = append(ids, *eni.NetworkInterfaceId, *out.AttachmentId)
		}
		return err
	}
	r.wantCode(attach(1, 33), "InvalidParameterValue")
	if err := attach(1, 32); err != nil { // 40 with the primary ENI
		t.Fatal(err)
	}
	r.wantCode(attach(2, 25), "InvalidParameterValue")
	if err := attach(2, 24); err != nil {
		t.Fatal(err)
	}
	r.wantCode(attach(3, 0), "InvalidParameterValue") // not even for the default
	eni, id := ids[0], ids[1]
	change := func(count *int32, byDefault, deleted *bool) error {
		return r.modify(&eni, func(in *ec2.ModifyNetworkInterfaceAttributeInput) {
			in.Attachment = &types.NetworkInterfaceAttachmentChanges{AttachmentId: &id, EnaQueueCount: count, DefaultEnaQueueCount: byDefault, DeleteOnTermination: deleted}
		})
	}
	want := func(step string, count int32, deleted bool) {
		t.Helper()
		a := r.describe(&eni).Attachment
		if got := aws.ToInt32(a.EnaQueueCount); got != count || *a.DeleteOnTermination != deleted {
			t.Errorf("%s: %d queues, DeleteOnTermination %v", step, got, *a.DeleteOnTermination)
		}
	}
	want("attached", 32, false)
	if err := change(aws.Int32(16), nil, aws.Bool(true)); err != nil {
		t.Fatal(err)
	}
	want("fewer", 16, true)
	r.wantCode(change(aws.Int32(16), aws.Bool(true), nil), "InvalidParameterCombination")
	r.wantCode(change(aws.Int32(0), nil, nil), "InvalidParameterValue")
	if err := change(nil, aws.Bool(true), nil); err != nil {
		t.Fatal(err)
	}
	want("by default", 0, true)
}
