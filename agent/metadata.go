package agent

import (
	"context"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"k8s.io/client-go/util/flowcontrol"

	"github.com/aws-multi-eni/aws-multi-eni/imds"
)

const (
	// peekEvery is how often IMDS is asked for what others may have changed, or up to
	// a quarter later: with peekAgain this is within a minute. IMDS is on the host;
	// two requests per ENI are far below its limit, and make no pass of the loop.
	peekEvery = 35 * time.Second
	// peekAgain is when a difference is looked at again before EC2 is asked: by then
	// its describes show the change, too.
	peekAgain = 10 * time.Second
	// peekAsks is how many times in a row EC2 is asked so soon, and peekAsksEvery how
	// often after that: others may go on setting back what the agent sets, on all nodes
	// of a fleet, as AWS Firewall Manager does with groups.
	peekAsks      = 10
	peekAsksEvery = 6 * time.Minute
	// peekTimeout ends one round of requests.
	peekTimeout = 10 * time.Second
	// hintsPatience is how long an attach call waits for IMDS to name the device
	// indexes that others hold. Without its answer EC2 tells, by refusing.
	hintsPatience = 250 * time.Millisecond
)

// indexHints is the question to IMDS which device indexes others hold.
type indexHints struct {
	asked int       // how often
	until time.Time // attach calls wait for the answer; zero when nothing is asked
}

// askHints asks IMDS beside EC2: it may hang, and nothing rests on it.
func (a *Agent) askHints(ctx context.Context, now time.Time) {
	a.hints.asked++
	a.hints.until = now.Add(hintsPatience)
	asked := a.hints.asked
	go func() {
		ctx, cancel := context.WithTimeout(ctx, peekTimeout)
		defer cancel()
		interfaces, _ := a.Metadata.Interfaces(ctx)
		a.results <- func() {
			if latest := a.hints.asked == asked; latest {
				a.hints.until = time.Time{}
				a.learnIndexes(interfaces)
			}
		}
	}()
}

// learnIndexes notes the device indexes that IMDS shows as held by others. It is
// a hint that spares a vain attach call; when IMDS lags, EC2 tells.
func (a *Agent) learnIndexes(interfaces []imds.Interface) {
	for _, i := range interfaces {
		if err := a.Links.Know(i.MAC); err != nil {
			a.Log.Warn("the host's routes could not be read", "error", err)
		}
	}
	if len(interfaces) > 0 {
		a.learnInterfaces(interfaces)
		a.taken = indexesTaken(interfaces, a.known, a.taken, a.present)
	}
}

// indexesTaken are the device indexes that IMDS shows as held by ENIs that are
// not known as ours. IMDS lists an ENI for minutes after it was detached, so the
// link has to be here, or EC2 must have told before that the ENI holds the index.
func indexesTaken(interfaces []imds.Interface, ours map[string]bool, before map[int32]string, here func(net.HardwareAddr) bool) map[int32]string {
	taken := map[int32]string{}
	for _, i := range interfaces {
		index := int32(i.DeviceIndex)
		if !i.Settled || index <= 0 || i.Card != 0 || ours[i.ENIID] {
			continue
		}
		if before[index] == i.ENIID || here(i.MAC) {
			taken[index] = i.ENIID
		}
	}
	return taken
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

// peek compares IMDS with what the loop knows. It has a goroutine of its own, so that
// an idle agent makes no pass, and an IMDS that hangs holds up nothing.
type peek struct {
	// known holds the ENIs that are compared, by id, as the last pass left them.
	known atomic.Pointer[map[string]knownENI]

	// Of the goroutine: what the loop knew at the last round, and what IMDS shows
	// and EC2 need not be asked about: what it showed before a change that the loop
	// has learned since, for IMDS lags, or what EC2 has been asked about.
	before  map[string]mutable
	settled map[string]mutable
	asked   time.Time // EC2, last
	vain    int       // how often in a row it was asked and denied it
	next    time.Time // it is not asked before that
	asks    flowcontrol.PassiveRateLimiter
}

// expect takes in what the loop knows now.
func (p *peek) expect(enis []tracked, instanceID string) {
	all := map[string]knownENI{}
	for _, e := range enis {
		here := e.Attachment != nil && e.Attachment.InstanceID == instanceID && !e.Attachment.Detaching()
		if mac := hardwareAddr(e.MAC); mac != nil && here && !e.doubtful() && !e.released {
			all[e.ID] = knownENI{mac.String(), mutableOf(e.Addresses, e.Groups), e.changed}
		}
	}
	p.known.Store(&all)
}

// compare returns the ENIs of which IMDS shows what EC2 is to be asked about. What
// this agent has just changed itself IMDS need not show yet.
func (p *peek) compare(enis map[string]knownENI, shown map[string]mutable, now time.Time) map[string]mutable {
	found, before, settled := map[string]mutable{}, map[string]mutable{}, map[string]mutable{}
	for id, k := range enis {
		old, seen := p.before[id]
		if seen && now.Sub(k.changed) < settledAfter {
			before[id] = old
			if k.changed.After(p.asked) { // it has set back what EC2 confirmed
				p.vain, p.next = 0, time.Time{}
			}
			continue
		}
		before[id] = k.mutable
		ignored, ignore := p.settled[id]
		if seen && old.differs(k.mutable) {
			ignored, ignore = old, true
			p.vain, p.next = 0, time.Time{}
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
func (p *peek) look(ctx context.Context, from Metadata) map[string]mutable {
	enis := p.known.Load()
	if enis == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, peekTimeout)
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
func (p *peek) ask(found map[string]mutable, now time.Time) bool {
	if p.asks == nil {
		p.asks = flowcontrol.NewTokenBucketPassiveRateLimiter(float32(1/peekAsksEvery.Seconds()), peekAsks)
	}
	if len(found) == 0 || now.Before(p.next) || !p.asks.TryAccept() {
		return false
	}
	p.asked = now
	for id, s := range found {
		p.settled[id] = s
	}
	p.next = now.Add(min(peekEvery<<min(p.vain, 10), verifyEvery))
	p.vain++
	return true
}

// watchMetadata has EC2 asked when IMDS shows that others have changed an ENI's
// addresses or groups.
func (a *Agent) watchMetadata(ctx context.Context) {
	pause := func(d time.Duration) bool {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(d):
			return true
		}
	}
	for pause(peekEvery + rand.N(peekEvery/4)) {
		first := a.peek.look(ctx, a.Metadata)
		if len(first) == 0 || !pause(peekAgain) {
			continue
		}
		found := a.peek.look(ctx, a.Metadata)
		maps.DeleteFunc(found, func(id string, s mutable) bool { return first[id] != s })
		if !a.peek.ask(found, time.Now()) {
			continue
		}
		select {
		case <-ctx.Done():
		case a.results <- func() { a.suspect(slices.Sorted(maps.Keys(found))) }:
		}
	}
}

// suspect has EC2 asked what others have changed.
func (a *Agent) suspect(enis []string) {
	a.Log.Info("IMDS shows other addresses or security groups than EC2 did; EC2 is asked", "enis", enis)
	a.doubt()
}
