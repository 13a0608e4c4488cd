package cni

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/internal/claimnetwork"
	"github.com/aws-multi-eni/aws-multi-eni/internal/podnetwork"
)

// Modes, which are the plugins that make a pod's interface.
const (
	IPVLAN     = "ipvlan"
	PTP        = "ptp"
	HostDevice = podnetwork.HostDevice
)

// Config is the plugin's configuration: the fields of a NetworkAttachmentDefinition, and
// those that runtimes add.
type Config struct {
	CNIVersion string `json:"cniVersion"`
	Name       string `json:"name"`

	// NodeENI is whose ENIs pods use. With mode claim, it may be missing.
	NodeENI string `json:"nodeENI"`
	// Mode is ipvlan, ptp, host-device, or claim. By default it is ipvlan, or ptp where the
	// kernel does not have that.
	Mode string `json:"mode"`
	// MTU of the pod's interface is the ENI's by default.
	MTU int `json:"mtu"`
	// Routes are more routes by the pod's interface. Without gw they go by the gateway.
	Routes []*types.Route `json:"routes"`
	// RouteVPC has the VPC's CIDRs reached by the pod's interface.
	RouteVPC bool `json:"routeVPC"`
	// NetworksDir and DataDir are where the files of the agent and of the plugin are.
	NetworksDir string `json:"networksDir"`
	DataDir     string `json:"dataDir"`
	// ClaimsDir and ClaimsDataDir are where the files of the agent and of eni-dra are.
	ClaimsDir     string `json:"claimsDir"`
	ClaimsDataDir string `json:"claimsDataDir"`
	// DeviceID is the device that Multus has found by the resourceName of the network.
	DeviceID string `json:"deviceID"`

	DNS           json.RawMessage `json:"dns"`
	RuntimeConfig wishes          `json:"runtimeConfig"`
	Args          struct {
		CNI wishes `json:"cni"`
	} `json:"args"`
	PrevResult       json.RawMessage      `json:"prevResult"`
	ValidAttachments []types.GCAttachment `json:"cni.dev/valid-attachments"`

	fields map[string]json.RawMessage
}

// has reports whether the configuration has a field, which may be null.
func (c Config) has(field string) bool {
	_, ok := c.fields[field]
	return ok
}

// wishes are what a pod may ask for.
type wishes struct {
	IPs []string `json:"ips"`
	MAC string   `json:"mac"`
}

// known are the fields of a configuration. Others are refused, or a typo would go
// unnoticed, and so would an ipam, which has no say here.
var known = []string{
	"nodeENI", "mode", "mtu", "routes", "routeVPC", "networksDir", "dataDir", "claimsDir", "claimsDataDir",
	"cniVersion", "name", "type", "capabilities", "dns", "args", "runtimeConfig", "prevResult",
	"deviceID", "pciBusID", // by Multus
}

// dataDirOf is all of a configuration that DEL needs.
func dataDirOf(stdin []byte) string {
	var conf struct {
		DataDir string `json:"dataDir"`
	}
	_ = json.Unmarshal(stdin, &conf) // ADD has refused it, too.
	return cmp.Or(conf.DataDir, podnetwork.DefaultDataDir)
}

// parse reads a configuration, which validate is for.
func parse(stdin []byte) (Config, error) {
	var conf Config
	err := json.Unmarshal(stdin, &conf.fields)
	if err == nil {
		err = json.Unmarshal(stdin, &conf)
	}
	if err != nil {
		return conf, types.NewError(types.ErrDecodingFailure, fmt.Sprintf("parse the configuration of the CNI plugin eni: %v", err), "")
	}
	if string(conf.PrevResult) == "null" {
		conf.PrevResult = nil
	}
	conf.NetworksDir = cmp.Or(conf.NetworksDir, podnetwork.DefaultNetworksDir)
	conf.DataDir = dataDirOf(stdin)
	conf.ClaimsDir = cmp.Or(conf.ClaimsDir, claimnetwork.DefaultClaimsDir)
	conf.ClaimsDataDir = cmp.Or(conf.ClaimsDataDir, claimnetwork.DefaultDataDir)
	return conf, nil
}

// validate says what is wrong, with the name of the network and of the field.
func (c Config) validate() error {
	wrong := func(format string, args ...any) error {
		message := fmt.Sprintf("network %q: ", c.Name) + fmt.Sprintf(format, args...)
		return types.NewError(types.ErrInvalidNetworkConfig, message, "")
	}
	for field := range c.fields {
		if !slices.Contains(known, field) && !strings.HasPrefix(field, "cni.dev/") {
			return wrong("unknown field %s; the plugin eni supports %s", field, strings.Join(known[:9], ", "))
		}
	}
	switch {
	case c.NodeENI == "" && c.Mode != Claim:
		return wrong("nodeENI is missing: set it to the name of the NodeENI whose ENIs the pods use")
	case c.NodeENI != "" && !podnetwork.ValidName(c.NodeENI):
		return wrong("nodeENI: %q is not a valid name", c.NodeENI)
	case !slices.Contains([]string{"", IPVLAN, PTP, HostDevice, Claim}, c.Mode):
		return wrong("mode: %q is not valid; it must be %s, %s, %s, or %s", c.Mode, IPVLAN, PTP, HostDevice, Claim)
	case c.MTU != 0 && (c.Mode == HostDevice || c.Mode == Claim):
		return wrong("mtu: not supported with mode %s; set mtu in the NodeENI instead", c.Mode)
	case c.Mode == Claim && len(c.RuntimeConfig.IPs)+len(c.Args.CNI.IPs) > 0:
		return wrong("ips: not supported with mode %s, because the pod gets the addresses of the ENI", Claim)
	case c.MTU < 0 || c.MTU > 0 && c.MTU < 576:
		return wrong("mtu: %d is too small; it must be 576 bytes or more", c.MTU)
	case cmp.Or(c.RuntimeConfig.MAC, c.Args.CNI.MAC) != "":
		return wrong("mac: not supported, because EC2 drops packets with a MAC other than that of the ENI")
	}
	for i, route := range c.Routes {
		if route == nil || route.Dst.IP == nil {
			return wrong("routes[%d]: dst is missing", i)
		}
	}
	return nil
}

// podArgs are what the kubelet's runtimes say of the pod in CNI_ARGS.
type podArgs struct {
	types.CommonArgs
	K8S_POD_NAMESPACE types.UnmarshallableString
	K8S_POD_NAME      types.UnmarshallableString
	K8S_POD_UID       types.UnmarshallableString
	IP                types.UnmarshallableString
}

func parseArgs(cniArgs string) podArgs {
	// What else there is does not matter, nor does its form.
	args := podArgs{CommonArgs: types.CommonArgs{IgnoreUnknown: true}}
	for pair := range strings.SplitSeq(cniArgs, ";") {
		_ = types.LoadArgs("IgnoreUnknown=1;"+pair, &args)
	}
	return args
}

// podOf is the pod's namespace and name, "" when CNI_ARGS does not have them, and the
// address that it asks for.
func podOf(cniArgs string) (pod, ip string) {
	args := parseArgs(cniArgs)
	if args.K8S_POD_NAME != "" {
		pod = string(args.K8S_POD_NAMESPACE + "/" + args.K8S_POD_NAME)
	}
	return pod, string(args.IP)
}

// requested are the addresses that the pod asks for, at most one of each family, with or
// without the length of a prefix.
func (c Config) requested(ip string) ([]netip.Addr, error) {
	wanted := slices.Concat(c.RuntimeConfig.IPs, c.Args.CNI.IPs)
	if ip != "" {
		wanted = append(wanted, ip)
	}
	var addresses []netip.Addr
	for _, value := range wanted {
		text, _, _ := strings.Cut(value, "/")
		address, err := netip.ParseAddr(text)
		if err != nil || address.Zone() != "" {
			return nil, types.NewError(types.ErrInvalidNetworkConfig, fmt.Sprintf("network %q: ips: %q is not a valid IP address", c.Name, value), "")
		}
		address = address.Unmap()
		if slices.ContainsFunc(addresses, func(a netip.Addr) bool { return a.Is4() == address.Is4() }) {
			return nil, types.NewError(types.ErrInvalidNetworkConfig, fmt.Sprintf("network %q: ips: %s is the second address of its family; an interface of a pod can have one per family", c.Name, address), "")
		}
		addresses = append(addresses, address)
	}
	return addresses, nil
}
