package cloud

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// fakeFabric notes what it is told, as text.
type fakeFabric struct {
	mu     sync.Mutex
	events []string
	fail   error
}

func (f *fakeFabric) note(format string, args ...any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events = append(f.events, fmt.Sprintf(format, args...))
	return f.fail
}

func (f *fakeFabric) take() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	events := f.events
	f.events = nil
	return events
}

func (f *fakeFabric) AddInstance(i Instance) error { return f.note("add %s", i.Name) }
func (f *fakeFabric) RemoveInstance(string) error  { return f.note("remove") }
func (f *fakeFabric) Unplug(_, eniID string) error { return f.note("unplug %s", eniID) }
func (f *fakeFabric) Update(eni Interface) error {
	return f.note("update %s %v %v", eni.ID, eni.PrivateIPs, eni.SourceDestCheck)
}
func (f *fakeFabric) Plug(_ string, e Interface) error {
	return f.note("plug %s %d", e.ID, e.Attachment.DeviceIndex)
}

func TestFabric(t *testing.T) {
	fabric := &fakeFabric{}
	c := newCloud(t, func(config *Config) { config.Fabric = fabric })
	want := func(events ...string) {
		t.Helper()
		if got := fabric.take(); !slices.Equal(got, events) {
			t.Errorf("got %v\nwant %v", got, events)
		}
	}
	host := launch(t, c)
	primary := c.Interfaces()[0]
	want("add node", "plug "+primary.ID+" 0")

	eni, a := plug(t, c, host.ID, 1)
	want("plug " + eni.ID + " 1")
	off := false
	if err := c.ModifyNetworkInterfaceAttribute(ModifyNetworkInterfaceAttributeInput{NetworkInterfaceID: eni.ID, SourceDestCheck: &off}); err != nil {
		t.Fatal(err)
	}
	want("update " + eni.ID + " [10.0.1.5] false")
	must[[]netip.Addr](t)(c.AssignPrivateIPAddresses(AssignPrivateIPAddressesInput{NetworkInterfaceID: eni.ID, SecondaryCount: 1}))
	want("update " + eni.ID + " [10.0.1.5 10.0.1.6] false")
	if err := c.DetachNetworkInterface(a.ID, false); err != nil {
		t.Fatal(err)
	}
	want("unplug " + eni.ID)
	must[[]netip.Addr](t)(c.AssignPrivateIPAddresses(AssignPrivateIPAddressesInput{NetworkInterfaceID: eni.ID, SecondaryCount: 1}))
	want()

	if err := c.SetTiming(Timing{PlugDelay: time.Millisecond, Detach: 20 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	must[Attachment](t)(c.AttachNetworkInterface(AttachNetworkInterfaceInput{NetworkInterfaceID: eni.ID, InstanceID: host.ID, DeviceIndex: 2}))
	var late []string
	eventually(t, "plugged after the delay", func() bool { late = append(late, fabric.take()...); return len(late) > 0 })
	if !slices.Equal(late, []string{"plug " + eni.ID + " 2"}) {
		t.Errorf("got %v", late)
	}
	if err := c.Terminate(host.ID); err != nil {
		t.Fatal(err)
	}
	eventually(t, "terminated", func() bool { return c.Instances()[0].State == InstanceTerminated })
	got := fabric.take()
	if len(got) != 3 || got[2] != "remove" || !slices.Contains(got, "unplug "+eni.ID) || !slices.Contains(got, "unplug "+primary.ID) {
		t.Errorf("got %v", got)
	}
}

// The network hears of IPv6 and of prefixes as of IPv4 addresses.
func TestFabricHearsOfAllAddresses(t *testing.T) {
	fabric := &fakeFabric{}
	c := newCloud(t, func(config *Config) {
		config.Fabric = fabric
		config.VPCs[0].IPv6CIDR = netip.MustParsePrefix("2001:db8::/56")
		config.Subnets[0].IPv6CIDR = netip.MustParsePrefix("2001:db8:0:1::/64")
	})
	eni, _ := plug(t, c, launch(t, c).ID, 1)
	fabric.take()
	one := AddressRequest{Count: positive(1)}
	prefix := AddressRequest{PrefixCount: positive(1)}
	for what, call := range map[string]func() error{
		"an IPv6 address": func() error { _, err := c.AssignIPv6(AssignInput{eni.ID, one}); return err },
		"an IPv6 prefix":  func() error { _, err := c.AssignIPv6(AssignInput{eni.ID, prefix}); return err },
		"an IPv4 prefix": func() error {
			got, err := c.AssignIPv4(AssignInput{eni.ID, prefix})
			eni.IPv4Prefixes = got.Prefixes
			return err
		},
	} {
		if err := call(); err != nil || len(fabric.take()) != 1 {
			t.Errorf("%s: %v, or the network has not heard of it", what, err)
		}
	}
	if err := c.UnassignIPv4(eni.ID, Assigned{Prefixes: eni.IPv4Prefixes}); err != nil || len(fabric.take()) != 1 {
		t.Errorf("without the prefix: %v, or the network has not heard of it", err)
	}
}

// A change before the link is there does not bring it sooner.
func TestChangeBeforeThePlug(t *testing.T) {
	fabric := &fakeFabric{}
	c := newCloud(t, func(config *Config) {
		config.Fabric = fabric
		config.Timing.PlugDelay = time.Hour
	})
	host := launch(t, c)
	fabric.take()
	eni, _ := plug(t, c, host.ID, 1)
	must[[]netip.Addr](t)(c.AssignPrivateIPAddresses(AssignPrivateIPAddressesInput{NetworkInterfaceID: eni.ID, SecondaryCount: 1}))
	if got := fabric.take(); len(got) != 0 {
		t.Errorf("got %v", got)
	}
}

// A link that was to come does not come once its ENI is detached again.
func TestDetachBeforeThePlug(t *testing.T) {
	fabric := &fakeFabric{}
	c := newCloud(t, func(config *Config) {
		config.Fabric = fabric
		config.Timing.PlugDelay = 10 * time.Millisecond
	})
	host := launch(t, c)
	fabric.take()
	_, a := plug(t, c, host.ID, 1)
	if err := c.DetachNetworkInterface(a.ID, true); err != nil {
		t.Fatal(err)
	}
	other, _ := plug(t, c, host.ID, 2)
	var got []string
	eventually(t, "the other link", func() bool { got = append(got, fabric.take()...); return len(got) > 0 })
	if !slices.Equal(got, []string{"plug " + other.ID + " 2"}) {
		t.Errorf("got %v", got)
	}
}

func TestInstanceWithoutANetwork(t *testing.T) {
	fabric := &fakeFabric{fail: errors.New("no more namespaces")}
	c := newCloud(t, func(config *Config) { config.Fabric = fabric })
	_, err := c.RunInstance(RunInstance{Name: "node", Type: "m5.large", SubnetID: testSubnet, ClientToken: "x"})
	if err == nil || !strings.Contains(err.Error(), "no more namespaces") {
		t.Errorf("got %v", err)
	}
	if len(c.Instances()) != 0 || len(c.Interfaces()) != 0 {
		t.Errorf("left: %v, %v", c.Instances(), c.Interfaces())
	}
}

func TestCloseStopsWhatIsUnderWay(t *testing.T) {
	fabric := &fakeFabric{}
	c := newCloud(t, func(config *Config) {
		config.Fabric = fabric
		config.Timing = Timing{Attach: time.Millisecond, PlugDelay: time.Millisecond}
	})
	host := launch(t, c)
	plug(t, c, host.ID, 1)
	c.Close()
	fabric.take()
	plug(t, c, host.ID, 2)
	if got, waiting := fabric.take(), len(c.schedule.timers); len(got) != 0 || waiting != 0 {
		t.Errorf("after Close: %v, and %d events to come", got, waiting)
	}
}
