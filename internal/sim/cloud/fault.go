package cloud

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// Fault makes API calls go wrong. The zero value of a condition matches every
// call, the zero value of an effect has none; all conditions must be met. Of
// several faults that match a call, the one that was injected first hits it.
type Fault struct {
	// Conditions.
	Action      string  `json:"action,omitempty"`      // as in the EC2 API; "" and "*" match every action
	ResourceID  string  `json:"resourceID,omitempty"`  // only calls that name this ENI, instance, subnet ..., also through an attachment or a filter
	SourceID    string  `json:"sourceID,omitempty"`    // only calls of this access key id
	Skip        int     `json:"skip,omitempty"`        // let the first n matching calls pass
	Count       int     `json:"count,omitempty"`       // hit that many calls; 0: until cleared
	Probability float64 `json:"probability,omitempty"` // of hitting a matching call; 0: always

	// Effects.
	Delay      time.Duration `json:"delay,omitempty"` // before the call is carried out
	Code       string        `json:"code,omitempty"`  // the call is not carried out and fails with this code
	Message    string        `json:"message,omitempty"`
	HTTPStatus int           `json:"httpStatus,omitempty"` // default: what EC2 sends with the code
	// After carries the call out first. Then it fails with Code, or, without
	// one, its reply is lost: the connection is closed without an answer.
	After bool `json:"after,omitempty"`
	// Hang never answers; the call is only carried out with After.
	Hang bool `json:"hang,omitempty"`
	// Reset closes the connection before the call is carried out.
	Reset bool `json:"reset,omitempty"`
}

func (f Fault) validate() error {
	switch {
	case f.Skip < 0 || f.Count < 0 || f.Delay < 0:
		return fmt.Errorf("fault: skip %d, count %d, delay %v: want 0 or more", f.Skip, f.Count, f.Delay)
	case f.Probability < 0 || f.Probability > 1:
		return fmt.Errorf("fault: probability %v: want 0 to 1", f.Probability)
	case f.HTTPStatus != 0 && (f.HTTPStatus < 400 || f.HTTPStatus > 599):
		return fmt.Errorf("fault: HTTP status %d: want 400 to 599", f.HTTPStatus)
	case f.Code == "" && (f.Message != "" || f.HTTPStatus != 0):
		return fmt.Errorf("fault: a message or an HTTP status wants a code")
	case f.Reset && (f.Code != "" || f.After || f.Hang):
		return fmt.Errorf("fault: reset goes with no code, after or hang")
	case f.Code == "" && f.Delay == 0 && !f.After && !f.Hang && !f.Reset:
		return fmt.Errorf("fault: has no effect: want a code, delay, after, hang or reset")
	}
	return nil
}

// error is what a hit call fails with.
func (f Fault) error() error {
	message := f.Message
	if message == "" {
		message = defaultMessage(f.Code)
	}
	status := f.HTTPStatus
	if status == 0 {
		status = statusOf(f.Code)
	}
	return &Error{Code: f.Code, Message: message, HTTPStatus: status}
}

func defaultMessage(code string) string {
	switch code {
	case "RequestLimitExceeded":
		return "Request limit exceeded."
	case "UnauthorizedOperation":
		return "You are not authorized to perform this operation."
	case "InternalError":
		return "An internal error has occurred"
	case "Unavailable", "ServiceUnavailable":
		return "The service is unavailable. Please try again shortly."
	}
	return "An injected fault: " + code
}

// faults are the faults in force.
type faults struct {
	mu       sync.Mutex
	rand     *rand.Rand
	active   []*activeFault
	released chan struct{} // closed when calls that hang are let go
}

type activeFault struct {
	Fault
	matched, hit int
}

func newFaults(seed uint64) faults {
	return faults{rand: rand.New(rand.NewPCG(seed, 0)), released: make(chan struct{})}
}

// Inject adds a fault.
func (c *Cloud) Inject(f Fault) error {
	if err := f.validate(); err != nil {
		return err
	}
	c.faults.mu.Lock()
	defer c.faults.mu.Unlock()
	c.faults.active = append(c.faults.active, &activeFault{Fault: f})
	return nil
}

// Faults returns the faults that are in force, in the order of their injection.
func (c *Cloud) Faults() []Fault {
	c.faults.mu.Lock()
	defer c.faults.mu.Unlock()
	list := make([]Fault, 0, len(c.faults.active))
	for _, f := range c.faults.active {
		list = append(list, f.Fault)
	}
	return list
}

// ClearFaults removes every fault and lets go of the calls that hang: their
// connections are closed without an answer.
func (c *Cloud) ClearFaults() {
	c.faults.mu.Lock()
	defer c.faults.mu.Unlock()
	c.faults.active = nil
	close(c.faults.released)
	c.faults.released = make(chan struct{})
}

// ClearFaultsOf removes the faults that concern only calls of these access key ids, and
// lets go of all calls that hang.
func (c *Cloud) ClearFaultsOf(sources ...string) {
	c.faults.mu.Lock()
	defer c.faults.mu.Unlock()
	c.faults.active = slices.DeleteFunc(c.faults.active, func(f *activeFault) bool { return slices.Contains(sources, f.SourceID) })
	close(c.faults.released)
	c.faults.released = make(chan struct{})
}

// next returns the fault that hits a call which names those resources, and the
// channel that is closed when a call that hangs is let go.
func (fs *faults) next(r Request, resources []string) (Fault, <-chan struct{}) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for i, f := range fs.active {
		if !f.matches(r, resources) {
			continue
		}
		if f.matched++; f.matched <= f.Skip {
			continue
		}
		if f.Probability > 0 && fs.rand.Float64() >= f.Probability {
			continue
		}
		if f.hit++; f.hit == f.Count {
			fs.active = slices.Delete(fs.active, i, i+1)
		}
		return f.Fault, fs.released
	}
	return Fault{}, fs.released
}

func (f *activeFault) matches(r Request, resources []string) bool {
	return (f.Action == "" || f.Action == "*" || f.Action == r.Action) &&
		(f.SourceID == "" || f.SourceID == r.SourceID) &&
		(f.ResourceID == "" || slices.Contains(resources, f.ResourceID))
}
