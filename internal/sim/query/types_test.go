package query

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

func (r *rig) hostOf(instanceType string) string {
	r.Helper()
	return must[cloud.Instance](r)(r.cloud.RunInstance(cloud.RunInstance{Type: instanceType, SubnetID: subnetA})).ID
}

func (r *rig) networkInfo(instanceType string) (types.InstanceTypeHypervisor, *types.NetworkInfo) {
	r.Helper()
	out := must[*ec2.DescribeInstanceTypesOutput](r)(r.ec2.DescribeInstanceTypes(r.ctx, &ec2.DescribeInstanceTypesInput{
		InstanceTypes: []types.InstanceType{types.InstanceType(instanceType)},
	}))
	return out.InstanceTypes[0].Hypervisor, out.InstanceTypes[0].NetworkInfo
}

func TestInstanceTypes(t *testing.T) {
	r := newRig(t)
	for name, want := range map[string]struct {
		hypervisor               types.InstanceTypeHypervisor
		enis, perENI             int32
		cards, perCard           int32
		srd, efa                 bool
		queues                   types.FlexibleEnaQueuesSupport
		tcp                      int32 // 0: no connection tracking to configure
		maxQueues, defaultQueues int32
	}{
		"t3.micro":     {"nitro", 2, 2, 1, 2, false, false, "unsupported", 432000, 4, 2},
		"m5.large":     {"nitro", 3, 10, 1, 3, false, false, "unsupported", 432000, 6, 2},
		"m4.large":     {"xen", 2, 10, 1, 2, false, false, "unsupported", 0, 4, 2},
		"m6i.8xlarge":  {"nitro", 8, 30, 1, 8, true, false, "supported", 432000, 64, 8},
		"m8i.24xlarge": {"nitro", 15, 50, 1, 15, true, false, "supported", 350, 128, 8},
		"p4d.24xlarge": {"nitro", 60, 50, 4, 15, false, true, "unsupported", 432000, 120, 8},
	} {
		hypervisor, n := r.networkInfo(name)
		card := n.NetworkCards[len(n.NetworkCards)-1]
		if hypervisor != want.hypervisor || *n.MaximumNetworkInterfaces != want.enis || *n.Ipv4AddressesPerInterface != want.perENI ||
			*n.Ipv6AddressesPerInterface != want.perENI || !*n.Ipv6Supported || *n.MaximumNetworkCards != want.cards ||
			len(n.NetworkCards) != int(want.cards) || *card.NetworkCardIndex != want.cards-1 || *card.MaximumNetworkInterfaces != want.perCard ||
			*n.EnaSrdSupported != want.srd || *n.EfaSupported != want.efa || (len(card.InterfaceTypes) > 1) != want.efa || n.FlexibleEnaQueuesSupport != want.queues ||
			*card.MaximumEnaQueueCount != want.maxQueues || *card.DefaultEnaQueueCountPerInterface != want.defaultQueues {
			t.Errorf("%s: %s, %+v, last card %+v", name, hypervisor, n, card)
		}
		if c := n.ConnectionTrackingConfiguration; (c == nil) != (want.tcp == 0) || c != nil && *c.DefaultTcpEstablishedTimeout != want.tcp {
			t.Errorf("%s: connection tracking %+v", name, c)
		}
	}
}

func (r *rig) attachWith(eni *string, host string, change func(*ec2.AttachNetworkInterfaceInput)) error {
	in := attachInput(eni, host, 1)
	change(in)
	_, err := r.ec2.AttachNetworkInterface(r.ctx, in)
	return err
}

// Device indexes and the number of ENIs count per card.
func TestNetworkCards(t *testing.T) {
	r := newRig(t, func(c *cloud.Config) {
		c.InstanceTypes = []cloud.InstanceType{{Name: "two.cards", MaxENIs: 4, NetworkCards: 2, IPv4PerENI: 4}}
	})
	host := r.hostOf("two.cards")
	at := func(card *int32, index int32) (string, error) {
		in := attachInput(r.create(subnetA).NetworkInterfaceId, host, index)
		in.NetworkCardIndex = card
		out, err := r.ec2.AttachNetworkInterface(r.ctx, in)
		if err != nil {
			return "", err
		}
		return *out.AttachmentId, nil
	}
	zero, one := aws.Int32(0), aws.Int32(1)
	second := must[string](r)(at(one, 1))
	_, err := at(nil, 1) // which means card 0, and EC2 looks at all cards
	r.wantCode(err, "InvalidParameterValue")
	must[string](r)(at(zero, 1))
	_, err = at(zero, 1)
	r.wantCode(err, "InvalidParameterValue")
	_, err = at(zero, 2)
	r.wantCode(err, "AttachmentLimitExceeded")
	_, err = at(aws.Int32(2), 1)
	r.wantCode(err, "InvalidParameterValue")
	first := must[string](r)(at(one, 0)) // not the primary ENI
	if got := r.instance(host).NetworkInterfaces; len(got) != 4 || *got[3].Attachment.NetworkCardIndex != 1 || *got[3].Attachment.AttachmentId != second {
		t.Errorf("ENIs of the instance: %+v", got)
	}
	must[*ec2.DetachNetworkInterfaceOutput](r)(r.ec2.DetachNetworkInterface(r.ctx, &ec2.DetachNetworkInterfaceInput{AttachmentId: &first}))
}

// An address and a prefix take a place each, and so does the primary address.
func TestPlacesForAddresses(t *testing.T) {
	r := newRig(t, dualStack)
	small, large := r.hostOf("t3.micro"), r.hostOf("m5.large")
	for what, change := range map[string]func(*ec2.CreateNetworkInterfaceInput){
		"addresses": func(in *ec2.CreateNetworkInterfaceInput) { in.SecondaryPrivateIpAddressCount = aws.Int32(2) },
		"prefixes":  func(in *ec2.CreateNetworkInterfaceInput) { in.Ipv4PrefixCount = aws.Int32(2) },
		"IPv6":      func(in *ec2.CreateNetworkInterfaceInput) { in.Ipv6PrefixCount = aws.Int32(3) },
	} {
		eni := r.createWith(subnetA, change)
		_, err := r.ec2.AttachNetworkInterface(r.ctx, attachInput(eni.NetworkInterfaceId, small, 1))
		if code, _ := failure(err); code != "PrivateIpAddressLimitExceeded" {
			t.Errorf("too many %s: %v", what, err)
		}
	}
	eni := r.createWith(subnetA, func(in *ec2.CreateNetworkInterfaceInput) { in.SecondaryPrivateIpAddressCount = aws.Int32(8) })
	r.attach(eni.NetworkInterfaceId, large, 1)
	r.assign(&ec2.AssignPrivateIpAddressesInput{NetworkInterfaceId: eni.NetworkInterfaceId, Ipv4PrefixCount: aws.Int32(1)})
	before := r.available(subnetA)
	_, err := r.ec2.AssignPrivateIpAddresses(r.ctx, &ec2.AssignPrivateIpAddressesInput{NetworkInterfaceId: eni.NetworkInterfaceId, Ipv4PrefixCount: aws.Int32(1)})
	r.wantCode(err, "PrivateIpAddressLimitExceeded")
	if after := r.available(subnetA); after != before {
		t.Errorf("a refused call has taken %d addresses", before-after)
	}
	r.assign6(&ec2.AssignIpv6AddressesInput{NetworkInterfaceId: eni.NetworkInterfaceId, Ipv6AddressCount: aws.Int32(10)})
	_, err = r.ec2.AssignIpv6Addresses(r.ctx, &ec2.AssignIpv6AddressesInput{NetworkInterfaceId: eni.NetworkInterfaceId, Ipv6AddressCount: aws.Int32(1)})
	r.wantCode(err, "PrivateIpAddressLimitExceeded")
}

// What an instance type does not have is refused when an ENI that has it is to be
// attached, and when an ENI that is attached is to get it.
func TestWhatATypeDoesNotHave(t *testing.T) {
	r := newRig(t, dualStack)
	xen, nitro := r.hostOf("m4.large"), r.hostOf("m5.large")
	prefix := r.createWith(subnetA, func(in *ec2.CreateNetworkInterfaceInput) { in.Ipv6PrefixCount = aws.Int32(1) })
	tracked := r.createWith(subnetA, func(in *ec2.CreateNetworkInterfaceInput) {
		in.ConnectionTrackingSpecification = &types.ConnectionTrackingSpecificationRequest{TcpEstablishedTimeout: aws.Int32(350)}
	})
	plain := r.create(subnetA)
	attached := r.create(subnetA)
	id := r.attach(attached.NetworkInterfaceId, r.hostOf("m4.large"), 1)
	srd := &types.EnaSrdSpecification{EnaSrdEnabled: aws.Bool(true)}
	for name, call := range map[string]func() error{
		"attach: prefixes": func() error {
			return r.attachWith(prefix.NetworkInterfaceId, xen, func(*ec2.AttachNetworkInterfaceInput) {})
		},
		"attach: connection tracking": func() error {
			return r.attachWith(tracked.NetworkInterfaceId, xen, func(*ec2.AttachNetworkInterfaceInput) {})
		},
		"attach: ENA Express": func() error {
			return r.attachWith(plain.NetworkInterfaceId, nitro, func(in *ec2.AttachNetworkInterfaceInput) { in.EnaSrdSpecification = srd })
		},
		"attach: queues": func() error {
			return r.attachWith(plain.NetworkInterfaceId, nitro, func(in *ec2.AttachNetworkInterfaceInput) { in.EnaQueueCount = aws.Int32(2) })
		},
		"assign: prefixes": func() error {
			_, err := r.ec2.AssignIpv6Addresses(r.ctx, &ec2.AssignIpv6AddressesInput{NetworkInterfaceId: attached.NetworkInterfaceId, Ipv6PrefixCount: aws.Int32(1)})
			return err
		},
		"modify: connection tracking": func() error {
			return r.modify(attached.NetworkInterfaceId, func(in *ec2.ModifyNetworkInterfaceAttributeInput) {
				in.ConnectionTrackingSpecification = &types.ConnectionTrackingSpecificationRequest{UdpTimeout: aws.Int32(60)}
			})
		},
		"modify: ENA Express": func() error {
			return r.modify(attached.NetworkInterfaceId, func(in *ec2.ModifyNetworkInterfaceAttributeInput) { in.EnaSrdSpecification = srd })
		},
		"modify: queues": func() error {
			return r.modify(attached.NetworkInterfaceId, func(in *ec2.ModifyNetworkInterfaceAttributeInput) {
				in.Attachment = &types.NetworkInterfaceAttachmentChanges{AttachmentId: &id, EnaQueueCount: aws.Int32(2)}
			})
		},
	} {
		if code, _ := failure(call()); code != "UnsupportedOperation" {
			t.Errorf("%s: %s", name, code)
		}
	}
	if left := len(r.describe(attached.NetworkInterfaceId).Ipv6Prefixes); left != 0 {
		t.Errorf("a refused call has assigned %d prefixes", left)
	}
}

// An EFA is for an instance that is stopped, of a type that has EFAs.
func TestEFA(t *testing.T) {
	r := newRig(t)
	efa := r.createWith(subnetA, func(in *ec2.CreateNetworkInterfaceInput) { in.InterfaceType = "efa" })
	attach := func(instanceType string, stopped bool) error {
		host := r.hostOf(instanceType)
		if stopped {
			if err := r.cloud.SetInstanceState(host, cloud.InstanceStopped); err != nil {
				t.Fatal(err)
			}
		}
		return r.attachWith(efa.NetworkInterfaceId, host, func(*ec2.AttachNetworkInterfaceInput) {})
	}
	r.wantCode(attach("c5n.18xlarge", false), "IncorrectInstanceState")
	r.wantCode(attach("m5.large", true), "UnsupportedOperation")
	if err := attach("c5n.18xlarge", true); err != nil {
		t.Error(err)
	}
}

// A card can take more ENIs than its share where their numbers of queues are chosen.
func TestAdditionalENIs(t *testing.T) {
	r := newRig(t, func(c *cloud.Config) {
		c.InstanceTypes = []cloud.InstanceType{{
			Name: "flexible", MaxENIs: 2, IPv4PerENI: 4, EnaQueues: cloud.EnaQueues{Flexible: true, MaxPerCard: 8, AdditionalENIs: 1},
		}}
	})
	if _, n := r.networkInfo("flexible"); *n.MaximumNetworkInterfaces != 2 || *n.NetworkCards[0].AdditionalFlexibleNetworkInterfaces != 1 {
		t.Errorf("described: %+v", n)
	}
	host := r.hostOf("flexible")
	r.attach(r.create(subnetA).NetworkInterfaceId, host, 1)
	attach := func(index int32, queues *int32) error {
		return r.attachWith(r.create(subnetA).NetworkInterfaceId, host, func(in *ec2.AttachNetworkInterfaceInput) {
			in.DeviceIndex, in.EnaQueueCount = &index, queues
		})
	}
	r.wantCode(attach(2, nil), "AttachmentLimitExceeded")
	if err := attach(2, aws.Int32(2)); err != nil {
		t.Error(err)
	}
	r.wantCode(attach(3, aws.Int32(1)), "AttachmentLimitExceeded")
}
