package doctor

import (
	"github.com/aws-multi-eni/aws-multi-eni/agent"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/imds"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// Facts are all that the checks rest on. What is nil has not been gathered.
type Facts struct {
	IMDS        *IMDS
	Credentials *Credentials
	Wanted      *Wanted
	EC2         *EC2
	CNI         *CNI
	Nodeadm     *Nodeadm
	Kubelet     *Kubelet
	Kernel      *Kernel
	Pods        *Pods
	OnDemand    *OnDemand
	Host        *Host
	// DefaultMTU is that of the links whose NodeENI names none; 0 leaves them as the driver
	// set them.
	DefaultMTU int32
	// HostHidden says why Host is nil although it was looked for.
	HostHidden string
}

// IMDS is what the metadata service says of itself and of the instance.
type IMDS struct {
	Identity imds.Identity
	Err      error
	// Version1 says whether it answers requests without a token too.
	Version1 bool
}

// Credentials are the AWS credentials that were found.
type Credentials struct {
	Source string // the SDK's name of where they come from
	Region string // that EC2 is asked in
	Err    error
}

// Wanted is what there is of NodeENIs.
type Wanted struct {
	From       string // for people: the API server's address, or the directory
	Err        error
	Standalone bool
	// Problem says why the Node is not this instance.
	Problem  string
	Labels   map[string]string
	NodeENIs []v1alpha1.NodeENI
	// Files that are wrong, with the reason.
	WrongFiles []error
}

// EC2 is what EC2 answers.
type EC2 struct {
	Cluster  string // value of the cluster tag that was asked for
	Attempts []Attempt
	// Done are the actions that were carried out, other than as a dry run.
	Done map[string]bool
	// Untried says why an action has no attempt.
	Untried map[string]string

	Forecast    *agent.Forecast
	ForecastErr error
	// Groups are those of the security groups that NodeENIs list by id and that
	// exist.
	Groups    []eni.Group
	GroupsErr error
	// InstanceType has the limits of this instance's type; its MaxENIs is 0 while they
	// are not known.
	InstanceType    eni.InstanceType
	InstanceTypeErr error
}

// Attempt is one dry run.
type Attempt struct {
	Action string
	About  string // what it was tried with
	Err    error  // nil: it is allowed
}

// CNI is the Amazon VPC CNI's configuration.
type CNI struct {
	Present bool
	// Version is that of the image, such as 1.23.1; "" when its tag does not have one.
	Version string
	Env     map[string]string
	// Elsewhere are variables whose values come from a ConfigMap or a Secret.
	Elsewhere []string
	Err       error
}

// Kubelet is how the kubelet was started, and what came of it.
type Kubelet struct {
	// Args is its command line; nil when its process cannot be seen.
	Args []string
	// NodeIP is the Node's annotation with the --node-ip that was given. The kubelet
	// writes it with --cloud-provider=external only.
	NodeIP string
	// Cloud says that a cloud controller has written the Node's addresses: a kubelet
	// alone gives it no InternalDNS.
	Cloud bool
	// InternalIPs are the Node's, in order. nil when the Node is not known.
	InternalIPs []string
}

// Kernel is what the kernel lets this process do.
type Kernel struct {
	Release  string // 6.1.0-…
	NetAdmin bool
	// RulesErr: policy routing does not work.
	RulesErr error
	// NFTablesErr: there is no nf_tables. Without NetAdmin it means nothing.
	NFTablesErr error
	// Routers are the links by which the kernel has taken an IPv6 default route
	// from a router's advertisement: their names by MAC.
	Routers map[string]string
	// StrictPaths are the links with a strict reverse path filter: their names by MAC.
	StrictPaths map[string]string
}

// Pods is what a node needs so that pods get addresses of its ENIs.
type Pods struct {
	// PluginDir is the directory of CNI plugins; PluginDirErr, why it cannot be read.
	PluginDir    string
	PluginDirErr error
	// Plugins are those of the directory that NodeENIs for pods may need.
	Plugins map[string]Plugin
	// Version is the agent's, which the plugin eni should have.
	Version string
	// Unwritable are directories of the agent's files that this process cannot write.
	Unwritable []error
	// Forwarding is net.ipv4.ip_forward; "" when it is not known.
	Forwarding string
	// Dropping are the nftables chains that drop what is forwarded and what no rule takes.
	Dropping []string
	// IPVLAN says whether the kernel has ipvlan; nil when that is not known.
	IPVLAN *bool
}

// OnDemand is what a node needs for ENIs on demand.
type OnDemand struct {
	// API is nil if the API server was not asked, and DRA if it was not asked about eni-dra.
	API *OnDemandAPI
	DRA *Container
	// KubeletDir is the root directory of the kubelet.
	KubeletDir string
	// Missing are the files and sockets of the host that do not exist, by the role that they
	// have. It is nil if the host cannot be seen.
	Missing map[string]string
}

// OnDemandAPI is what the API server has for ENIs on demand.
type OnDemandAPI struct {
	// SlicesErr says why the node's ResourceSlices cannot be written.
	SlicesErr error
	// Lacking are permissions that these credentials do not have, such as "list pods".
	Lacking    []string
	LackingErr error
	// ClassErr says why the DeviceClass cannot be read.
	ClassErr error
}

// Container is a container of the agent's pod on this node.
type Container struct {
	Err            error
	Namespace, Pod string // "" if no agent runs as a pod on the node
	Exists, Ready  bool
}

// Plugin is a CNI plugin's file.
type Plugin struct {
	// Foreign says why the file eni is not the plugin of aws-multi-eni.
	Foreign error
	// Asked says that the plugin has been started to tell about itself; AskErr, why it did
	// not.
	Asked   bool
	AskErr  error
	Version string // such as v1.9.0; a distribution's may be "unknown"
}

// Host is what else on the host configures links.
type Host struct {
	// OS is the host's operating system, for people; ID is os-release's word for it.
	OS, ID string
	// Links are names that the next ENI's link may get; Guessed, as long as the
	// primary ENI's link is not found.
	Links   []string
	Guessed bool
	// Blind says that the host's processes cannot be seen.
	Blind bool
	// Rules are the udev rules in force by which something takes every ENI.
	Rules          []string
	Networkd       Daemon
	NetworkManager Daemon
	// CloudSetup are the units of nm-cloud-setup that are enabled.
	CloudSetup []string
	CloudInit  CloudInit
	// Others are daemons by their processes that configure links in ways that the
	// doctor cannot read.
	Others []string
}

// Daemon configures links.
type Daemon struct {
	Running bool
	// Takes says by which file, or which lack of one, it takes the next ENI's
	// link; "" when it leaves it alone.
	Takes string
}

// With adds what the kubelet's process shows to what its Node does; either may be
// nil.
func (k *Kubelet) With(process *Kubelet) *Kubelet {
	if k == nil || process == nil {
		if k == nil {
			return process
		}
		return k
	}
	both := *k
	both.Args = process.Args
	return &both
}
