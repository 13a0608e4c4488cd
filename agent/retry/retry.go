// Package retry knows what has failed, how often, and when it may be tried again.
package retry

import (
	"maps"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// Key names what is tried: two attempts with one Key share their backoff.
type Key struct {
	// Action is EC2's name of the call, or a word for what is no call to EC2.
	Action string
	// Of is the attribute that a Modify call changes, or what a look-up goes by.
	Of string
	// What it is about; empty where that does not matter.
	NodeENI types.UID
	Subnet  string
	ENI     string
	Index   int32
	Name    string // an id or a name that is looked up
}

// Failure is the last failure of one thing, and when it may be tried again.
type Failure struct {
	Err      error
	Attempts int // with this backoff, since the last success
	Until    time.Time

	turn turn // of a throttled call
	// When EC2 is in trouble its errors alternate, so each backoff counts for itself,
	// and an error of one code is new once.
	attempts map[Backoff]int
	since    map[string]time.Time // by code, the first since the last success
}

// Terminal: waiting alone does not help, as far as anything here knows.
func (f Failure) Terminal() bool { return eni.IsTerminal(f.Err) || eni.IsRefusal(f.Err) }

// Since is when the error's code was first seen since the last success.
func (f Failure) Since() time.Time { return f.since[eni.Code(f.Err)] }

// AwaitsTurn says whether the call is throttled and its turn is still to be drawn.
func (f Failure) AwaitsTurn() bool { return f.turn.due }

// Failures are those since the last success of what they are about. The zero value is
// ready for use, by one goroutine.
type Failures struct{ byKey map[Key]Failure }

// Failed notes a failure. repeated says that an error of this code has been seen since
// the last success.
func (f *Failures) Failed(key Key, err error, now time.Time) (failed Failure, repeated bool) {
	failed = f.byKey[key]
	if failed.attempts == nil {
		failed.attempts, failed.since = map[Backoff]int{}, map[string]time.Time{}
	}
	if _, repeated = failed.since[eni.Code(err)]; !repeated {
		failed.since[eni.Code(err)] = now
	}
	backoff, throttled := backoffOf(key.Action, err), eni.IsThrottled(err)
	wait := backoff.Delay
	if throttled {
		wait = throttledDelay
	}
	failed.Err, failed.Until = err, now.Add(wait(failed.attempts[backoff]))
	failed.attempts[backoff]++
	failed.Attempts = failed.attempts[backoff]
	failed.turn = turn{due: throttled, idle: now}
	if f.byKey == nil {
		f.byKey = map[Key]Failure{}
	}
	f.byKey[key] = failed
	return failed, repeated
}

// Reset forgets the failures of what has succeeded, or need not wait any more.
func (f *Failures) Reset(key Key) { delete(f.byKey, key) }

// Get is the last failure, if there is one since the last success.
func (f *Failures) Get(key Key) (Failure, bool) {
	failed, ok := f.byKey[key]
	return failed, ok
}

// Err is the error of the last failure, or nil.
func (f *Failures) Err(keys ...Key) error {
	for _, key := range keys {
		if err := f.byKey[key].Err; err != nil {
			return err
		}
	}
	return nil
}

// Terminal says whether the last attempt failed for good, as far as is known.
func (f *Failures) Terminal(key Key) bool { return f.byKey[key].Terminal() }

// Blocks says whether it is too early to try again.
func (f *Failures) Blocks(key Key, now time.Time) bool {
	return f.byKey[key].turn.due || now.Before(f.byKey[key].Until)
}

// Refuses says whether EC2 has refused it until a person ends that, though the instance
// takes more ENIs.
func (f *Failures) Refuses(key Key) bool {
	failed := f.byKey[key]
	return failed.Terminal() && !eni.IsAttachmentLimit(failed.Err)
}

// Times are when what has failed may be tried again.
func (f *Failures) Times() (times []time.Time) {
	for _, failed := range f.byKey {
		times = append(times, failed.Until)
	}
	return times
}

// Forget drops the failures about what is no more, when their wait is over: what comes
// back soon waits on.
func (f *Failures) Forget(now time.Time, exists func(Key) bool) {
	f.drop(func(key Key, failed Failure) bool { return now.After(failed.Until) && !exists(key) })
}

func (f *Failures) drop(when func(Key, Failure) bool) { maps.DeleteFunc(f.byKey, when) }

// What failed until something changes is tried again at once when that changes, and
// for no other change: a fleet in which each change had every node try again would
// use up EC2's buckets. A NodeENI's change concerns its own calls, room on the
// instance those that lacked it. Of IAM nothing tells: see permissionBackoff.

// RetryChanged lets the calls that wait for a change of one of these NodeENIs be made at
// once.
func (f *Failures) RetryChanged(nodeENIs map[types.UID]bool) {
	f.drop(func(key Key, failed Failure) bool {
		return failed.Terminal() && !lacksCapacity(failed.Err) && nodeENIs[key.NodeENI]
	})
}

// RetryLookUps lets what a changed NodeENI names be looked up at once.
func (f *Failures) RetryLookUps(refs []Key) {
	for _, ref := range refs {
		delete(f.byKey, ref)
		if ref.Name = ""; f.Terminal(ref) {
			delete(f.byKey, ref)
		}
	}
}

// Gone forgets what has failed about an ENI that is gone, and lets be tried at once
// what found no room on the instance, or no free address in the ENI's subnet.
func (f *Failures) Gone(eniID, subnet string) {
	f.CapacityFreed()
	f.drop(func(key Key, failed Failure) bool {
		return key.ENI == eniID || key.Subnet == subnet && eni.IsSubnetFull(failed.Err)
	})
}

// CapacityFreed lets what found no room on the instance be tried at once: an ENI has left.
func (f *Failures) CapacityFreed() {
	f.drop(func(_ Key, failed Failure) bool { return lacksCapacity(failed.Err) })
}

// AwaitsCapacity says whether anything waits for room on the instance.
func (f *Failures) AwaitsCapacity() bool {
	return f.any(func(failed Failure) bool { return lacksCapacity(failed.Err) })
}

func (f *Failures) any(is func(Failure) bool) bool {
	for _, failed := range f.byKey {
		if is(failed) {
			return true
		}
	}
	return false
}

func lacksCapacity(err error) bool { return eni.IsAttachmentLimit(err) || eni.IsENIQuota(err) }
