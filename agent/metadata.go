package agent

import (
	"context"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"k8s.io/client-go/util/flowcontrol"

	"github.com/aws-multi-eni/aws-multi-eni/agent/inventory"
	"github.com/aws-multi-eni/aws-multi-eni/imds"
	"github.com/aws-multi-eni/aws-multi-eni/internal/backoff"
)

const (
	// pollEvery is how often IMDS is asked for what others may have changed, or up to
	// a quarter later: with pollAgain this is within a minute. IMDS is on the host;
	// three requests per ENI are far below its limit, and start no reconcile.
	pollEvery = 35 * time.Second
	// pollAgain is when a difference is looked at again before EC2 is asked: by then
	// its describes show the change, too.
	pollAgain = 10 * time.Second
	// describesAtOnce is how many times in a row EC2 is asked so soon, and describesEvery how
	// often after that: others may go on setting back what the agent sets, on all nodes
	// of a fleet, as AWS Firewall Manager does with groups.
	describesAtOnce = 10
	describesEvery  = 6 * time.Minute
	// pollTimeout ends one round of requests.
	pollTimeout = 10 * time.Second
	// indexPatience is how long an attach call waits for IMDS to name the device
	// indexes that others hold. Without its answer EC2 tells, by refusing.
	indexPatience = 250 * time.Millisecond
)

// metadata is what IMDS is asked beside EC2: it may hang, and nothing rests on it.
type metadata struct {
	poll  metadataPoll
	asked int // how often it was asked which device indexes others hold
	// holdsUntil: attach calls wait for the answer; zero when nothing is asked.
	holdsUntil time.Time
}

// forgetIndexes: EC2 has shown meanwhile who holds which device index.
func (m *metadata) forgetIndexes() {
	m.asked++
	m.holdsUntil = time.Time{}
}

// askIndexes asks IMDS which device indexes others hold.
func (a *Agent) askIndexes(ctx context.Context, now time.Time) {
	a.metadata.asked++
	a.metadata.holdsUntil = now.Add(indexPatience)
	asked := a.metadata.asked
	go func() {
		ctx, cancel := context.WithTimeout(ctx, pollTimeout)
		defer cancel()
		interfaces, _ := a.Metadata.Interfaces(ctx)
		select {
		case <-ctx.Done(): // the agent has stopped, or IMDS hangs
		case a.calls.results <- func() {
			if latest := a.metadata.asked == asked; latest {
				a.metadata.holdsUntil = time.Time{}
				a.learnInterfaces(interfaces)
			}
		}:
		}
	}()
}

// learnInterfaces takes in the interfaces that IMDS shows.
func (a *Agent) learnInterfaces(interfaces []imds.Interface) {
	for _, i := range interfaces {
		if err := a.Links.Know(i.MAC); err != nil {
			a.Log.Warn("cannot read the routes of the host", "error", err)
		}
	}
	if len(interfaces) > 0 {
		a.capacity.learn(&a.failures, interfaces)
		a.inventory.LearnFromMetadata(interfaces, a.linkMayBeHere)
	}
}

// mutable is what IMDS shows of an ENI and others may change, as text; "" is not
// known.
type mutable struct{ addresses, groups string }

func mutableOf(addresses []netip.Addr, groups []string) mutable {
	texts := make([]string, 0, len(addresses))
	for _, a := range addresses {
		texts = append(texts, a.String())
	}
	slices.Sort(texts)
	return mutable{strings.Join(texts, " "), strings.Join(slices.Sorted(slices.Values(groups)), " ")}
}

// differs compares what both know.
func (m mutable) differs(other mutable) bool {
	return m.addresses != "" && other.addresses != "" && m.addresses != other.addresses ||
		m.groups != "" && other.groups != "" && m.groups != other.groups
}

// knownENI is what the loop knows of an attached ENI.
type knownENI struct {
	mac string
	mutable
	changed time.Time // by this agent
}

// metadataPoll compares IMDS with what the loop knows. It has a goroutine of its own, so
// that an idle agent makes no reconcile, and an IMDS that hangs holds up nothing.
type metadataPoll struct {
	// known holds the ENIs that are compared, by id, as the last reconcile left them.
	known atomic.Pointer[map[string]knownENI]

	// Of the goroutine: what the loop knew at the last round, and what IMDS shows
	// and EC2 need not be asked about: what it showed before a change that the loop
	// has learned since, for IMDS lags, or what EC2 has been asked about.
	before  map[string]mutable
	settled map[string]mutable
	asked   time.Time // EC2, last
	denied  int       // how often in a row it was asked and denied it
	next    time.Time // it is not asked before that
	asks    flowcontrol.PassiveRateLimiter
}

// expect takes in what the loop knows now.
func (p *metadataPoll) expect(enis []inventory.ENI, instanceID string) {
	all := map[string]knownENI{}
	for _, e := range enis {
		here := e.AttachedTo(instanceID) && !e.Attachment.Detaching()
		if mac := hardwareAddr(e.MAC); mac != nil && here && !e.Uncertain() && !e.TakenDown() {
			all[e.ID] = knownENI{mac.String(), mutableOf(e.Addresses, e.Groups), e.Changed}
		}
	}
	p.known.Store(&all)
}

// compare returns the ENIs of which IMDS shows what EC2 is to be asked about. What
// this agent has just changed itself IMDS need not show yet.
func (p *metadataPoll) compare(enis map[string]knownENI, shown map[string]mutable, now time.Time) map[string]mutable {
	found, before, settled := map[string]mutable{}, map[string]mutable{}, map[string]mutable{}
	for id, k := range enis {
		old, seen := p.before[id]
		if seen && now.Sub(k.changed) < inventory.ExpectationTimeout {
			before[id] = old
			if k.changed.After(p.asked) { // it has set back what EC2 confirmed
				p.denied, p.next = 0, time.Time{}
			}
			continue
		}
		before[id] = k.mutable
		ignored, ignore := p.settled[id]
		if seen && old.differs(k.mutable) {
			ignored, ignore = old, true
			p.denied, p.next = 0, time.Time{}
		}
		s, ok := shown[id]
		switch {
		case ok && !s.differs(k.mutable):
			continue // IMDS has caught up
		case ok && (!ignore || s != ignored):
			found[id] = s
		}
		if ignore {
			settled[id] = ignored
		}
	}
	p.before, p.settled = before, settled
	return found
}

// look asks IMDS about all ENIs. What it does not answer is left out.
func (p *metadataPoll) look(ctx context.Context, from Metadata) map[string]mutable {
	enis := p.known.Load()
	if enis == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	shown := map[string]mutable{}
	for id, k := range *enis {
		if i, err := from.Assigned(ctx, hardwareAddr(k.mac)); err == nil {
			shown[id] = mutableOf(i.Addresses, i.Groups)
		}
	}
	return p.compare(*enis, shown, time.Now())
}

// ask says whether EC2 is asked about what IMDS shows. That which has been asked about
// is asked about no more; and whatever IMDS shows when it is out of order, EC2 is
// asked less and less.
func (p *metadataPoll) ask(found map[string]mutable, now time.Time) bool {
	if p.asks == nil {
		p.asks = flowcontrol.NewTokenBucketPassiveRateLimiter(float32(1/describesEvery.Seconds()), describesAtOnce)
	}
	if len(found) == 0 || now.Before(p.next) || !p.asks.TryAccept() {
		return false
	}
	p.asked = now
	maps.Copy(p.settled, found)
	p.next = now.Add(min(pollEvery<<min(p.denied, 10), verifyEvery))
	p.denied++
	return true
}

// watchMetadata has EC2 asked when IMDS shows that others have changed an ENI's
// addresses or groups.
func (a *Agent) watchMetadata(ctx context.Context) {
	for backoff.Sleep(ctx, pollEvery+rand.N(pollEvery/4)) == nil {
		first := a.metadata.poll.look(ctx, a.Metadata)
		if len(first) == 0 || backoff.Sleep(ctx, pollAgain) != nil {
			continue
		}
		found := a.metadata.poll.look(ctx, a.Metadata)
		maps.DeleteFunc(found, func(id string, s mutable) bool { return first[id] != s })
		if !a.metadata.poll.ask(found, time.Now()) {
			continue
		}
		select {
		case <-ctx.Done():
		case a.calls.results <- func() {
			a.Log.Info("IMDS shows different addresses or security groups than EC2; checking in EC2", "enis", slices.Sorted(maps.Keys(found)))
			a.inventory.Resync.Now("IMDS shows different addresses or security groups")
		}:
		}
	}
}
