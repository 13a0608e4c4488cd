// Package sim puts the simulator together: a simulated AWS account behind
// EC2's API, the network of its VPC in network namespaces, a metadata service
// for each instance, and an admin endpoint. See docs/simulator.md.
package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/netns"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/metadata"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/query"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/vpc"
)

// ec2Service is the service that every instance finds at the first service
// address.
const ec2Service = "ec2"

// firstService is the first of the addresses, from the block for
// documentation of RFC 5737, at which instances reach services outside.
var firstService = netip.MustParseAddr("192.0.2.1")

// Config says what is simulated and where it listens.
type Config struct {
	Topology Topology

	// EC2Listen and AdminListen are literal addresses; default 127.0.0.1:0,
	// where the kernel chooses the ports.
	EC2Listen, AdminListen string
	// Forward names services that instances reach, see Simulator.Forward.
	Forward []Service
	// NoNetwork leaves the network out: EC2 and metadata services only, on
	// loopback. No privileges are needed then.
	NoNetwork bool
	// HostIMDS offers the metadata services on loopback ports too, for agents
	// that run outside of the namespaces. Without network they always are.
	HostIMDS bool
}

// Service is something outside of the VPC that instances can reach.
type Service struct {
	Name   string `json:"name"`
	Target string `json:"target"` // HOST:PORT as seen by the simulator
	// Address is what instances use.
	Address netip.AddrPort `json:"address"`
}

// Simulator is a running simulation.
type Simulator struct {
	topology Topology
	cloud    *cloud.Cloud
	hosts    *hosts
	ec2      *server
	admin    *server

	mu       sync.Mutex
	services []Service
}

// Node is an instance that has not been terminated.
type Node struct {
	cloud.Instance
	// Namespace is the instance's network; nil without network. It is closed
	// when the instance is terminated.
	Namespace *netns.Namespace
	// IMDS is the metadata service, for its faults.
	IMDS *metadata.Server
	// IMDSURL is where the metadata service is outside of the namespace, or
	// "", see Config.HostIMDS.
	IMDSURL string
}

// ProviderID is the spec.providerID of the Kubernetes Node.
func (n Node) ProviderID() string { return "aws:///" + n.Zone + "/" + n.ID }

// Start starts a simulation. With network, it needs the privileges that
// netns.Elevate looks after. Close ends it; ctx only ends the start.
func Start(ctx context.Context, config Config) (*Simulator, error) {
	topology, err := config.Topology.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("topology: %w", err)
	}
	s := &Simulator{
		topology: topology,
		hosts:    &hosts{loopback: config.NoNetwork || config.HostIMDS, list: make(map[string]*host)},
	}
	if err := s.start(ctx, config); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Simulator) start(ctx context.Context, config Config) error {
	var err error
	if s.cloud, err = cloud.New(s.topology.account(s.hosts)); err != nil {
		return err
	}
	s.hosts.cloud = s.cloud
	if !config.NoNetwork {
		network := vpc.Config{
			Subnets: s.cloud.Config().Subnets, Links: s.topology.Links, RouterAdvertisements: s.topology.RouterAdvertisements,
		}
		if s.hosts.network, err = vpc.New(network); err != nil {
			return err
		}
	}
	if s.ec2, err = listen(ctx, "EC2 endpoint", config.EC2Listen, query.New(s.cloud)); err != nil {
		return err
	}
	if s.admin, err = listen(ctx, "admin endpoint", config.AdminListen, newAdmin(s)); err != nil {
		return err
	}
	forward := config.Forward // without network, Forward refuses it
	if !config.NoNetwork {
		forward = slices.Concat([]Service{{Name: ec2Service, Target: s.ec2.address()}}, forward)
	}
	for _, service := range forward {
		if _, err := s.Forward(service.Name, service.Target); err != nil {
			return err
		}
	}
	for _, spec := range s.topology.Nodes {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := s.AddNode(spec); err != nil {
			return err
		}
	}
	return nil
}

// Close ends the simulation. Nothing of it is left; processes in a node's
// namespace stay, without its ENIs.
func (s *Simulator) Close() error {
	errs := []error{s.admin.close(), s.ec2.close()}
	if s.cloud != nil {
		s.cloud.Close()
	}
	return errors.Join(append(errs, s.hosts.close())...)
}

// Cloud is the simulated account.
func (s *Simulator) Cloud() *cloud.Cloud { return s.cloud }

// Network is the network of the VPC; nil without.
func (s *Simulator) Network() *vpc.Network { return s.hosts.network }

// Topology is the topology with its defaults and ids filled in.
func (s *Simulator) Topology() Topology { return s.topology }

// EC2URL is the endpoint of the EC2 API outside of the instances.
func (s *Simulator) EC2URL() string { return "http://" + s.ec2.address() }

// AdminURL is the admin endpoint, see [Client].
func (s *Simulator) AdminURL() string { return "http://" + s.admin.address() }

// NodeEC2URL is the endpoint of the EC2 API on the instances, which without
// network is EC2URL.
func (s *Simulator) NodeEC2URL() string {
	if service, ok := s.Service(ec2Service); ok {
		return "http://" + service.Address.String()
	}
	return s.EC2URL()
}

// Env is the environment that an SDK needs on a node. Credentials and Region
// come from the metadata service.
func (s *Simulator) Env(n Node) []string {
	env := []string{"AWS_ENDPOINT_URL_EC2=" + s.NodeEC2URL()}
	if n.Namespace == nil {
		env = append(env, "AWS_EC2_METADATA_SERVICE_ENDPOINT="+n.IMDSURL)
	}
	return env
}

// Nodes returns the instances that have not been terminated, sorted by name.
func (s *Simulator) Nodes() []Node {
	var nodes []Node
	for _, i := range s.cloud.Instances() {
		if n, ok := s.hosts.node(i); ok {
			nodes = append(nodes, n)
		}
	}
	slices.SortFunc(nodes, func(a, b Node) int { return compareNames(a.Name, b.Name) })
	return nodes
}

// Node finds a node by its name or its instance's id. Of several with the same
// name it is the youngest.
func (s *Simulator) Node(name string) (Node, error) {
	var names []string
	var found []Node
	for _, n := range s.Nodes() {
		names = append(names, n.Name)
		if n.ID == name || n.Name == name {
			found = append(found, n)
		}
	}
	if len(found) == 0 {
		return Node{}, fmt.Errorf("%w: there is no node %q, only %s", errNotFound, name, strings.Join(names, ", "))
	}
	return slices.MaxFunc(found, func(a, b Node) int { return a.LaunchTime.Compare(b.LaunchTime) }), nil
}

// AddNode launches an instance. It returns when its primary link is
// configured and its metadata service answers.
func (s *Simulator) AddNode(spec NodeSpec) (Node, error) {
	launch, err := s.topology.launch(spec, len(s.cloud.Instances()))
	if err != nil {
		return Node{}, err
	}
	instance, err := s.cloud.RunInstance(launch)
	if err != nil {
		return Node{}, fmt.Errorf("node %s: %w", launch.Name, err)
	}
	if err := s.hosts.failed(instance.ID); err != nil {
		return Node{}, errors.Join(fmt.Errorf("node %s: %w", launch.Name, err), s.cloud.Terminate(instance.ID))
	}
	return s.Node(instance.ID)
}

// Forward makes target (HOST:PORT as seen by the simulator) reachable from
// the instances, at an address of its own and the same port.
func (s *Simulator) Forward(name, target string) (Service, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, portText, err := net.SplitHostPort(target)
	if err != nil {
		return Service{}, fmt.Errorf("forward %s: %q is not HOST:PORT: %w", name, target, err)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	switch {
	case s.hosts.network == nil:
		return Service{}, fmt.Errorf("forward %s: there is no network", name)
	case err != nil || port == 0:
		return Service{}, fmt.Errorf("forward %s: %q is not a port number", name, portText)
	case name == "" || slices.ContainsFunc(s.services, func(other Service) bool { return other.Name == name }):
		return Service{}, fmt.Errorf("forward %q: want a name that is not taken", name)
	}
	address := firstService
	for range s.services {
		address = address.Next()
	}
	service := Service{Name: name, Target: target, Address: netip.AddrPortFrom(address, uint16(port))}
	if err := s.hosts.network.Forward(service.Address, target); err != nil {
		return Service{}, fmt.Errorf("forward %s: %w", name, err)
	}
	s.services = append(s.services, service)
	return service, nil
}

// Service finds a forwarded service by its name; EC2's is "ec2".
func (s *Simulator) Service(name string) (Service, bool) {
	for _, service := range s.Services() {
		if service.Name == name {
			return service, true
		}
	}
	return Service{}, false
}

// Services lists the forwarded services.
func (s *Simulator) Services() []Service {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.services)
}

// compareNames sorts node-2 before node-10.
func compareNames(a, b string) int {
	if len(a) != len(b) && strings.TrimRight(a, "0123456789") == strings.TrimRight(b, "0123456789") {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

// server is an HTTP server with its listener; nil is one that is closed.
type server struct {
	http     *http.Server
	listener net.Listener
}

func listen(ctx context.Context, what, address string, handler http.Handler) (*server, error) {
	setDefault(&address, "127.0.0.1:0")
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return serve(listener, handler), nil
}

func serve(listener net.Listener, handler http.Handler) *server {
	s := &server{
		http: &http.Server{
			Handler:           handler,
			ReadHeaderTimeout: 10 * time.Second,
			// Clients that close connections early are no news here.
			ErrorLog: slog.NewLogLogger(slog.Default().Handler(), slog.LevelDebug),
		},
		listener: listener,
	}
	go func() { _ = s.http.Serve(listener) }() // ends with close
	return s
}

// address is where this machine reaches the server: on loopback, if it listens
// everywhere.
func (s *server) address() string {
	bound, err := netip.ParseAddrPort(s.listener.Addr().String())
	if err == nil && bound.Addr().IsUnspecified() {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), bound.Port()).String()
	}
	return s.listener.Addr().String()
}

func (s *server) close() error {
	if s == nil {
		return nil
	}
	// The listener too: Serve may not have taken it over yet.
	for _, err := range []error{s.http.Close(), s.listener.Close()} {
		if err != nil && !errors.Is(err, net.ErrClosed) {
			return err
		}
	}
	return nil
}
