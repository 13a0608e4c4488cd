package agent

import (
	"slices"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/agent/inventory"
	"github.com/aws-multi-eni/aws-multi-eni/agent/retry"
)

// intent is the decision to create an ENI. It is in the node's report before EC2 is
// asked, so that an agent that was killed asks in the same words again.
type intent struct {
	nodeENI   string // name, for the report
	createdAt time.Time
	replaces  string // the ENI that was here before and is gone
	// unanswered is when EC2 was last asked, or may have been, without an answer that
	// tells whether there is an ENI. It is not part of the decision.
	unanswered time.Time
}

// is compares times as times: one may have been through the API server.
func (i intent) is(other intent) bool {
	return i.createdAt.Equal(other.createdAt) && i.replaces == other.replaces
}

// intents are the decisions of this node.
type intents map[inventory.Slot]intent

// record makes the intents of ENIs to be created. The next report holds them, and only
// then EC2 is asked. What it said of an earlier decision does not count.
func (i intents) record(slots []inventory.Slot, d desired, failures *retry.Failures, now time.Time) {
	for _, s := range slots {
		decided := i[s]
		decided.createdAt = now.UTC().Truncate(time.Second)
		for _, w := range d.wants {
			if w.Slot == s {
				decided.nodeENI = w.nodeENI
			}
		}
		i[s] = decided
		if !s.OnDemand() { // all places of a subnet wait for what keeps one from its ENI
			failures.Reset(call{verb: create, slot: s}.key())
		}
	}
}

// replace notes that the ENI of a slot is gone: the one that takes its place says so.
func (i intents) replace(s inventory.Slot, nodeENI, gone string) {
	i[s] = intent{nodeENI: nodeENI, replaces: gone}
}

// supersede replaces a decision that the ENI which came of it is no longer for.
func (i intents) supersede(s inventory.Slot, nodeENI, made string, now time.Time) {
	i[s] = intent{nodeENI: nodeENI, createdAt: now.UTC().Truncate(time.Second), replaces: made}
}

// forget drops a decision of which no ENI is left; another one needs another.
func (i intents) forget(s inventory.Slot) {
	decided := i[s]
	decided.createdAt = time.Time{}
	i[s] = decided
}

// unanswered notes that an ENI may have been created though EC2 has not said so.
func (i intents) unanswered(s inventory.Slot, now time.Time) {
	if decided, ok := i[s]; ok {
		decided.unanswered = now
		i[s] = decided
	}
}

// expire forgets decisions about NodeENIs that no longer exist. In a cluster a UID never
// comes back; that of a file does with the file.
func (i intents) expire(v view, s selection) {
	for slot, decided := range i {
		_, exists := s.nodeENIs[slot.UID]
		returns := v.collects && (decided.replaces != "" && decided.createdAt.IsZero() || v.mayHaveCreated(slot))
		if !exists && s.snapshot.NodeExists && !v.desired.mayWant(slot.UID) && !returns {
			delete(i, slot)
		}
	}
}

// mayHaveCreated says whether an ENI may come of a decision that nothing stands for any
// more: EC2 is being asked, or has been without an answer, and describes may lag.
func (v view) mayHaveCreated(s inventory.Slot) bool {
	decided := v.intents[s]
	return v.collects && !decided.createdAt.IsZero() && (v.creating[s] || v.now.Sub(decided.unanswered) < inventory.ConsistencyWindow) &&
		!slices.ContainsFunc(v.enis, func(e inventory.ENI) bool { return e.Slot() == s })
}

// unwanted are the slots that nothing wants and in which an ENI may have been created.
func (v view) unwanted() map[inventory.Slot]bool {
	wanted, slots := v.desired.slots(), map[inventory.Slot]bool{}
	for s := range v.intents {
		if !wanted[s] && v.mayHaveCreated(s) {
			slots[s] = true
		}
	}
	return slots
}
