package coordinator

import (
	"context"
	"slices"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/program"
)

const (
	// listTime bounds a list of all ENIs, narrowTime one of some, with all the tries
	// that throttled pages need.
	listTime, narrowTime = 2 * time.Minute, 30 * time.Second

	// The describes beside full sweeps are at most so many at once, and in the long run
	// so many a second: with 5,000 ENIs listed every five minutes they stay below one a
	// second.
	describeBurst      = 5
	describesPerSecond = 0.75
)

// describer asks EC2 for ENIs.
type describer struct {
	ec2       *eni.Client
	cluster   string
	heartbeat *program.Heartbeat
	limit     tokenBucket // of the describes beside full sweeps
	pages     int         // that a list of all ENIs had last
}

// listing is what EC2 has shown, and of what. Of ENIs that the filters do not cover it
// says nothing: they may be there or not.
type listing struct {
	filters
	enis []eni.ENI
}

// describe asks for the cluster's ENIs. After an error it returns what has been answered
// until then.
func (d *describer) describe(ctx context.Context, want filters, full bool) (seen listing, err error) {
	if want.all {
		enis, err := d.listAll(ctx)
		if err != nil {
			return listing{}, err
		}
		if d.pages = 1 + len(enis)/eni.PageSize; !full {
			d.limit.spend(d.pages, time.Now())
		}
		return listing{filters{all: true}, d.ours(enis)}, nil
	}
	listed := map[string]bool{}
	for _, f := range want.calls() {
		enis, err := d.list(ctx, func(ctx context.Context) ([]eni.ENI, error) {
			return d.ec2.OfClusterBy(ctx, d.cluster, f.by, f.values)
		})
		if err != nil {
			return seen, err
		}
		seen.add(f.by, f.values...)
		for _, e := range d.ours(enis) {
			if !listed[e.ID] {
				listed[e.ID] = true
				seen.enis = append(seen.enis, e)
			}
		}
	}
	return seen, nil
}

// ours are those that bear this cluster's tag. EC2's filter said so too, but in a filter
// * and ? match anything.
func (d *describer) ours(enis []eni.ENI) []eni.ENI {
	return slices.DeleteFunc(enis, func(e eni.ENI) bool { return e.Owner.Cluster != d.cluster })
}

func (d *describer) listAll(ctx context.Context) ([]eni.ENI, error) {
	ctx, cancel := context.WithTimeout(ctx, listTime)
	defer cancel()
	return d.ec2.OfCluster(ctx, d.cluster)
}

// describeAny asks for ENIs whatever their tags.
func (d *describer) describeAny(ctx context.Context, by eni.Selector, values []string) (all []eni.ENI, err error) {
	ctx, cancel := context.WithTimeout(ctx, narrowTime)
	defer cancel()
	for part := range slices.Chunk(values, eni.SelectorLimit) {
		enis, err := d.list(ctx, func(ctx context.Context) ([]eni.ENI, error) { return d.ec2.Any(ctx, by, part) })
		if err != nil {
			return nil, err
		}
		all = append(all, enis...)
	}
	return all, nil
}

func (d *describer) list(ctx context.Context, call func(context.Context) ([]eni.ENI, error)) ([]eni.ENI, error) {
	d.heartbeat.Beat()
	ctx, cancel := context.WithTimeout(ctx, narrowTime)
	defer cancel()
	enis, err := call(ctx)
	d.limit.spend(1+len(enis)/eni.PageSize, time.Now())
	return enis, err
}
