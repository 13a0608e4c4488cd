package agent_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/utils/ptr"

	"github.com/aws-multi-eni/aws-multi-eni/agent"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/internal/draw"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

const (
	modifyCall     = "ModifyNetworkInterfaceAttribute"
	assignIPv4Call = "AssignPrivateIpAddresses"
	assignIPv6Call = "AssignIpv6Addresses"
	typesCall      = "DescribeInstanceTypes"
)

// respecify changes the only NodeENI.
func (w *world) respecify(changes ...func(*v1alpha1.NodeENISpec)) {
	w.change(func(s *agent.Snapshot) {
		for _, change := range changes {
			change(&s.NodeENIs[0].Spec)
		}
		s.NodeENIs[0].Generation++
	})
}

// everything asks for all that EC2 can do for an ENI, beside addresses.
func everything(s *v1alpha1.NodeENISpec) {
	s.NetworkCard, s.Addressing, s.ENAQueues = 1, v1alpha1.AddressingHost, 16
	s.ConnectionTracking = &v1alpha1.ConnectionTracking{TCPEstablishedTimeout: 350, UDPTimeout: 45, UDPStreamTimeout: 120}
	s.ENAExpress = &v1alpha1.ENAExpress{Enabled: true, UDP: true}
}

func ipv4(addresses, prefixes int32) func(*v1alpha1.NodeENISpec) {
	return func(s *v1alpha1.NodeENISpec) {
		s.IPv4 = &v1alpha1.IPv4{SecondaryAddresses: addresses, Prefixes: prefixes}
	}
}

func ipv6(addresses *int32, prefixes int32) func(*v1alpha1.NodeENISpec) {
	return func(s *v1alpha1.NodeENISpec) { s.IPv6 = &v1alpha1.IPv6{Addresses: addresses, Prefixes: prefixes} }
}

func in6(s *v1alpha1.NodeENISpec) { s.SubnetIDs, s.SubnetNames = []string{subnet6}, nil }

func primaryIPv6(s *v1alpha1.NodeENISpec) {
	s.IPv6 = &v1alpha1.IPv6{Addresses: ptr.To(int32(1)), PrimaryIPv6: true}
}

// An ENI costs three calls, whatever its NodeENI asks for.
func TestCallsOfAnENI(t *testing.T) {
	for name, changes := range map[string][]func(*v1alpha1.NodeENISpec){
		"nothing special": nil,
		"dual stack":      {everything, ipv4(4, 0), primaryIPv6},
		"prefixes":        {everything, ipv4(0, 2), ipv6(nil, 1)},
		"IPv6 only":       {everything, in6},
		"several of IPv6": {everything, in6, ipv6(ptr.To(int32(3)), 0)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, draw.From(nil))
				w.withoutCoordinator()
				w.respecify(changes...)
				w.boot()
				time.Sleep(time.Minute)
				calls, want := cloud.CountCalls(w.cloud.Calls()), map[string]int{"CreateNetworkInterface": 1, "AttachNetworkInterface": 1, modifyCall: 1}
				describes := 0
				for action, n := range calls {
					if strings.HasPrefix(action, "Describe") {
						describes += n
					} else if want[action] != n {
						t.Errorf("%d times %s", n, action)
					}
				}
				if len(calls) < len(want)+1 || describes > 4 {
					t.Errorf("the calls are %v", calls)
				}
				for _, e := range w.living() {
					if link := w.host.Links.Links()[e.MAC]; len(changes) > 0 && (!link.Host || len(link.Subnets) == 0) {
						t.Errorf("the link is %+v", link)
					}
					w.compare(e, w.wanted()[placeOf(e)])
				}
				w.end()
			})
		})
	}
}

// Each field of a NodeENI changes in place, on a living ENI, with one call of EC2. Numbers
// of addresses never shrink.
func TestCallsOfAChange(t *testing.T) {
	type change = func(*v1alpha1.NodeENISpec)
	for name, test := range map[string]struct {
		from  []change
		to    change
		calls map[string]int
	}{
		"securityGroupIDs":    {nil, func(s *v1alpha1.NodeENISpec) { s.SecurityGroupIDs = []string{groupY} }, map[string]int{modifyCall: 1}},
		"sourceDestCheck":     {nil, func(s *v1alpha1.NodeENISpec) { s.SourceDestCheck = ptr.To(false) }, map[string]int{modifyCall: 1}},
		"deleteOnTermination": {nil, func(s *v1alpha1.NodeENISpec) { s.DeleteOnTermination = ptr.To(false) }, map[string]int{modifyCall: 1}},
		"description":         {nil, func(s *v1alpha1.NodeENISpec) { s.Description = "new" }, map[string]int{modifyCall: 1}},
		"mtu":                 {nil, func(s *v1alpha1.NodeENISpec) { s.MTU = 1500 }, map[string]int{}},
		"connectionTracking": {[]change{everything}, func(s *v1alpha1.NodeENISpec) {
			s.ConnectionTracking = &v1alpha1.ConnectionTracking{TCPEstablishedTimeout: 600, UDPTimeout: 60, UDPStreamTimeout: 90}
		}, map[string]int{modifyCall: 1}},
		"connectionTracking, for the first time": {nil, func(s *v1alpha1.NodeENISpec) {
			s.ConnectionTracking = &v1alpha1.ConnectionTracking{UDPTimeout: 45}
		}, map[string]int{modifyCall: 1, typesCall: 1}},
		"enaExpress on":                  {[]change{ipv4(1, 0)}, func(s *v1alpha1.NodeENISpec) { s.ENAExpress = &v1alpha1.ENAExpress{Enabled: true} }, map[string]int{modifyCall: 1}},
		"enaExpress off":                 {[]change{everything}, func(s *v1alpha1.NodeENISpec) { s.ENAExpress = nil }, map[string]int{modifyCall: 1}},
		"enaQueues":                      {[]change{everything}, func(s *v1alpha1.NodeENISpec) { s.ENAQueues = 32 }, map[string]int{modifyCall: 1}},
		"ipv4.secondaryAddresses":        {[]change{ipv4(2, 0)}, ipv4(5, 0), map[string]int{assignIPv4Call: 1}},
		"ipv4.secondaryAddresses, fewer": {[]change{ipv4(2, 0)}, ipv4(1, 0), map[string]int{}},
		"ipv4.prefixes":                  {[]change{ipv4(0, 1)}, ipv4(0, 3), map[string]int{assignIPv4Call: 1}},
		"ipv4.prefixes, fewer":           {[]change{ipv4(0, 2)}, ipv4(0, 1), map[string]int{}},
		"ipv6.addresses":                 {[]change{ipv6(ptr.To(int32(1)), 0)}, ipv6(ptr.To(int32(3)), 0), map[string]int{assignIPv6Call: 1}},
		"ipv6.addresses, fewer":          {[]change{ipv6(ptr.To(int32(3)), 0)}, ipv6(ptr.To(int32(1)), 0), map[string]int{}},
		"ipv6.prefixes":                  {[]change{ipv6(nil, 1)}, ipv6(nil, 2), map[string]int{assignIPv6Call: 1}},
		"ipv6.primaryIPv6":               {[]change{ipv6(ptr.To(int32(1)), 0)}, primaryIPv6, map[string]int{modifyCall: 1}},
		"ipv6.primaryIPv6 alone": {[]change{ipv4(1, 0)}, func(s *v1alpha1.NodeENISpec) {
			s.IPv6 = &v1alpha1.IPv6{PrimaryIPv6: true}
		}, map[string]int{assignIPv6Call: 1, modifyCall: 1}},
		"ipv6 where there was none before": {[]change{ipv4(1, 0)}, ipv6(ptr.To(int32(2)), 0), map[string]int{assignIPv6Call: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, e := settledWorld(t, test.from...)
				w.respecify(test.to)
				time.Sleep(10 * time.Second)
				w.expectCalls("at once", test.calls)
				now, _ := w.cloud.Interface(e.ID)
				w.compare(now, w.wanted()[placeOf(e)])
				time.Sleep(20 * time.Minute)
				w.expectCalls("later", map[string]int{})
				w.end()
			})
		})
	}
}

// A number that grows again need not wait until describes must show what it has got
// before, and doing nothing costs one describe an hour.
func TestCallsOfGrowth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, e := settledWorld(t, ipv4(1, 0), ipv6(ptr.To(int32(1)), 0))
		timing := w.cloud.Timing()
		timing.DescribeLag = 4 * time.Minute
		w.must(w.cloud.SetTiming(timing))
		for n := int32(2); n < 6; n++ {
			w.respecify(ipv4(n, 0), ipv6(&n, 0))
			time.Sleep(5 * time.Second)
			w.expectCalls("one more of each family", map[string]int{assignIPv4Call: 1, assignIPv6Call: 1})
			now, _ := w.cloud.Interface(e.ID)
			w.compare(now, w.wanted()[placeOf(e)])
		}
		time.Sleep(10 * time.Minute)
		w.cloud.ResetCalls()
		time.Sleep(time.Hour)
		w.expectCalls("an idle hour", map[string]int{"DescribeNetworkInterfaces": 1})
		w.end()
	})
}

// What the instance type does not have is reported, and EC2 is not asked for it; an ENI
// that is there stays as it is.
func TestUnsupportedIsReported(t *testing.T) {
	for name, test := range map[string]struct {
		kind   string
		change func(*v1alpha1.NodeENISpec)
		words  string
	}{
		"prefixes of Xen":               {"m4.large", ipv4(0, 1), "only Nitro types support prefixes"},
		"IPv6 prefixes of Xen":          {"m4.large", ipv6(nil, 1), "only Nitro types support prefixes"},
		"timeouts of Xen":               {"m4.large", func(s *v1alpha1.NodeENISpec) { s.ConnectionTracking = &v1alpha1.ConnectionTracking{UDPTimeout: 45} }, "connection tracking"},
		"a card that p4d does not have": {"p4d.24xlarge", func(s *v1alpha1.NodeENISpec) { s.NetworkCard = 5 }, "no network card 5"},
		"queues of a type without":      {"m5.large", func(s *v1alpha1.NodeENISpec) { s.ENAQueues = 4 }, "custom number of ENA queues"},
		"too many addresses":            {"m5.large", ipv4(10, 0), "at most 10 IPv4 addresses"},
	} {
		for _, exists := range []bool{false, true} {
			t.Run(name+map[bool]string{true: ", of an ENI that is there"}[exists], func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, draw.From(nil), test.kind)
					w.withoutCoordinator()
					if exists {
						w.boot()
						time.Sleep(10 * time.Minute)
						w.cloud.ResetCalls()
						w.respecify(test.change)
					} else {
						w.respecify(test.change)
						w.boot()
					}
					time.Sleep(2 * time.Hour)
					calls := w.cloud.Calls()
					if changes := slices.DeleteFunc(slices.Clone(calls), func(c cloud.Call) bool { return strings.HasPrefix(c.Action, "Describe") }); len(changes) > 0 || len(calls) > 6 {
						t.Errorf("the calls are %v", cloud.CountCalls(calls))
					}
					if n := len(w.living()); n != map[bool]int{true: 1}[exists] {
						t.Errorf("there are %d ENIs", n)
					}
					if !slices.ContainsFunc(w.memory.saved().ENIs, func(e v1alpha1.ENIState) bool {
						return e.Phase == v1alpha1.PhaseFailed && e.Reason == agent.ReasonInstanceType && strings.Contains(e.Message, test.words) && strings.Contains(e.Message, test.kind)
					}) {
						t.Errorf("reported is %+v", w.memory.saved().ENIs)
					}
					w.end()
				})
			})
		}
	}
}

// After a reboot without EC2 the data path comes back as the report has it, of both IP
// families and on its network card.
func TestRebootWithoutEC2(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, e := settledWorld(t, everything, ipv4(2, 0), primaryIPv6)
		before := w.host.Links.Links()[e.MAC]
		w.halt(true)
		w.host.Reboot()
		w.must(w.cloud.Inject(cloud.Fault{Action: "*", Code: "UnauthorizedOperation", Count: 1000}))
		w.boot()
		time.Sleep(10 * time.Minute)
		after := w.host.Links.Links()[e.MAC]
		if !reflect.DeepEqual(after, before) || len(after.Addresses) != 4 || len(after.Subnets) != 2 || after.Card != 1 {
			t.Errorf("before it was %+v, now it is %+v", before, after)
		}
		w.end()
	})
}
