package cloud

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

func TestMetadata(t *testing.T) {
	c := newCloud(t)
	host := launch(t, c)
	eni, a := plug(t, c, host.ID, 1)
	find := func() *MetadataInterface {
		t.Helper()
		m := must[Metadata](t)(c.Metadata(host.ID))
		if m.MAC != host.MAC || m.Zone != "us-east-1a" || m.ZoneID != "use1-az1" || m.Region != "us-east-1" || m.AccountID != "123456789012" ||
			m.Partition != "aws" || m.LocalIPv4 != host.PrivateIP || m.LocalHostname != "ip-10-0-1-4.ec2.internal" || m.InstanceType != "m5.large" {
			t.Errorf("identity: %+v", m)
		}
		if i := slices.IndexFunc(m.Interfaces, func(i MetadataInterface) bool { return i.MAC == host.MAC }); i < 0 || !m.Interfaces[i].Ready {
			t.Errorf("the primary ENI is not shown: %+v", m.Interfaces)
		}
		i := slices.IndexFunc(m.Interfaces, func(i MetadataInterface) bool { return i.MAC == eni.MAC })
		if i < 0 {
			return nil
		}
		return &m.Interfaces[i]
	}
	got := find()
	if got == nil || !got.Ready || got.DeviceNumber != 1 || got.InterfaceID != eni.ID || got.SubnetID != testSubnet || got.SubnetCIDR.String() != "10.0.1.0/24" ||
		got.VPCCIDR.String() != "10.0.0.0/16" || len(got.LocalIPv4s) != 1 || got.SecurityGroupNames[0] != "default" {
		t.Errorf("without lag: %+v", got)
	}

	// The attachment is a few milliseconds old: how it shows is up to the lag.
	current, _ := c.Interface(eni.ID)
	if _, ok := c.appearing(&current, a.AttachTime.Add(9*time.Second), 30*time.Second); ok {
		t.Error("shown in the first third of the lag")
	}
	if got, ok := c.appearing(&current, a.AttachTime.Add(15*time.Second), 30*time.Second); !ok || got.Ready || got.MAC != eni.MAC {
		t.Errorf("in the second third: %+v, %v", got, ok)
	}
	if got, ok := c.appearing(&current, a.AttachTime.Add(25*time.Second), 30*time.Second); !ok || !got.Ready || got.DeviceNumber != 0 || got.InterfaceID != eni.ID {
		t.Errorf("in the last third: %+v, %v", got, ok)
	}
	if got, ok := c.appearing(&current, a.AttachTime.Add(30*time.Second), 30*time.Second); !ok || got.DeviceNumber != 1 {
		t.Errorf("after the lag: %+v, %v", got, ok)
	}

	if err := c.SetTiming(Timing{IMDSLag: time.Hour}); err != nil {
		t.Fatal(err)
	}
	more := must[[]netip.Addr](t)(c.AssignPrivateIPAddresses(AssignPrivateIPAddressesInput{NetworkInterfaceID: eni.ID, SecondaryCount: 1}))
	e, assigned := c.enis[eni.ID], time.Now()
	if before, after := e.asOf(a.AttachTime), e.asOf(assigned); len(before.PrivateIPs) != 1 || !slices.Equal(after.PrivateIPs[1:], more) {
		t.Errorf("addresses before the assignment: %v, after it: %v", before.PrivateIPs, after.PrivateIPs)
	}
	if got := find(); got != nil {
		t.Errorf("just attached: %+v", got)
	}
	if err := c.DetachNetworkInterface(a.ID, false); err != nil {
		t.Fatal(err)
	}
	if got := find(); got == nil || got.DeviceNumber != 1 {
		t.Errorf("just detached: %+v", got)
	}
	if err := c.SetTiming(Timing{}); err != nil {
		t.Fatal(err)
	}
	if got := find(); got != nil {
		t.Errorf("detached long ago: %+v", got)
	}
	if _, err := c.Metadata("i-0ffffffffffffffff"); err == nil {
		t.Error("metadata of an unknown instance")
	}
}
