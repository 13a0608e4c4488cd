package coordinator

import (
	"context"
	"slices"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/program"
)

const (
	// listTimeout bounds a list of all ENIs, and filteredTimeout one of some, with the
	// retries of throttled pages.
	listTimeout, filteredTimeout = 2 * time.Minute, 30 * time.Second

	// Apart from full sweeps there are so many describes at most at once, and per second in
	// the long run. With 5,000 ENIs listed every five minutes, all describes stay below one
	// per second.
	describeBurst      = 5
	describesPerSecond = 0.75
)

// describer asks EC2 for ENIs.
type describer struct {
	ec2       *eni.Client
	cluster   string
	heartbeat *program.Heartbeat
	limit     tokenBucket // of describes apart from full sweeps
	pages     int         // of the last list of all ENIs
}

// listing is the ENIs that EC2 has shown, and the filters that it was asked with. It says
// nothing about ENIs that the filters do not cover.
type listing struct {
	filters
	enis []eni.ENI
}

// describe asks for the cluster's ENIs. After an error it returns what EC2 has answered
// before.
func (d *describer) describe(ctx context.Context, want filters, full bool) (seen listing, err error) {
	if want.all {
		enis, err := d.listAll(ctx)
		if err != nil {
			return listing{}, err
		}
		if d.pages = 1 + len(enis)/eni.PageSize; !full {
			d.limit.spend(d.pages, time.Now())
		}
		return listing{filters{all: true}, enis}, nil
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
		for _, e := range enis {
			if !listed[e.ID] {
				listed[e.ID] = true
				seen.enis = append(seen.enis, e)
			}
		}
	}
	return seen, nil
}

func (d *describer) listAll(ctx context.Context) ([]eni.ENI, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	return d.ec2.OfCluster(ctx, d.cluster)
}

// describeAny asks for ENIs with any tags.
func (d *describer) describeAny(ctx context.Context, by eni.Selector, values []string) (all []eni.ENI, err error) {
	ctx, cancel := context.WithTimeout(ctx, filteredTimeout)
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
	ctx, cancel := context.WithTimeout(ctx, filteredTimeout)
	defer cancel()
	enis, err := call(ctx)
	d.limit.spend(1+len(enis)/eni.PageSize, time.Now())
	return enis, err
}
