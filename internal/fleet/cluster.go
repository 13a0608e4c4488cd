package fleet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/aws-multi-eni/aws-multi-eni/imds"
	"github.com/aws-multi-eni/aws-multi-eni/internal/controlplane"
	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
	"github.com/aws-multi-eni/aws-multi-eni/internal/testbed"
)

// namespace is where agents and coordinator have their ServiceAccounts.
const namespace = testbed.Namespace

// handsAtOnce is how many requests of the fleet's owner, who makes and labels
// nodes, run side by side.
const handsAtOnce = 32

// Cluster is an API server with what this project installs, and an account.
type Cluster struct {
	*Account
	ControlPlane *controlplane.ControlPlane
	Client       *kube.Client // with all rights

	dir   string
	mu    sync.Mutex
	nodes map[string]imds.Identity
}

// ClusterConfig says what to start.
type ClusterConfig struct {
	Dir           string // takes logs
	Hosts         Hosts
	Timing        cloud.Timing
	APIServerArgs []string
}

// StartCluster starts API server and EC2, without nodes.
func StartCluster(ctx context.Context, cfg ClusterConfig) (*Cluster, error) {
	c := &Cluster{dir: cfg.Dir, nodes: map[string]imds.Identity{}}
	if err := c.start(ctx, cfg); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context, cfg ClusterConfig) (err error) {
	if c.Account, err = NewAccount(cfg.Hosts, cfg.Timing); err != nil {
		return err
	}
	if c.ControlPlane, err = controlplane.Start(ctx, cfg.APIServerArgs...); err != nil {
		return err
	}
	if c.Client, err = kube.NewClient(c.ControlPlane.AdminConfig(), "fleet"); err != nil {
		return err
	}
	return testbed.Install(ctx, c.ControlPlane)
}

// Stop ends API server and EC2.
func (c *Cluster) Stop() error {
	var errs []error
	if c.Account != nil {
		errs = append(errs, c.Account.Close())
	}
	if c.ControlPlane != nil {
		errs = append(errs, c.ControlPlane.Stop())
	}
	return errors.Join(errs...)
}

// Servers is how agents reach API server and EC2.
func (c *Cluster) Servers() Config {
	admin := c.ControlPlane.AdminConfig()
	return Config{APIURL: admin.Host, APICA: admin.CAData, EC2URL: c.URL()}
}

// StartCoordinator starts the program in a process of its own.
func (c *Cluster) StartCoordinator(ctx context.Context, program string, args ...string) (*testbed.Process, error) {
	access, err := c.ControlPlane.ServiceAccountConfig(ctx, namespace, "eni-coordinator", "")
	if err != nil {
		return nil, err
	}
	kubeconfig := filepath.Join(c.dir, "kubeconfig-coordinator")
	if err := controlplane.WriteKubeconfig(kubeconfig, access); err != nil {
		return nil, err
	}
	env := []string{
		"AWS_ENDPOINT_URL_EC2=" + c.URL(), "AWS_REGION=" + region,
		"AWS_ACCESS_KEY_ID=" + coordinatorKey, "AWS_SECRET_ACCESS_KEY=simulated", "AWS_EC2_METADATA_DISABLED=true",
		"PATH=" + os.Getenv("PATH"), "HOME=" + c.dir,
	}
	return testbed.StartProcess("coordinator", c.dir, env, program, append([]string{"--kubeconfig", kubeconfig}, args...)...)
}

// each does something for every name, a few side by side.
func each(names []string, do func(string) error) error {
	var group errgroup.Group
	group.SetLimit(handsAtOnce)
	for _, name := range names {
		group.Go(func() error {
			if err := do(name); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// AddNodes launches instances and registers their Nodes.
func (c *Cluster) AddNodes(ctx context.Context, names []string, labels map[string]string) error {
	return each(names, func(name string) error {
		id, err := c.Launch(name)
		if err != nil {
			return err
		}
		c.mu.Lock()
		c.nodes[name] = id
		c.mu.Unlock()
		node := &kube.Node{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Node"},
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
			Spec:       kube.NodeSpec{ProviderID: "aws:///" + id.Zone + "/" + id.InstanceID},
		}
		return c.Client.Core.Post().Resource(kube.Nodes).Body(node).Do(ctx).Error()
	})
}

// Remove terminates the nodes' instances and deletes the Nodes, and their
// NodeENIStates as the cluster's garbage collector does.
func (c *Cluster) Remove(ctx context.Context, names []string) error {
	return each(names, func(name string) error {
		c.mu.Lock()
		id := c.nodes[name].InstanceID
		delete(c.nodes, name)
		c.mu.Unlock()
		err := errors.Join(
			c.Cloud.Terminate(id),
			c.Client.Core.Delete().Resource(kube.Nodes).Name(name).Do(ctx).Error(),
		)
		if gone := c.Client.API.Delete().Resource(kube.NodeENIStates).Name(name).Do(ctx).Error(); !apierrors.IsNotFound(gone) {
			err = errors.Join(err, gone)
		}
		return err
	})
}

// Nodes gives each node a fresh token, for its agent to start with.
func (c *Cluster) Nodes(ctx context.Context, names []string) ([]Node, error) {
	var mu sync.Mutex
	var nodes []Node
	err := each(names, func(name string) error {
		access, err := c.ControlPlane.ServiceAccountConfig(ctx, namespace, "eni-agent", name)
		if err != nil {
			return err
		}
		c.mu.Lock()
		id := c.nodes[name]
		c.mu.Unlock()
		mu.Lock()
		defer mu.Unlock()
		nodes = append(nodes, Node{Name: name, Token: access.BearerToken, Identity: id})
		return nil
	})
	return nodes, err
}
