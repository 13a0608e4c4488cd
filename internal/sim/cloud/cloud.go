package cloud

import (
	"errors"
)

var errEarly = errors.New("the simulated account is not complete in this revision")

// RunInstance asks for one instance.
type RunInstance struct {
	ID       string            `json:"id,omitempty"`   // default: made up
	Name     string            `json:"name,omitempty"` // the node's name; default: its private DNS name
	Type     string            `json:"type"`
	SubnetID string            `json:"subnetID"`
	GroupIDs []string          `json:"groupIDs,omitempty"` // of the primary ENI; default: the VPC's default group
	Tags     map[string]string `json:"tags,omitempty"`
}

// Cloud is one AWS account in one Region. It is safe for concurrent use.
type Cloud struct {
	config Config
}

// New checks the configuration and makes the account.
func New(config Config) (*Cloud, error) { return &Cloud{config: config}, nil }

// Close stops everything that is under way and waits for the fabric's calls
// that have begun.
func (c *Cloud) Close() {}

// Config returns the account's configuration with its defaults filled in.
func (c *Cloud) Config() Config { return c.config }

// RunInstance launches an instance with its primary ENI at device index 0.
func (c *Cloud) RunInstance(RunInstance) (Instance, error) { return Instance{}, errEarly }

// Terminate shuts an instance down.
func (c *Cloud) Terminate(instanceID string) error { return errEarly }

// SetInstanceState makes an instance seem stopped, pending and so on.
func (c *Cloud) SetInstanceState(instanceID, state string) error { return errEarly }

// Instances returns every instance, sorted by id, without lag.
func (c *Cloud) Instances() []Instance { return nil }

// Interfaces returns every ENI, sorted by id, without lag.
func (c *Cloud) Interfaces() []Interface { return nil }

// Interface returns one ENI without lag.
func (c *Cloud) Interface(id string) (Interface, bool) { return Interface{}, false }

// Metadata returns what the metadata service of an instance shows now.
func (c *Cloud) Metadata(instanceID string) (Metadata, error) { return Metadata{}, errEarly }

// Calls returns the logged API calls in the order of their arrival.
func (c *Cloud) Calls() []Call { return nil }

// ResetCalls empties the log.
func (c *Cloud) ResetCalls() {}

// Inject adds a fault.
func (c *Cloud) Inject(Fault) error { return errEarly }

// Faults returns the faults that are in force.
func (c *Cloud) Faults() []Fault { return nil }

// ClearFaults removes every fault and lets go of calls that hang.
func (c *Cloud) ClearFaults() {}

// Timing returns how long things take now.
func (c *Cloud) Timing() Timing { return c.config.Timing }

// SetTiming changes how long things take, for what begins from now on.
func (c *Cloud) SetTiming(Timing) {}

// SetThrottle turns throttling on, with full buckets, or off.
func (c *Cloud) SetThrottle(bool) {}

// SetFreeAddresses sets how many addresses a subnet has left.
func (c *Cloud) SetFreeAddresses(subnetID string, n int) error { return errEarly }

// DetachByHand detaches an ENI from an operator's console.
func (c *Cloud) DetachByHand(eniID string) error { return errEarly }

// DeleteByHand deletes an ENI from an operator's console.
func (c *Cloud) DeleteByHand(eniID string) error { return errEarly }
