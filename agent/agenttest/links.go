package agenttest

import (
	"context"
	"maps"
	"net"
	"reflect"
	"sync"

	"github.com/aws-multi-eni/aws-multi-eni/agent/hostnet"
)

// Links is a host without a kernel: links bear what they are told. The zero value has no
// links, and none can be plugged.
type Links struct {
	All        bool                                 // every link is here, whatever is plugged
	Err        error                                // of Configure
	Repaired   int                                  // changes of each Configure, whatever it finds
	Configured func(hostnet.Wanted)                 // unless nil, is called for each
	Released   func(w hostnet.Wanted, eniID string) // unless nil, is called for each, with the ENI that is plugged

	mu       sync.Mutex
	plugged  map[string]string // ENIs, by MAC
	inPod    map[string]bool   // by MAC
	is       map[string]hostnet.Wanted
	swept    [][]hostnet.Wanted
	expected map[string]bool // by MAC
	changes  int             // to links that were here before and after
	changed  chan struct{}
}

// NewLinks makes a host without links.
func NewLinks() *Links {
	return &Links{plugged: map[string]string{}, inPod: map[string]bool{}, is: map[string]hostnet.Wanted{}, changed: make(chan struct{}, 1)}
}

// Change tells the agent that something on the host has changed.
func (l *Links) Change() {
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

// Plug has the link of an ENI appear.
func (l *Links) Plug(mac, eniID string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.plugged[mac] = eniID
	l.Change()
}

// Unplug has the link of an ENI vanish, with all that it bears.
func (l *Links) Unplug(eniID string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for mac, id := range l.plugged {
		if id == eniID {
			delete(l.plugged, mac)
			delete(l.inPod, mac)
			delete(l.is, mac)
		}
	}
	l.Change()
}

// Take moves links into a pod's namespace, and all others back.
func (l *Links) Take(away func(mac string) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.inPod)
	for mac := range l.plugged {
		if away(mac) {
			l.inPod[mac] = true
			delete(l.is, mac)
		}
	}
	l.Change()
}

// Reboot leaves links bare.
func (l *Links) Reboot() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.is)
}

// Links are those that are configured, by MAC.
func (l *Links) Links() map[string]hostnet.Wanted {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.is)
}

// Changes is how often a link has been changed so far.
func (l *Links) Changes() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changes
}

// Swept is what was kept each time that leftovers were removed.
func (l *Links) Swept() [][]hostnet.Wanted { return l.swept }

func (l *Links) here(mac net.HardwareAddr) bool {
	_, plugged := l.plugged[mac.String()]
	return l.All || plugged && !l.inPod[mac.String()]
}

// Present implements agent.Links.
func (l *Links) Present(mac net.HardwareAddr) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.here(mac), nil
}

// Configure implements agent.Links.
func (l *Links) Configure(w hostnet.Wanted) (hostnet.Status, error) {
	if l.Configured != nil {
		l.Configured(w)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.Err != nil || !l.here(w.MAC) {
		return hostnet.Status{}, l.Err
	}
	status := hostnet.Status{Present: true, Index: 7, Name: "eth7", MTU: w.MTU, Repaired: l.Repaired}
	if !reflect.DeepEqual(l.is[w.MAC.String()], w) {
		status.Repaired++
		l.changes++
	}
	if l.is == nil {
		l.is = map[string]hostnet.Wanted{}
	}
	l.is[w.MAC.String()] = w
	return status, nil
}

// Release implements agent.Links.
func (l *Links) Release(w hostnet.Wanted) error {
	l.mu.Lock()
	eniID := l.plugged[w.MAC.String()]
	l.mu.Unlock()
	if l.Released != nil {
		l.Released(w, eniID)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if eniID != "" {
		l.changes++
	}
	delete(l.is, w.MAC.String())
	return nil
}

// Sweep implements agent.Links.
func (l *Links) Sweep(keep []hostnet.Wanted) (int, error) {
	l.swept = append(l.swept, keep)
	return 0, nil
}

// Yield implements agent.Links.
func (l *Links) Yield(net.HardwareAddr, string) error { return nil }

// Know implements agent.Links.
func (l *Links) Know(...net.HardwareAddr) error { return nil }

// Expect implements agent.Links.
func (l *Links) Expect(mac net.HardwareAddr) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.expected == nil {
		l.expected = map[string]bool{}
	}
	l.expected[mac.String()] = true
	return nil
}

// Expected says whether a link was expected before it came.
func (l *Links) Expected(mac string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.expected[mac]
}

// Watch implements agent.Links.
func (l *Links) Watch(context.Context) (<-chan struct{}, error) { return l.changed, nil }
