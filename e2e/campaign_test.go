package e2e

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// A campaign is many runs of random operations, each from a seed. The
// environment says what `make torture` was asked for:
//
//	ENI_RUNS      how many runs
//	ENI_SEED      the seed of the first run, which repeats it alone unless
//	              ENI_RUNS is given too; then the others have the numbers after it
//	ENI_OPS       operations of a run
//	ENI_CLUSTERS  clusters that runs are done on side by side
//	ENI_AT_ONCE   runs that share a cluster, where they can
//	ENI_LOGS      directory where the logs of runs that fail are kept; a line
//	              per run is written to stderr when it is set
type campaign struct {
	test  string
	runs  int           // without ENI_RUNS
	ops   int           // without ENI_OPS
	takes time.Duration // a run, about
	// atOnce is how many runs share a cluster, without ENI_AT_ONCE; 0 is one.
	atOnce int
	// begin starts a cluster with at most so many arenas, for runs side by side.
	begin func(t *testing.T, atOnce int) []arena
}

// arena is a cluster, or a part of one, in which runs are done one after the other.
type arena interface {
	// run fails the cluster's test when something is not as it must be, and
	// returns how long everything took to settle.
	run(seed uint64, ops int) time.Duration
	shared() *cluster
}

// result is a run that has ended.
type result struct {
	seed    uint64
	settled time.Duration
	awaited string // what came last
	ok      bool
}

// slow is from when on a run's line says what it waited for.
const slow = 5 * time.Second

// run does all runs, and begins with a new cluster after one that failed: what
// it has left would spoil the next.
func (c campaign) run(t *testing.T) {
	seeds, ops := c.seeds(t), number(t, "ENI_OPS", c.ops)
	clusters := min(max(1, number(t, "ENI_CLUSTERS", 1)), len(seeds))
	if c.atOnce > 0 {
		c.atOnce = number(t, "ENI_AT_ONCE", c.atOnce)
	}
	c.atOnce = min(max(1, c.atOnce), len(seeds))
	about := c.takes * time.Duration(len(seeds)*ops) / time.Duration(clusters*c.atOnce*c.ops)
	c.say("%d runs of %d operations, %d side by side: about %v", len(seeds), ops, clusters*c.atOnce, about.Round(time.Minute/2))

	todo := make(chan uint64, len(seeds))
	for _, seed := range seeds {
		todo <- seed
	}
	close(todo)
	var mu sync.Mutex
	var results []result
	done := func(r result, took time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		results = append(results, r)
		verdict := "ok"
		if !r.ok {
			verdict = "FAILED"
		}
		c.say("%d/%d seed=%d took %v, settled in %v: %s", len(results), len(seeds), r.seed, took.Round(100*time.Millisecond), r.settled.Round(10*time.Millisecond), verdict)
		if r.ok && r.settled >= slow {
			c.say("seed=%d waited for: %s", r.seed, brief(r.awaited))
		}
	}
	t.Run("runs", func(t *testing.T) {
		for i := range clusters {
			t.Run(fmt.Sprint("cluster-", i+1), func(t *testing.T) {
				if clusters > 1 {
					t.Parallel()
				}
				for life := 1; len(todo) > 0; life++ {
					t.Run(fmt.Sprint("life-", life), func(t *testing.T) { c.life(t, todo, ops, done) })
				}
			})
		}
	})
	c.say("%s", summary(results))
}

// life does runs on one cluster until one has failed in each of its arenas.
func (c campaign) life(t *testing.T, todo <-chan uint64, ops int, done func(result, time.Duration)) {
	var working sync.WaitGroup
	for _, a := range c.begin(t, c.atOnce) {
		working.Go(func() { c.work(a, todo, ops, done) })
	}
	working.Wait()
}

// work does runs in an arena until one fails.
func (c campaign) work(a arena, todo <-chan uint64, ops int, done func(result, time.Duration)) {
	for seed := range todo {
		began, r := time.Now(), result{seed: seed}
		r.ok = a.shared().run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			shared := a.shared()
			close := shared.journalOf(c.test, seed)
			defer close()
			shared.logf("make torture TORTURE=%s SEED=%d OPS=%d repeats this run", c.test, seed, ops)
			r.settled = a.run(seed, ops)
			r.awaited = shared.awaited
		})
		done(r, time.Since(began))
		if !r.ok {
			c.say("seed=%d is repeated by: make torture TORTURE=%s SEED=%d OPS=%d", seed, c.test, seed, ops)
			if dir := os.Getenv("ENI_LOGS"); dir != "" {
				c.say("seed=%d: its operations are in %s, the programs' logs in %s", seed, journal(c.test, seed), a.shared().dir)
			}
			return
		}
	}
}

func (c campaign) seeds(t *testing.T) []uint64 {
	runs := c.runs
	first := rand.Uint64N(1_000_000)
	if os.Getenv("ENI_SEED") != "" {
		first, runs = uint64(number(t, "ENI_SEED", 0)), 1
	}
	seeds := make([]uint64, number(t, "ENI_RUNS", runs))
	for i := range seeds {
		seeds[i] = first + uint64(i)
	}
	return seeds
}

// say writes a line for those who watch a campaign.
func (c campaign) say(format string, args ...any) {
	if inCampaign() {
		fmt.Fprintf(os.Stderr, "%s %s: %s\n", time.Now().Format(time.TimeOnly), c.test, fmt.Sprintf(format, args...))
	}
}

// summary tells how long runs took to settle.
func summary(results []result) string {
	if len(results) == 0 {
		return "no run"
	}
	slices.SortFunc(results, func(a, b result) int { return cmp.Compare(a.settled, b.settled) })
	var failed []string
	for _, r := range results {
		if !r.ok {
			failed = append(failed, strconv.FormatUint(r.seed, 10))
		}
	}
	at := func(percent int) time.Duration {
		return results[(len(results)-1)*percent/100].settled.Round(10 * time.Millisecond)
	}
	last := results[len(results)-1]
	text := fmt.Sprintf("%d runs; settled in p50 %v, p99 %v, at most %v (seed=%d)", len(results), at(50), at(99), last.settled.Round(10*time.Millisecond), last.seed)
	if len(failed) == 0 {
		return text + "; none failed"
	}
	return fmt.Sprintf("%s; %d FAILED, seeds %s", text, len(failed), strings.Join(failed, " "))
}

// brief is the beginning of a text, in one line.
func brief(text string) string {
	const limit = 300
	text = strings.Join(strings.Fields(text), " ")
	return text[:min(limit, len(text))]
}

// number reads an environment variable.
func number(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		t.Fatalf("%s=%q: want a number", name, text)
	}
	return n
}

func journal(test string, seed uint64) string {
	return filepath.Join(os.Getenv("ENI_LOGS"), fmt.Sprintf("%s-%d.log", test, seed))
}

// journalOf lets logf write to a file too, until close is called; the file of a
// run without failure is removed.
func (c *cluster) journalOf(test string, seed uint64) (close func()) {
	if !inCampaign() {
		return func() {}
	}
	file, err := os.Create(journal(test, seed))
	c.must(err)
	c.journal = file
	return func() {
		c.journal = nil
		_ = file.Close()
		if !c.t.Failed() {
			_ = os.Remove(file.Name())
		}
	}
}

// logf logs to the test and to the journal of the run.
func (c *cluster) logf(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if c.t.Helper(); c.journal != nil {
		fmt.Fprintln(c.journal, strings.TrimSuffix(text, "\n"))
	}
	c.t.Log(text)
}

// errorf fails the test, and says so in the journal of the run too.
func (c *cluster) errorf(format string, args ...any) {
	c.t.Helper()
	c.logf(format, args...)
	c.t.Fail()
}

// in does something after a time, within the run.
func (c *cluster) in(d time.Duration, f func()) {
	c.later.Go(func() {
		time.Sleep(d)
		f()
	})
}
