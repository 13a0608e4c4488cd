package main

import (
	"context"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/fleet"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// counts is what was counted in a phase.
type counts struct {
	Took        time.Duration
	Calls       fleet.Calls
	API         fleet.APIServer
	Coordinator fleet.Process // CPU of the phase; memory at most since the start
	Restarts    int           // of the coordinator, since the start
	OwnGets     int           // of NodeENIs, by this program
}

// meter counts from one moment on.
type meter struct {
	b           *bench
	began       time.Time
	calls       fleet.Calls
	api         fleet.APIServer
	coordinator fleet.Process
	gets        int64
}

func (b *bench) meter(ctx context.Context) (*meter, error) {
	api, err := b.cluster.Requests(ctx)
	if err != nil {
		return nil, err
	}
	coordinator, _ := b.coordinator.usage()
	return &meter{b: b, began: time.Now(), calls: b.cluster.Calls(), api: api, coordinator: coordinator, gets: b.gets.Load()}, nil
}

func (m *meter) read(ctx context.Context) (counts, error) {
	api, err := m.b.cluster.Requests(ctx)
	if err != nil {
		return counts{}, err
	}
	c := counts{
		Took: time.Since(m.began), Calls: m.b.cluster.Calls().Since(m.calls), API: api.Since(m.api),
		OwnGets: int(m.b.gets.Load() - m.gets),
	}
	c.Coordinator, c.Restarts = m.b.coordinator.usage()
	c.Coordinator.CPU -= m.coordinator.CPU
	return c, nil
}

// watchSize keeps the size of the largest NodeENI up to date, until ctx ends.
func (b *bench) watchSize(ctx context.Context) {
	for {
		for _, name := range fleet.NodeENIs(b.enis) {
			b.gets.Add(1)
			object, err := b.cluster.Client.API.Get().Resource(kube.NodeENIs).Name(name).Do(ctx).Raw()
			if err == nil {
				b.figures.largestNodeENI(len(object))
			}
		}
		if sleep(ctx, 5*time.Second) != nil {
			return
		}
	}
}
