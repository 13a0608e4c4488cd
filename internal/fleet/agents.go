package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/aws-multi-eni/aws-multi-eni/agent"
)

// Config says how agents reach their servers, and how they are started.
type Config struct {
	APIURL string
	APICA  []byte // PEM
	EC2URL string
	// VerifyEvery is how often an agent asks EC2 when nothing happens; 0 is as
	// often as eni-agent does.
	VerifyEvery time.Duration
	// OnDemand is how long ENIs stay that no claim has; 0: claims are given none. Dir then
	// takes the files of each node.
	OnDemand time.Duration
	Dir      string
	// AtOnce is how many agents connect side by side when many are started; 0 is
	// all of them.
	AtOnce int
}

// Agents are the agents of this process. All methods may be called at any time.
type Agents struct {
	log      *slog.Logger
	api, ec2 wire

	mu      sync.Mutex
	hosts   map[string]*host
	running map[string]*member
}

// member is a running agent.
type member struct {
	cfg   Config
	node  Node
	host  *host
	stop  context.CancelFunc
	begun chan struct{} // closed when it has read what is wanted
	done  chan struct{} // closed when it has ended

	agent *agent.Agent // since begun
	err   error        // since done
}

// NewAgents makes a fleet without agents.
func NewAgents(log *slog.Logger) *Agents {
	return &Agents{log: log, hosts: map[string]*host{}, running: map[string]*member{}}
}

// Start starts the agents of nodes. It returns when all have read what is wanted
// of them, which is before they have asked EC2, or when some could not.
func (a *Agents) Start(cfg Config, nodes []Node) error {
	var starting errgroup.Group
	if cfg.AtOnce > 0 {
		starting.SetLimit(cfg.AtOnce)
	}
	for _, n := range nodes {
		starting.Go(func() error { return a.start(cfg, n) })
	}
	return starting.Wait()
}

func (a *Agents) start(cfg Config, n Node) error {
	ctx, stop := context.WithCancel(context.Background())
	m := &member{cfg: cfg, node: n, host: a.host(n.Name), stop: stop, begun: make(chan struct{}), done: make(chan struct{})}
	a.mu.Lock()
	taken := a.running[n.Name] != nil
	if !taken {
		a.running[n.Name] = m
	}
	a.mu.Unlock()
	if taken {
		stop()
		return fmt.Errorf("the agent of %s is running already", n.Name)
	}
	go func() {
		defer close(m.done)
		m.err = a.run(ctx, m)
		if m.err != nil && ctx.Err() == nil {
			a.log.Error("an agent has ended", "node", n.Name, "error", m.err)
		}
	}()
	select {
	case <-m.begun:
		return nil
	case <-m.done:
		return fmt.Errorf("agent of %s: %w", n.Name, m.err)
	}
}

// Stop ends agents as SIGTERM does and waits for their end.
func (a *Agents) Stop(names []string) error {
	var ending []*member
	a.mu.Lock()
	for _, name := range names {
		if m := a.running[name]; m != nil {
			m.stop()
			ending = append(ending, m)
			delete(a.running, name)
		}
	}
	a.mu.Unlock()
	var errs []error
	for _, m := range ending {
		<-m.done
		if m.err != nil && !errors.Is(m.err, context.Canceled) {
			errs = append(errs, fmt.Errorf("agent of %s: %w", m.node.Name, m.err))
		}
	}
	return errors.Join(errs...)
}

// Unready counts the agents that have not heard from EC2 yet, or have ended.
func (a *Agents) Unready() int {
	n := 0
	for _, m := range a.all() {
		select {
		case <-m.done:
			n++
		case <-m.begun:
			if m.agent.Ready() != nil {
				n++
			}
		default:
			n++
		}
	}
	return n
}

func (a *Agents) all() []*member {
	a.mu.Lock()
	defer a.mu.Unlock()
	members := make([]*member, 0, len(a.running))
	for _, m := range a.running {
		members = append(members, m)
	}
	return members
}

// host is a node's links; they outlive its agent.
func (a *Agents) host(node string) *host {
	a.mu.Lock()
	defer a.mu.Unlock()
	h := a.hosts[node]
	if h == nil {
		h = newHost()
		a.hosts[node] = h
	}
	return h
}

// Plug makes an ENI's link appear on a node.
func (a *Agents) Plug(p Plug) { a.host(p.Node).plug(p) }

// Unplug makes a link disappear.
func (a *Agents) Unplug(node, eni string) { a.host(node).unplug(eni) }
