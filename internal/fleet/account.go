package fleet

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/imds"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/query"
)

const (
	region       = "us-east-1"
	vpcID        = "vpc-0fee70000000000ff"
	instanceType = "m5.xlarge" // four ENIs
)

var (
	zones = []string{region + "a", region + "b"}
	// subnetNames are the Name tags of the subnets in each zone, and the names of
	// the security groups. The first is that of the primary ENIs.
	subnetNames = []string{"nodes", "data", "storage"}
)

// Hosts are where links appear.
type Hosts interface {
	Plug(Plug)
	Unplug(node, eni string)
}

// Account is a simulated AWS account whose links appear at Hosts.
type Account struct {
	Cloud *cloud.Cloud

	hosts    Hosts
	listener net.Listener
	server   *http.Server

	mu        sync.Mutex
	calls     Calls
	names     map[string]string // of nodes, by instance
	instances int
}

// Calls counts the calls that EC2 has answered.
type Calls = Counts[Call]

// Call is what calls differ in.
type Call struct {
	Action      string
	Coordinator bool // not an agent
	Throttled   bool
}

// NewAccount starts EC2 on loopback. Its subnets have room for 8,000 nodes in
// each of two zones.
func NewAccount(hosts Hosts, timing cloud.Timing) (*Account, error) {
	a := &Account{hosts: hosts, calls: Calls{}, names: map[string]string{}}
	config := cloud.Config{
		Region: region,
		VPCs:   []cloud.VPC{{ID: vpcID, CIDR: netip.MustParsePrefix("10.0.0.0/16")}},
		Timing: timing,
		Quotas: cloud.Quotas{Interfaces: 50_000}, // whoever has 5,000 nodes has asked for more than the default
		Fabric: a,
	}
	for i, name := range subnetNames {
		for z, zone := range zones {
			config.Subnets = append(config.Subnets, cloud.Subnet{
				ID: subnetID(i, z), VPCID: vpcID, Zone: zone, Tags: map[string]string{"Name": name},
				CIDR: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(128*z + 32*i), 0}), 19),
			})
		}
		config.SecurityGroups = append(config.SecurityGroups, cloud.SecurityGroup{ID: groupID(i), Name: name, VPCID: vpcID})
	}
	var err error
	if a.Cloud, err = cloud.New(config); err != nil {
		return nil, err
	}
	if a.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	a.server = &http.Server{
		Handler:           a.count(query.New(a.Cloud)),
		ReadHeaderTimeout: time.Minute,
		ErrorLog:          slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
	}
	go a.server.Serve(a.listener) //nolint:errcheck // it ends with Close
	return a, nil
}

func subnetID(name, zone int) string { return fmt.Sprintf("subnet-0fee700000000%02d%02d", name, zone) }
func groupID(name int) string        { return fmt.Sprintf("sg-0fee700000000%04d", name) }

// URL is EC2's endpoint.
func (a *Account) URL() string { return "http://" + a.listener.Addr().String() }

// Close ends EC2.
func (a *Account) Close() error {
	err := a.server.Close()
	a.Cloud.Close()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Launch runs an instance for a node.
func (a *Account) Launch(name string) (imds.Identity, error) {
	a.mu.Lock()
	zone := a.instances % len(zones)
	a.instances++
	a.mu.Unlock()
	i, err := a.Cloud.RunInstance(cloud.RunInstance{
		Name: name, Type: instanceType, SubnetID: subnetID(0, zone), GroupIDs: []string{groupID(0)}, Tags: map[string]string{"Name": name},
	})
	if err != nil {
		return imds.Identity{}, err
	}
	mac, err := net.ParseMAC(i.MAC)
	return imds.Identity{
		InstanceID: i.ID, InstanceType: i.Type, Zone: i.Zone, Region: region, Partition: a.Cloud.Config().Partition,
		AccountID: a.Cloud.Config().AccountID, MAC: mac, VPCID: vpcID,
	}, err
}

// ENIs are those that agents have made, known by their tags and without EC2's lag.
func (a *Account) ENIs() []cloud.Interface {
	var ours []cloud.Interface
	for _, e := range a.Cloud.Interfaces() {
		if e.Tags[eni.TagCluster] != "" {
			ours = append(ours, e)
		}
	}
	return ours
}

// Calls returns what was counted since the start.
func (a *Account) Calls() Calls {
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.calls)
}

// Mutating says whether the call changes something.
func (c Call) Mutating() bool { return !strings.HasPrefix(c.Action, "Describe") }

// coordinatorKey is the access key id of the coordinator, which its calls have.
const coordinatorKey = "COORDINATOR"

// logKept is how many calls the account's own log holds before it is emptied: it
// has every parameter, and is not read here.
const logKept = 10_000

// count counts calls in front of EC2.
func (a *Account) count(ec2 http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		ec2.ServeHTTP(answer, r)
		call := Call{
			Action:      r.Form.Get("Action"),
			Coordinator: strings.Contains(r.Header.Get("Authorization"), "Credential="+coordinatorKey+"/"),
			Throttled:   answer.status == http.StatusServiceUnavailable,
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		a.calls[call]++
		if a.calls[call]%logKept == 0 {
			a.Cloud.ResetCalls()
		}
	})
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

var _ cloud.Fabric = (*Account)(nil)

// AddInstance implements cloud.Fabric.
func (a *Account) AddInstance(i cloud.Instance) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.names[i.ID] = i.Name
	return nil
}

// RemoveInstance implements cloud.Fabric.
func (a *Account) RemoveInstance(id string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.names, id)
	return nil
}

func (a *Account) name(instanceID string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.names[instanceID]
}

// Plug implements cloud.Fabric.
func (a *Account) Plug(instanceID string, e cloud.Interface) error {
	if e.Attachment.DeviceIndex > 0 {
		a.hosts.Plug(Plug{Node: a.name(instanceID), ENI: e.ID, MAC: e.MAC, Subnet: e.SubnetID, DeviceIndex: int(e.Attachment.DeviceIndex)})
	}
	return nil
}

// Unplug implements cloud.Fabric.
func (a *Account) Unplug(instanceID, eniID string) error {
	a.hosts.Unplug(a.name(instanceID), eniID)
	return nil
}

// Update implements cloud.Fabric: addresses do not matter here.
func (a *Account) Update(cloud.Interface) error { return nil }
