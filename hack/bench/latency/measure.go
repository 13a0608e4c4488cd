package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
)

// amount says how many samples are taken.
type amount struct {
	alone    int // laps of one node after the other
	batches  int // of together nodes
	together int
	quick    int // laps with an EC2 that costs nothing
	plugs    int // laps for each way a link is configured
	many     int // laps with as many ENIs as the instance takes
	repairs  int // of each kind of object
}

func amounts(short bool) amount {
	if short {
		return amount{alone: 6, batches: 1, together: 6, quick: 10, plugs: 6, many: 2, repairs: 6}
	}
	return amount{alone: 100, batches: 13, together: 8, quick: 100, plugs: 100, many: 10, repairs: 100}
}

// measured is all that was seen.
type measured struct {
	amount  amount
	alone   []*lap
	batches []*lap
	quick   []*lap
	plugs   []plugs
	many    []*lap
	repairs []repairs
	late    sample
}

// plugs are laps in which links are configured in one way.
type plugs struct {
	name string
	laps []*lap
}

func (b *bed) measure(ctx context.Context, n amount) (*measured, error) {
	m := &measured{amount: n}
	lateness := watchLateness()
	for _, part := range []struct {
		name string
		run  func(context.Context, *measured) error
	}{
		{"label to Ready, one node after the other", b.measureAlone},
		{fmt.Sprintf("label to Ready, %d nodes at once", n.together), b.measureBatches},
		{"label to Ready, EC2 in no time", b.measureQuick},
		{"hot-plug to configured", b.measurePlugs},
		{"repair", b.measureRepairs},
	} {
		began := time.Now()
		if err := part.run(ctx, m); err != nil {
			return nil, fmt.Errorf("%s: %w", part.name, err)
		}
		fmt.Fprintf(os.Stderr, "%s: measured, which took %v\n", part.name, time.Since(began).Round(time.Second))
	}
	m.late = lateness()
	return m, nil
}

// watchLateness takes the machine's own part: how much later than asked for a process
// of it gets to run.
func watchLateness() (stop func() sample) {
	const every = 5 * time.Millisecond
	done, taken := make(chan struct{}), make(chan sample)
	go func() {
		var late sample
		for {
			select {
			case <-done:
				taken <- late
				return
			default:
			}
			asked := time.Now().Add(every)
			time.Sleep(every)
			late = append(late, time.Since(asked))
		}
	}()
	return func() sample {
		close(done)
		return <-taken
	}
}

func (b *bed) measureAlone(ctx context.Context, m *measured) (err error) {
	m.alone, err = b.laps(ctx, m.amount.alone, hostSpec, 1)
	return err
}

func (b *bed) measureBatches(ctx context.Context, m *measured) error {
	for range m.amount.batches {
		laps, err := b.batch(ctx, m.amount.together, hostSpec, 1)
		if err != nil {
			return err
		}
		m.batches = append(m.batches, laps...)
	}
	return nil
}

func (b *bed) measureQuick(ctx context.Context, m *measured) error {
	if err := b.Sim.Cloud().SetTiming(quick); err != nil {
		return err
	}
	var err error
	m.quick, err = b.laps(ctx, m.amount.quick, hostSpec, 1)
	return err
}

func (b *bed) measurePlugs(ctx context.Context, m *measured) error {
	m.plugs = []plugs{{"addressing Host", m.quick}}
	for _, way := range []struct {
		name    string
		laps, n int
		spec    spec
		crowded bool
	}{
		{"addressing None", m.amount.plugs, 1, noneSpec, false},
		{"addressing Host, renamed", m.amount.plugs, 1, renamedSpec, false},
		{"addressing Host, others change the node 200 times a second", m.amount.plugs, 1, hostSpec, true},
		{fmt.Sprintf("addressing Host, %d ENIs on one node", enisPerNode), m.amount.many, enisPerNode, manySpec, false},
	} {
		quiet := func() error { return nil }
		if way.crowded {
			quiet = b.disturb()
		}
		laps, err := b.laps(ctx, way.laps, way.spec, way.n)
		if err == nil {
			err = quiet()
		}
		if err != nil {
			return fmt.Errorf("%s: %w", way.name, err)
		}
		m.plugs = append(m.plugs, plugs{way.name, laps})
		if way.n > 1 {
			m.many = laps
		}
	}
	return nil
}

// laps runs laps one after the other.
func (b *bed) laps(ctx context.Context, count int, s spec, n int) ([]*lap, error) {
	var laps []*lap
	for range count {
		node, err := b.take(ctx)
		if err == nil {
			err = b.calm(ctx)
		}
		if err != nil {
			return nil, err
		}
		l, err := b.run(ctx, node, s, n)
		if err != nil {
			return nil, err
		}
		laps = append(laps, l)
	}
	return laps, nil
}

// batch runs laps side by side.
func (b *bed) batch(ctx context.Context, count int, s spec, n int) ([]*lap, error) {
	laps := make([]*lap, count)
	taken := make([]string, count)
	for i := range taken {
		var err error
		if taken[i], err = b.take(ctx); err != nil {
			return nil, err
		}
	}
	if err := b.calm(ctx); err != nil {
		return nil, err
	}
	var group errgroup.Group
	for i, node := range taken {
		group.Go(func() (err error) {
			laps[i], err = b.run(ctx, node, s, n)
			return err
		})
	}
	return laps, group.Wait()
}
