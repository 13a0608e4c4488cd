package cloud

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// Cloud is one AWS account in one Region. It is safe for concurrent use.
type Cloud struct {
	config   Config // as it was at the beginning, with defaults
	types    map[string]InstanceType
	schedule *scheduler
	log      callLog
	faults   faults
	throttle throttle

	mu          sync.RWMutex
	timing      Timing
	vpcs        map[string]*VPC
	subnets     map[string]*subnet
	groups      map[string]*SecurityGroup
	instances   map[string]*instance
	enis        map[string]*eni // deleted ones as long as a describe may show them
	alive       int             // ENIs that are not deleted
	attachments map[string]*eni // by the id of their attachment
	macs        map[string]bool // ever handed out
	tokens      map[string]token
	policies    Policies // nil: everybody may do everything
}

// New checks the configuration and makes the account.
func New(config Config) (*Cloud, error) {
	config = config.withDefaults()
	if err := config.validate(); err != nil {
		return nil, fmt.Errorf("simulated account: %w", err)
	}
	c := &Cloud{
		config:      config,
		types:       make(map[string]InstanceType),
		schedule:    newScheduler(),
		faults:      newFaults(config.Seed),
		timing:      config.Timing,
		vpcs:        make(map[string]*VPC),
		subnets:     make(map[string]*subnet),
		groups:      make(map[string]*SecurityGroup),
		instances:   make(map[string]*instance),
		enis:        make(map[string]*eni),
		attachments: make(map[string]*eni),
		macs:        make(map[string]bool),
		tokens:      make(map[string]token),
	}
	c.throttle.set(config.Throttle, 0)
	for _, t := range config.InstanceTypes {
		c.types[t.Name] = t
	}
	for _, vpc := range config.VPCs {
		c.vpcs[vpc.ID] = &vpc
	}
	for _, s := range config.Subnets {
		c.subnets[s.ID] = newSubnet(s)
	}
	for _, g := range config.SecurityGroups {
		c.groups[g.ID] = &g
	}
	return c, nil
}

// Close stops everything that is under way and waits for the fabric's calls
// that have begun. Afterwards nothing happens by itself any more.
func (c *Cloud) Close() { c.schedule.stop() }

// Config returns the account's configuration as it was at the beginning, with
// its defaults filled in.
func (c *Cloud) Config() Config { return c.config }

// Instances returns every instance, also terminated ones, sorted by id and
// without lag.
func (c *Cloud) Instances() []Instance {
	c.mu.RLock()
	defer c.mu.RUnlock()
	list := make([]Instance, 0, len(c.instances))
	for _, in := range c.instances {
		list = append(list, *in.history.latest())
	}
	slices.SortFunc(list, func(a, b Instance) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

// Interfaces returns every ENI, sorted by id and without lag.
func (c *Cloud) Interfaces() []Interface {
	c.mu.RLock()
	defer c.mu.RUnlock()
	list := make([]Interface, 0, len(c.enis))
	for _, e := range c.enis {
		if !e.history.gone() {
			list = append(list, *e.history.latest())
		}
	}
	slices.SortFunc(list, func(a, b Interface) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

// Interface returns one ENI without lag, and whether it exists.
func (c *Cloud) Interface(id string) (Interface, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	e, err := c.eni(id)
	if err != nil {
		return Interface{}, false
	}
	return *e.history.latest(), true
}

// Timing returns how long things take now.
func (c *Cloud) Timing() Timing {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.timing
}

// SetTiming changes how long things take, for what begins from now on; the
// lags change at once.
func (c *Cloud) SetTiming(t Timing) error {
	for _, f := range t.fields() {
		if *f.value < 0 {
			return fmt.Errorf("timing: %s is %v, want 0 or more", f.name, *f.value)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timing = t
	return nil
}

// SetThrottle turns throttling on, with full buckets, or off.
func (c *Cloud) SetThrottle(on bool) { c.throttle.set(on, 0) }

// Storm turns throttling on as when others use the account up: each action has
// n calls a second. SetThrottle ends it.
func (c *Cloud) Storm(n int) { c.throttle.set(true, n) }

// SetFreeAddresses sets how many IPv4 addresses a subnet has left; releasing one
// frees one more.
func (c *Cloud) SetFreeAddresses(subnetID string, n int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, ok := c.subnets[subnetID]
	if !ok {
		return subnetIDs.missing(subnetID)
	}
	if s.v4 == nil {
		return fmt.Errorf("free addresses of %s: it is IPv6-only", subnetID)
	}
	if most := s.v4.size() - reservedAddresses - s.v4.taken(); n < 0 || n > most {
		return fmt.Errorf("free addresses of %s: %d: want 0 to %d, which is what %s has left", subnetID, n, most, s.CIDR)
	}
	s.v4.capacity = s.v4.taken() + n
	return nil
}

// DetachByHand detaches an ENI from an operator's console: with EC2's rules,
// but no API call is logged.
func (c *Cloud) DetachByHand(eniID string) error {
	i, ok := c.Interface(eniID)
	switch {
	case !ok:
		return interfaceIDs.missing(eniID)
	case i.Attachment == nil:
		return Errorf("IncorrectState", "Network interface '%s' is not attached.", eniID)
	}
	return c.DetachNetworkInterface(i.Attachment.ID, false)
}

// DeleteByHand deletes an ENI from an operator's console: with EC2's rules,
// but no API call is logged.
func (c *Cloud) DeleteByHand(eniID string) error { return c.DeleteNetworkInterface(eniID) }

// SetInstanceState makes an instance seem stopped, pending or running; its
// network stays as it is. Use Terminate to end one.
func (c *Cloud) SetInstanceState(instanceID, state string) error {
	if !slices.Contains([]string{InstancePending, InstanceRunning, InstanceStopping, InstanceStopped}, state) {
		return errors.New("instance state " + state + ": want pending, running, stopping or stopped")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	in, err := c.instance(instanceID)
	if err != nil {
		return err
	}
	if now := in.history.latest().State; now == InstanceShuttingDown || now == InstanceTerminated {
		return Errorf("IncorrectInstanceState", "The instance '%s' is %s.", instanceID, now)
	}
	c.updateInstance(in, func(i *Instance) { i.State = state })
	return nil
}

// PrivateDNSName is the name that AWS gives to an IPv4 address of a VPC; "" for
// another one.
func (c *Cloud) PrivateDNSName(a netip.Addr) string {
	if !a.Is4() {
		return ""
	}
	return "ip-" + strings.ReplaceAll(a.String(), ".", "-") + "." + c.domain()
}

// HostName is the private DNS name of an instance: by its IPv4 address, and by its id
// without one.
func (c *Cloud) HostName(i Instance) string {
	if !i.PrivateIP.IsValid() {
		return i.ID + "." + c.domain()
	}
	return c.PrivateDNSName(i.PrivateIP)
}

func (c *Cloud) domain() string {
	if c.config.Region == "us-east-1" {
		return "ec2.internal"
	}
	return c.config.Region + ".compute.internal"
}

// horizon is the moment that a describe shows now; it wants mu held.
func (c *Cloud) horizon() time.Time {
	lag := c.timing.DescribeLag
	if c.timing.DescribeSpread > 0 {
		lag += rand.N(c.timing.DescribeSpread)
	}
	return time.Now().Add(-lag)
}

// memory is how long describes and the metadata service may show what is no more; it
// wants mu held.
func (c *Cloud) memory() time.Duration {
	return max(c.timing.DescribeLag+c.timing.DescribeSpread, c.timing.IMDSLag)
}
