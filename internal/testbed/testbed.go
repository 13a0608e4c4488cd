// Package testbed is a small cluster on this machine for the end-to-end tests
// and for the demo: a real API server, the simulator with its nodes in network
// namespaces, and real agent and coordinator processes.
package testbed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/aws-multi-eni/aws-multi-eni/internal/controlplane"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim"
)

// apiService is the name under which the nodes of the first cluster reach their
// API server; those of others have a number behind it.
const apiService = "kube-apiserver"

// Namespace is where agent and coordinator live.
const Namespace = "eni-system"

// Config says what to start.
type Config struct {
	// Programs is the directory that holds eni-agent and eni-coordinator, see
	// Build, and, for pods, a directory cni with the CNI plugins, see BuildPlugins.
	Programs string
	// Dir takes logs and kubeconfigs.
	Dir      string
	Topology sim.Topology
	// NoKubernetes leaves the API server out, for agents that stand alone.
	NoKubernetes bool
	// Sim is the simulator of another cluster, to be shared with it: two clusters
	// in one account. It is left running by Stop, and brings its own topology.
	Sim *sim.Simulator
	// Bare leaves it to the caller to install CRDs and roles.
	Bare bool
	// EC2Listen and AdminListen are the simulator's addresses; by default the
	// kernel chooses the ports.
	EC2Listen, AdminListen string
	// APIServerArgs are more arguments of kube-apiserver.
	APIServerArgs []string
	// Gate puts a Gate in front of the API server.
	Gate bool
}

// Testbed is a running cluster.
type Testbed struct {
	ControlPlane *controlplane.ControlPlane
	Sim          *sim.Simulator
	Client       *kube.Client // with all rights, and not through the gate
	Gate         *Gate        // if the configuration asks for one

	cfg     Config
	service string // of the API server

	mu   sync.Mutex
	skew map[string]time.Duration // see SetSkew
}

// Start starts API server and simulator and installs what a cluster gets but the
// programs: CRDs, roles, admission policy. It needs the privileges that netns.Elevate looks after.
func Start(ctx context.Context, cfg Config) (*Testbed, error) {
	tb := &Testbed{cfg: cfg, skew: map[string]time.Duration{}}
	if err := tb.start(ctx); err != nil {
		return nil, errors.Join(err, tb.Stop())
	}
	return tb, nil
}

func (tb *Testbed) start(ctx context.Context) error {
	if !tb.cfg.NoKubernetes {
		if err := tb.startAPIServer(ctx); err != nil {
			return err
		}
	}
	var group errgroup.Group
	group.Go(func() error { return tb.startSim(ctx) })
	if !tb.cfg.NoKubernetes && !tb.cfg.Bare {
		group.Go(func() error { return Install(ctx, tb.ControlPlane) })
	}
	return group.Wait()
}

func (tb *Testbed) startAPIServer(ctx context.Context) (err error) {
	if tb.service = apiService; tb.cfg.Sim != nil {
		tb.service = fmt.Sprintf("%s-%d", apiService, len(tb.cfg.Sim.Services()))
	}
	if tb.ControlPlane, err = controlplane.Start(ctx, tb.cfg.APIServerArgs...); err != nil {
		return err
	}
	if tb.cfg.Gate {
		if tb.Gate, err = newGate(ctx, tb.ControlPlane); err != nil {
			return err
		}
	}
	tb.Client, err = kube.NewClient(tb.ControlPlane.AdminConfig(), "testbed")
	return err
}

// Install applies what a cluster gets but the programs: namespace, CRDs, roles and
// admission policies.
func Install(ctx context.Context, cp *controlplane.ControlPlane) error {
	root, err := Root(ctx)
	if err != nil {
		return err
	}
	return InstallFrom(ctx, cp, filepath.Join(root, "manifests"))
}

// InstallFrom is Install with the manifests of another version.
func InstallFrom(ctx context.Context, cp *controlplane.ControlPlane, manifests string) error {
	err := cp.ApplyFiles(ctx, filepath.Join(manifests, "namespace.yaml"),
		filepath.Join(manifests, "crds/*.yaml"), filepath.Join(manifests, "rbac/*.yaml"), filepath.Join(manifests, "policy/*.yaml"))
	if err != nil {
		return err
	}
	// An API server answers a create of a kind that is younger than two
	// seconds only after two more: agents would seem slow.
	select {
	case <-time.After(2100 * time.Millisecond):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// startSim starts the simulator, or takes the one that is shared, and lets nodes
// reach the API server through it.
func (tb *Testbed) startSim(ctx context.Context) error {
	var forward []sim.Service
	if tb.ControlPlane != nil {
		target := tb.ControlPlane.Address.String()
		if tb.Gate != nil {
			target = tb.Gate.address
		}
		forward = append(forward, sim.Service{Name: tb.service, Target: target})
	}
	var err error
	if tb.Sim = tb.cfg.Sim; tb.Sim != nil {
		for _, api := range forward {
			_, err = tb.Sim.Forward(api.Name, api.Target)
		}
		return err
	}
	tb.Sim, err = sim.Start(ctx, sim.Config{
		Topology:    tb.cfg.Topology,
		EC2Listen:   tb.cfg.EC2Listen,
		AdminListen: tb.cfg.AdminListen,
		Forward:     forward,
	})
	return err
}

// UsePrograms sets the directory of the programs that are started from now on.
func (tb *Testbed) UsePrograms(dir string) { tb.cfg.Programs = dir }

// Stop ends simulator and API server. Processes that were started are ended
// by their own Kill or Stop.
func (tb *Testbed) Stop() error {
	var errs []error
	if tb.Sim != nil && tb.cfg.Sim == nil {
		errs = append(errs, tb.Sim.Close())
	}
	if tb.Gate != nil {
		errs = append(errs, tb.Gate.close())
	}
	if tb.ControlPlane != nil {
		errs = append(errs, tb.ControlPlane.Stop())
	}
	return errors.Join(errs...)
}

// StartAgent starts the agent of a node in that node's namespace, with a token
// bound to the Node and credentials from its IMDS. It reaches EC2 and the API
// server through the node's primary ENI.
func (tb *Testbed) StartAgent(ctx context.Context, node string, args ...string) (*Process, error) {
	n, err := tb.Sim.Node(node)
	if err != nil {
		return nil, err
	}
	kubeconfig, err := tb.AgentKubeconfig(ctx, node, "agent-"+node)
	if err != nil {
		return nil, err
	}
	env := append(tb.env(n), tb.skewed("agent-"+node)...)
	args = append([]string{"--node-name", node, "--kubeconfig", kubeconfig}, args...)
	return start("agent-"+node, tb.cfg.Dir, n.Namespace, env, tb.agentProgram(), args...)
}

// AgentKubeconfig writes a file with the access of a node's agent, for a process
// of that name on the node.
func (tb *Testbed) AgentKubeconfig(ctx context.Context, node, process string) (string, error) {
	service, ok := tb.Sim.Service(tb.service)
	if !ok {
		return "", fmt.Errorf("the simulator forwards no %s", tb.service)
	}
	return tb.kubeconfig(ctx, process, "eni-agent", node, "https://"+service.Address.String())
}

// env is the environment of an agent on a node.
func (tb *Testbed) env(n sim.Node) []string {
	return append(tb.Sim.Env(n), "PATH="+os.Getenv("PATH"), "HOME="+tb.cfg.Dir, "GORACE=halt_on_error=1")
}

// StartCoordinator starts a coordinator. Its AWS access key id is its name, by
// which the simulator's log of calls tells who called.
func (tb *Testbed) StartCoordinator(ctx context.Context, name string, args ...string) (*Process, error) {
	kubeconfig, err := tb.kubeconfig(ctx, name, "eni-coordinator", "", "")
	if err != nil {
		return nil, err
	}
	env := []string{
		"AWS_ENDPOINT_URL_EC2=" + tb.Sim.EC2URL(), "AWS_REGION=" + tb.Sim.Topology().Region,
		"AWS_ACCESS_KEY_ID=" + name, "AWS_SECRET_ACCESS_KEY=secret", "AWS_EC2_METADATA_DISABLED=true",
		"PATH=" + os.Getenv("PATH"), "HOME=" + tb.cfg.Dir, "GORACE=halt_on_error=1",
	}
	args = append([]string{"--kubeconfig", kubeconfig}, args...)
	env = append(env, tb.skewed(name)...)
	return start(name, tb.cfg.Dir, nil, env, filepath.Join(tb.cfg.Programs, "eni-coordinator"), args...)
}

// kubeconfig writes a file with the access of a ServiceAccount. Each process has
// its own: another one's may be read while this one is written.
func (tb *Testbed) kubeconfig(ctx context.Context, process, account, node, server string) (string, error) {
	cfg, err := tb.ControlPlane.ServiceAccountConfig(ctx, Namespace, account, node)
	if err != nil {
		return "", err
	}
	if tb.Gate != nil {
		tb.Gate.know(cfg.BearerToken, process)
		server = cmp.Or(server, "https://"+tb.Gate.address)
	}
	cfg.Host = cmp.Or(server, cfg.Host)
	path := filepath.Join(tb.cfg.Dir, "kubeconfig-"+process)
	return path, controlplane.WriteKubeconfig(path, cfg)
}

// AdminKubeconfig writes a file with all rights, for kubectl and its like.
func (tb *Testbed) AdminKubeconfig() (string, error) {
	path := filepath.Join(tb.cfg.Dir, "kubeconfig")
	return path, controlplane.WriteKubeconfig(path, tb.ControlPlane.AdminConfig())
}
