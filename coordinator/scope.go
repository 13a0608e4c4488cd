package coordinator

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// scope is what EC2 is asked for: all ENIs of the cluster, or those with one of the
// values. It is also what an answer speaks of.
type scope struct {
	all    bool
	values map[eni.Selector]map[string]bool
}

func (c *scope) add(by eni.Selector, values ...string) {
	if c.values == nil {
		c.values = map[eni.Selector]map[string]bool{}
	}
	if c.values[by] == nil {
		c.values[by] = map[string]bool{}
	}
	for _, value := range values {
		c.values[by][value] = true
	}
}

func (c *scope) merge(other scope) {
	c.all = c.all || other.all
	for by, values := range other.values {
		c.add(by, slices.Collect(maps.Keys(values))...)
	}
}

// without is what another scope leaves of this one.
func (c *scope) without(other scope) (rest scope) {
	rest.all = c.all && !other.all
	for by, values := range c.values {
		for value := range values {
			if !other.covers(by, value) {
				rest.add(by, value)
			}
		}
	}
	return rest
}

// covers says whether all ENIs with the value are in the scope.
func (c *scope) covers(by eni.Selector, value string) bool { return c.all || c.values[by][value] }

func (c *scope) size() (n int) {
	for _, values := range c.values {
		n += len(values)
	}
	return n
}

// question is one list that a scope comes to.
type question struct {
	by     eni.Selector
	values []string
}

// questions are those lists, ids first: their answers are short and bring ENIs on
// their way.
func (c *scope) questions() (all []question) {
	for _, by := range []eni.Selector{eni.ByID, eni.ByNode, eni.ByNodeENI} {
		for values := range slices.Chunk(slices.Sorted(maps.Keys(c.values[by])), eni.SelectorLimit) {
			all = append(all, question{by, values})
		}
	}
	return all
}

// maxConcerns is how much events may name before everything is listed instead,
// which is cheaper then. It also bounds what a coordinator that stands by keeps.
const maxConcerns = 5 * eni.SelectorLimit

// concerns gathers what events name until the next sweep.
type concerns struct {
	wake signal

	mu    sync.Mutex
	named scope
}

// add has the next sweep, which begins soon, look at the ENIs with one of the values.
func (c *concerns) add(by eni.Selector, values ...string) {
	var named scope
	named.add(by, values...)
	c.merge(named)
}

func (c *concerns) merge(named scope) {
	if !named.all && named.size() == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.named.merge(named); c.named.size() > maxConcerns {
		c.named = scope{all: true}
	}
	c.wake.set()
}

func (c *concerns) take() scope {
	c.mu.Lock()
	defer c.mu.Unlock()
	taken := c.named
	c.named = scope{}
	return taken
}

// sight is what EC2 has shown, and of what. Of ENIs outside the scope it says
// nothing: they may be there or not.
type sight struct {
	scope
	enis []eni.ENI
}

const (
	// listTime bounds a list of all ENIs, narrowTime one of some, with all the tries
	// that throttled pages need.
	listTime, narrowTime = 2 * time.Minute, 30 * time.Second
)

// look asks EC2. After an error it returns what has been answered until then.
func (s *sweeper) look(ctx context.Context, want scope) (seen sight, err error) {
	if want.all {
		enis, err := s.listAll(ctx)
		if err != nil {
			return sight{}, err
		}
		s.pages = 1 + len(enis)/eni.PageSize
		return sight{scope{all: true}, enis}, nil
	}
	listed := map[string]bool{}
	for _, q := range want.questions() {
		enis, err := s.listSome(ctx, q)
		if err != nil {
			return seen, err
		}
		seen.add(q.by, q.values...)
		for _, e := range enis {
			if !listed[e.ID] {
				listed[e.ID] = true
				seen.enis = append(seen.enis, e)
			}
		}
	}
	return seen, nil
}

func (s *sweeper) listAll(ctx context.Context) ([]eni.ENI, error) {
	ctx, cancel := context.WithTimeout(ctx, listTime)
	defer cancel()
	return s.ec2.OfCluster(ctx, s.cluster)
}

func (s *sweeper) listSome(ctx context.Context, q question) ([]eni.ENI, error) {
	s.heartbeat.Beat()
	ctx, cancel := context.WithTimeout(ctx, narrowTime)
	defer cancel()
	enis, err := s.ec2.OfClusterBy(ctx, s.cluster, q.by, q.values)
	s.describes.spend(1+len(enis)/eni.PageSize, time.Now())
	return enis, err
}

// The describes beside full sweeps are at most so many at once, and in the long run so
// many a second: with 5,000 ENIs listed every five minutes they stay below one a second.
const (
	describeBurst      = 5
	describesPerSecond = 0.75
)
