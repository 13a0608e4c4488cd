package doctor

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/smithy-go"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/aws-multi-eni/aws-multi-eni/agent"
	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
	"github.com/aws-multi-eni/aws-multi-eni/imds"
	"github.com/aws-multi-eni/aws-multi-eni/internal/eni"
)

// healthy are facts that no check objects to.
func healthy() Facts {
	selecting := v1alpha1.NodeENI{Spec: v1alpha1.NodeENISpec{NodeSelector: map[string]string{"ng": "multi-eni"}}}
	var attempts []Attempt
	for _, action := range needed {
		attempts = append(attempts, Attempt{Action: action})
	}
	return Facts{
		IMDS:        &IMDS{Identity: imds.Identity{InstanceID: "i-1", InstanceType: "m5.large", Zone: "us-east-1a", Region: "us-east-1", Partition: "aws", AccountID: "1"}},
		Credentials: &Credentials{Source: "EC2RoleProvider", Region: "us-east-1"},
		Wanted:      &Wanted{From: "https://api", Labels: map[string]string{"ng": "multi-eni"}, NodeENIs: []v1alpha1.NodeENI{selecting}},
		EC2: &EC2{
			Cluster: "c", Attempts: attempts, InstanceType: eni.InstanceType{Name: "m5.large", MaxENIs: 3},
			Forecast: &agent.Forecast{
				ENIs:     []agent.ForecastENI{{NodeENI: "data", DeviceIndex: 1, Wanted: 1, Create: eni.CreateParams{SubnetID: "subnet-1", Groups: []string{"sg-1"}}}},
				Attached: []eni.ENI{{ID: "eni-0", Attachment: &eni.Attachment{}}},
				Subnets:  map[string]eni.Subnet{"subnet-1": {ID: "subnet-1", VPCID: "vpc-1", Free: 1}},
			},
			Groups: []eni.Group{{ID: "sg-1", VPCID: "vpc-1"}},
		},
		CNI:      &CNI{Present: true, Env: map[string]string{"MAX_ENI": "2"}},
		Kubelet:  &Kubelet{NodeIP: "10.0.0.4", InternalIPs: []string{"10.0.0.4"}},
		Kernel:   &Kernel{Release: "6.1.0-1", NetAdmin: true},
		Pods:     healthyPods(),
		OnDemand: healthyOnDemand(),
		Host:     &Host{ID: "ubuntu", Links: []string{"ens6"}},
	}
}

// attach has an ENI of another cluster's tag be attached.
func attach(f *Facts, cluster, uid string) {
	owner := eni.Owner{Cluster: cluster, Instance: f.IMDS.Identity.InstanceARN(), NodeENI: "data", NodeENIUID: types.UID(uid)}
	f.EC2.Forecast.Attached = append(f.EC2.Forecast.Attached, eni.ENI{ID: "eni-8", Owner: owner, Attachment: &eni.Attachment{DeviceIndex: 1}})
}

func TestHealthy(t *testing.T) {
	for _, r := range Check(healthy()) {
		if r.Status != OK {
			t.Errorf("%+v", r)
		}
	}
}

// unauthorized is EC2's answer as it is today.
func unauthorized() error {
	return &smithy.GenericAPIError{Code: "UnauthorizedOperation", Message: "You are not authorized. User: a is not authorized to perform: ec2:CreateTags. Encoded authorization failure message: secret"}
}

func TestChecks(t *testing.T) {
	api := func(code string) error { return &smithy.GenericAPIError{Code: code, Message: "m"} }
	for _, test := range []struct {
		name   string
		change func(*Facts)
		check  string
		status Status
		words  []string
	}{
		{"no IMDS", func(f *Facts) { f.IMDS.Err = errors.New("read x: refused; the metadata service cannot be reached") }, "IMDS", Failure, []string{"read x: refused\n", "the metadata service"}},
		{"version 1", func(f *Facts) { f.IMDS.Version1 = true }, "IMDS", Warning, []string{"--http-tokens required"}},
		{"no credentials", func(f *Facts) { f.Credentials.Err = errors.New("no role") }, "credentials", Failure, []string{"no role", "instance profile"}},
		{"no Region", func(f *Facts) { f.Credentials = nil }, "credentials", Skipped, []string{"AWS_REGION"}},
		{"IRSA", func(f *Facts) { f.Credentials.Source = "WebIdentityCredentials" }, "credentials", OK, []string{"cannot restrict"}},
		{"Pod Identity", func(f *Facts) { f.Credentials.Source = "CredentialsEndpointProvider" }, "credentials", OK, []string{"cannot restrict"}},
		{"keys", func(f *Facts) { f.Credentials.Source = "EnvConfigCredentials" }, "credentials", Warning, []string{"EnvConfigCredentials"}},
		{"EC2 is not asked", func(f *Facts) { f.EC2 = nil }, "EC2", Skipped, nil},
		{"what is wanted is not told", func(f *Facts) { f.Wanted = nil }, "NodeENIs", Skipped, []string{"--node-name"}},
		{"the token is not accepted", func(f *Facts) { f.Wanted.Err = fmt.Errorf("reading: %w", apierrors.NewUnauthorized("no")) }, "NodeENIs", Failure, []string{"token", "expired"}},
		{"the API server is away", func(f *Facts) { f.Wanted.Err = errors.New("refused") }, "NodeENIs", Failure, []string{"https://api", "refused"}},
		{"another instance", func(f *Facts) { f.Wanted.Problem = "Node n is i-2" }, "Node", Failure, []string{"i-2"}},
		{"not selected", func(f *Facts) { f.Wanted.Labels = nil }, "NodeENIs", Warning, []string{"none of the 1"}},
		{"a wrong file", func(f *Facts) { f.Wanted.WrongFiles = []error{errors.New("a.yaml: bad")} }, "NodeENIs", Failure, []string{"a.yaml"}},
		{"refused", func(f *Facts) { f.EC2.Attempts[4].Err, f.EC2.Attempts[4].About = unauthorized(), "NodeENI data" }, "ec2:CreateNetworkInterface", Failure,
			[]string{"for NodeENI data", "ec2:CreateTags.)\n", "tag keys of the NodeENI"}},
		{"one of two refused", func(f *Facts) {
			f.EC2.Attempts = append(f.EC2.Attempts, Attempt{Action: "CreateNetworkInterface", About: "NodeENI b", Err: unauthorized()})
		}, "ec2:CreateNetworkInterface", Failure, []string{"NodeENI b"}},
		{"throttled", func(f *Facts) { f.EC2.Attempts[0].Err = api("RequestLimitExceeded") }, "ec2:DescribeNetworkInterfaces", Warning, []string{"RequestLimitExceeded"}},
		{"not tried", func(f *Facts) {
			f.EC2.Attempts = f.EC2.Attempts[:5]
			f.EC2.Untried = map[string]string{"AttachNetworkInterface": "no ENI yet"}
		}, "ec2:AttachNetworkInterface", Skipped, []string{"no ENI yet"}},
		{"stand-alone agents delete", func(f *Facts) { f.Wanted.Standalone = true }, "ec2:DeleteNetworkInterface", Skipped, nil},
		{"EC2 does not answer", func(f *Facts) { f.EC2.Forecast, f.EC2.ForecastErr = nil, errors.New("timeout") }, "subnets in this zone", Failure, []string{"timeout"}},
		{"a problem", func(f *Facts) {
			f.EC2.Forecast.Problems = []agent.ForecastProblem{{NodeENI: "b", Message: "no listed subnet is in the zone; list one"}}
		}, "subnets in this zone", Failure, []string{"NodeENI b: no listed subnet is in the zone\nlist one"}},
		{"IPv6-only", func(f *Facts) {
			f.EC2.Forecast.Subnets = map[string]eni.Subnet{"subnet-1": {VPCID: "vpc-1", IPv6Only: true}}
		}, "free addresses", OK, []string{"IPv6-only"}},
		{"full", func(f *Facts) { f.EC2.Forecast.Subnets = map[string]eni.Subnet{"subnet-1": {VPCID: "vpc-1"}} }, "free addresses", Failure, []string{"has 0", "needs 1"}},
		{"full but for the primary addresses", func(f *Facts) {
			f.EC2.Forecast.ENIs[0].Create.SecondaryAddresses = 2
			f.EC2.Forecast.Subnets = map[string]eni.Subnet{"subnet-1": {VPCID: "vpc-1", Free: 2}}
		}, "free addresses", Failure, []string{"has 2", "needs 3"}},
		{"without room for prefixes", func(f *Facts) {
			f.EC2.Forecast.ENIs[0].Create.IPv4Prefixes = 2
			f.EC2.Forecast.Subnets = map[string]eni.Subnet{"subnet-1": {VPCID: "vpc-1", Free: 32}}
		}, "free addresses", Failure, []string{"has 32", "needs 33"}},
		{"full, and there already", func(f *Facts) {
			f.EC2.Forecast.ENIs[0].ID = "eni-1"
			f.EC2.Forecast.Subnets = map[string]eni.Subnet{"subnet-1": {VPCID: "vpc-1"}}
		}, "free addresses", OK, nil},
		{"no group", func(f *Facts) { f.EC2.Groups = nil }, "security groups", Failure, []string{"sg-1", "correct securityGroupIDs"}},
		{"a group of another VPC", func(f *Facts) { f.EC2.Groups[0].VPCID = "vpc-2" }, "security groups", Failure, []string{"vpc-2", "vpc-1"}},
		{"groups not known", func(f *Facts) { f.EC2.GroupsErr = unauthorized() }, "security groups", Failure, nil},
		{"too many", func(f *Facts) { f.EC2.InstanceType.MaxENIs = 1 }, "ENI limit", Failure, []string{"m5.large supports 1", "eni-0 [primary ENI]", "1 more requested"}},
		{"no room for the VPC CNI", func(f *Facts) { f.EC2.InstanceType.MaxENIs, f.CNI.Env = 2, nil }, "ENI limit", Warning, []string{"set MAX_ENI", "to 1 or less"}},
		{"as many as fit", func(f *Facts) { f.EC2.InstanceType.MaxENIs = 2 }, "ENI limit", OK, nil},
		{"the limits are not told", func(f *Facts) { f.EC2.InstanceType.MaxENIs = 0 }, "instance type", Skipped, []string{"limits of m5.large"}},
		{"the limits are refused", func(f *Facts) { f.EC2.InstanceTypeErr = unauthorized() }, "instance type", Warning, []string{"limits of m5.large", "refused DescribeInstanceTypes"}},
		{"index taken", func(f *Facts) {
			f.EC2.Forecast.ENIs[0].DeviceIndex, f.EC2.Forecast.ENIs[0].Holder = 2, "eni-9"
			f.EC2.Forecast.Attached = append(f.EC2.Forecast.Attached, eni.ENI{ID: "eni-9", Description: "aws-K8S-i-1", Attachment: &eni.Attachment{DeviceIndex: 1}})
		}, "device indexes", Warning, []string{"requests index 1", "eni-9 [VPC CNI]", "gets index 2"}},
		{"index taken on another card", func(f *Facts) {
			onCard1(f)
			f.EC2.Forecast.Attached[1].Attachment.DeviceIndex = 1
			f.EC2.Forecast.ENIs[0].DeviceIndex, f.EC2.Forecast.ENIs[0].Holder = 2, "eni-8"
		}, "device indexes", Warning, []string{"requests index 1 on network card 1, but eni-8", "gets index 2"}},
		{"a VPC CNI without tags", func(f *Facts) { f.CNI.Env = map[string]string{"ENABLE_IMDS_ONLY_MODE": "true"} }, "VPC CNI", Failure, []string{"ENABLE_IMDS_ONLY_MODE"}},
		{"a VPC CNI that is not told", func(f *Facts) { f.CNI.Err = errors.New("forbidden") }, "VPC CNI", Skipped, []string{"forbidden"}},
		{"SNAT, as the VPC CNI does it by default", func(f *Facts) { host(f) }, "VPC CNI SNAT", Warning,
			[]string{"NodeENI data has", "destination is outside the VPC's CIDRs;", "AWS_VPC_K8S_CNI_EXTERNALSNAT", "AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS"}},
		{"SNAT that is asked for", func(f *Facts) { host(f, "AWS_VPC_K8S_CNI_EXTERNALSNAT", "false") }, "VPC CNI SNAT", Warning, nil},
		{"SNAT, set to what is no boolean", func(f *Facts) { host(f, "AWS_VPC_K8S_CNI_EXTERNALSNAT", "yes") }, "VPC CNI SNAT", Warning, nil},
		{"SNAT with exclusions", func(f *Facts) { host(f, "AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS", "192.0.2.0/24") }, "VPC CNI SNAT", Warning,
			[]string{"outside the VPC's CIDRs and the excluded CIDRs 192.0.2.0/24", "aws-node as well"}},
		{"no SNAT", func(f *Facts) { host(f, "AWS_VPC_K8S_CNI_EXTERNALSNAT", "1") }, "VPC CNI SNAT", OK, nil},
		{"SNAT of an IPv6 cluster", func(f *Facts) { host(f, "ENABLE_IPv6", "true") }, "VPC CNI SNAT", OK, nil},
		{"another Region", func(f *Facts) { f.Credentials.Region = "eu-west-1" }, "Region", Failure, []string{"go to EC2 in eu-west-1", "is in us-east-1", "set AWS_REGION", "to us-east-1"}},
		{"no primary ENI", func(f *Facts) { f.EC2.Forecast.Attached = nil }, "the instance's ENIs", Failure, []string{"primary ENI of i-1", "AWS_ENDPOINT_URL_EC2"}},
		{"the cluster's id is not known", func(f *Facts) { attach(f, "other", "uid-2"); f.EC2.Cluster = "" }, "--cluster-name", Skipped, []string{"could not read the cluster name"}},
		{"another cluster's name", func(f *Facts) { attach(f, "other", "uid-1"); f.Wanted.NodeENIs[0].UID = "uid-1" }, "--cluster-name", Failure, []string{`cluster tag "other"`, `--cluster-name "other"`}},
		{"another cluster's, and a NodeENI that is not known", func(f *Facts) { attach(f, "other", "uid-2") }, "--cluster-name", Warning, []string{`cluster tag "other"`}},
		{"dry runs are not taken, but the call itself is", func(f *Facts) {
			f.EC2.Attempts[1].Err, f.EC2.Done = api("InvalidParameter"), map[string]bool{"DescribeSubnets": true}
		}, "ec2:DescribeSubnets", OK, []string{"the doctor made this call"}},
		{"invalid credentials", func(f *Facts) { f.EC2.Attempts[0].Err = api("AuthFailure") }, "ec2:DescribeNetworkInterfaces", Failure, []string{"credentials are valid", "clock"}},
		{"a service control policy", func(f *Facts) {
			f.EC2.Attempts[0].Err = &smithy.GenericAPIError{Code: "UnauthorizedOperation", Message: "not authorized to perform: ec2:DescribeNetworkInterfaces with an explicit deny in a service control policy"}
		}, "ec2:DescribeNetworkInterfaces", Failure, []string{"remove the deny from that service control policy"}},
		{"a VPC CNI with a variable from elsewhere", func(f *Facts) { f.CNI.Elsewhere = []string{"ENABLE_IMDS_ONLY_MODE"} }, "VPC CNI", Skipped, []string{"ENABLE_IMDS_ONLY_MODE"}},
		{"processes that are not visible", func(f *Facts) { f.Host.Blind = true }, "host daemons", Skipped, []string{"processes"}},
		{"a primary link that is not found", func(f *Facts) { f.Host.Guessed = true }, "host daemons", Skipped, []string{"primary"}},
		{"no --node-ip", func(f *Facts) { f.Kubelet.NodeIP, f.Kubelet.Cloud = "", true }, "kubelet --node-ip", Warning, nil},
		{"no annotation, and no cloud controller", func(f *Facts) { f.Kubelet.NodeIP = "" }, "kubelet --node-ip", Skipped, nil},
		{"no --node-ip and no --cloud-provider", func(f *Facts) { f.Kubelet = &Kubelet{Args: []string{"kubelet"}, InternalIPs: []string{"10.0.0.4"}} }, "kubelet --node-ip", OK, []string{"not needed"}},
		{"no --node-ip, but --cloud-provider", func(f *Facts) { f.Kubelet = &Kubelet{Args: []string{"kubelet", "--cloud-provider=external"}} }, "kubelet --node-ip", Warning, nil},
		{"dual stack", func(f *Facts) { f.Kubelet = &Kubelet{InternalIPs: []string{"10.0.0.4", "2001:db8::4"}} }, "kubelet --node-ip", Skipped, nil},
		{"no --node-ip, and it shows", func(f *Facts) { f.Kubelet = &Kubelet{InternalIPs: []string{"10.0.0.4", "10.0.1.4"}} }, "kubelet --node-ip", Warning, []string{"2 InternalIPs"}},
		{"--node-ip on the command line", func(f *Facts) {
			f.Kubelet = &Kubelet{Args: []string{"kubelet", "--node-ip", "10.0.0.4"}, InternalIPs: []string{"10.0.0.4"}}
		}, "kubelet --node-ip", OK, nil},
		{"no kubelet to be seen", func(f *Facts) { f.Kubelet = &Kubelet{} }, "kubelet --node-ip", Skipped, nil},
		{"no capability", func(f *Facts) { f.Kernel.NetAdmin = false }, "CAP_NET_ADMIN", Failure, []string{"NET_ADMIN"}},
		{"an old kernel", func(f *Facts) { f.Kernel.Release = "4.14.355-280.xx.amzn2" }, "kernel", Failure, []string{"4.17"}},
		{"no policy routing", func(f *Facts) { f.Kernel.RulesErr = errors.New("not supported") }, "kernel", Failure, []string{"CONFIG_IP_MULTIPLE_TABLES"}},
		{"a router's default route by an ENI of ours", func(f *Facts) {
			f.EC2.Forecast.Own = []eni.ENI{{ID: "eni-1", MAC: "02:00:00:00:00:02"}}
			f.Kernel.Routers = map[string]string{"02:00:00:00:00:02": "ens6"}
		}, "IPv6 default route", Warning, []string{"through ens6", "eni-1", "net.ipv6.conf.ens6.accept_ra=0", "net.ipv6.conf.default.accept_ra = 0"}},
		{"a router's default route by the primary ENI", func(f *Facts) {
			f.EC2.Forecast.Own = []eni.ENI{{ID: "eni-1", MAC: "02:00:00:00:00:02"}}
			f.Kernel.Routers = map[string]string{"02:00:00:00:00:01": "ens5"}
		}, "IPv6 default route", OK, nil},
		{"a strict filter on the link of an ENI of ours", func(f *Facts) {
			host(f)
			f.EC2.Forecast.Own = []eni.ENI{{ID: "eni-1", MAC: "02:00:00:00:00:02"}}
			f.Kernel.StrictPaths = map[string]string{"02:00:00:00:00:02": "ens6"}
		}, "reverse path filter", Warning, []string{"on ens6", "NodePort", "net.ipv4.conf.ens6.rp_filter=2"}},
		{"a strict filter on the primary's", func(f *Facts) {
			host(f)
			f.EC2.Forecast.Own = []eni.ENI{{ID: "eni-1", MAC: "02:00:00:00:00:02"}}
			f.Kernel.StrictPaths = map[string]string{"02:00:00:00:00:01": "ens5"}
		}, "reverse path filter", OK, nil},
		{"a wrong ENI is not a wrong subnet", func(f *Facts) {
			f.EC2.Forecast.Problems = []agent.ForecastProblem{{NodeENI: "b", Reason: agent.ReasonInstanceType, Message: "m5.large cannot have this ENI: it has no ENA Express; select nodes of another type"}}
		}, "instance type", Failure, []string{"NodeENI b: m5.large cannot have this ENI: it has no ENA Express\nselect nodes"}},
		{"a Nitro type", func(f *Facts) {
			f.EC2.InstanceType = eni.InstanceType{MaxENIs: 3, IPv4Addresses: 10, IPv6Addresses: 10, IPv6: ptr.To(true), ENAExpress: ptr.To(false)}
		}, "instance type", OK, []string{"m5.large: 3 ENIs; 10 IPv4 addresses or prefixes per ENI; 10 IPv6 addresses or prefixes per ENI; no ENA Express\n"}},
		{"a Xen type", func(f *Facts) { f.EC2.InstanceType.Xen, f.EC2.InstanceType.IPv6 = true, ptr.To(false) }, "instance type", OK,
			[]string{"no IPv6; Xen: no prefixes, no connection tracking timeouts"}},
		{"a type with cards and queues", func(f *Facts) {
			f.EC2.InstanceType.Cards = []eni.Card{{Index: 0, MaxENIs: 2, MaxENAQueuesPerENI: 8}, {Index: 1, MaxENIs: 1, MaxENAQueuesPerENI: 4}}
			f.EC2.InstanceType.ENAExpress = ptr.To(true)
		}, "instance type", OK, []string{"3 ENIs (2 on network card 0, 1 on network card 1); ENA Express; ENA queues per ENI: up to 8 on network card 0, 4 on network card 1"}},
		{"a full card", func(f *Facts) { cards(f, 2, 1); onCard1(f) }, "ENI limit", Failure, []string{"supports 1 ENI on network card 1; 1 attached (eni-8 [unknown]), 1 more requested"}},
		{"a card that has room, while another is full", func(f *Facts) { cards(f, 1, 2); onCard1(f) }, "ENI limit", OK, []string{"supports 2 ENIs on network card 1; 1 attached, 1 more requested"}},
		{"no room on card 1 is not the VPC CNI's concern", func(f *Facts) { cards(f, 2, 2); onCard1(f); f.CNI.Env = nil }, "ENI limit", OK, []string{"supports 2 ENIs on network card 1"}},
		{"a card with room for more ENIs that choose their queues", func(f *Facts) {
			cards(f, 1, 0)
			f.EC2.InstanceType.Cards[0].MoreENIs, f.EC2.Forecast.ENIs[0].ENAQueues = 1, 2
		}, "ENI limit", OK, []string{"supports 2 ENIs on network card 0"}},
		{"and none for ENIs that do not", func(f *Facts) { cards(f, 1, 0); f.EC2.InstanceType.Cards[0].MoreENIs = 1 }, "ENI limit", Failure, []string{"supports 1 ENI on network card 0"}},
		{"ENA Express without an mtu", func(f *Facts) { enaExpress(f, 0) }, "ENA Express", Warning, []string{"NodeENI data has no mtu, and the ENA driver", "8900"}},
		{"ENA Express and a default mtu", func(f *Facts) { enaExpress(f, 0); f.DefaultMTU = 9001 }, "ENA Express", Warning, []string{"--default-mtu is 9001"}},
		{"jumbo frames with ENA Express", func(f *Facts) { enaExpress(f, 9001) }, "ENA Express", Warning, []string{"NodeENI data has mtu 9001", "8900"}},
		{"an old VPC CNI and an ENI without IPv4", func(f *Facts) { only6(f); f.CNI.Version = "1.23.0" }, "VPC CNI version", Failure, []string{"1.23.0 crashes", "subnet-1", "v1.23.1"}},
		{"a new VPC CNI and an ENI without IPv4", func(f *Facts) { only6(f); f.CNI.Version = "1.23.1" }, "VPC CNI version", OK, []string{"1.23.1 works"}},
		{"a VPC CNI of which no version is known", func(f *Facts) { only6(f) }, "VPC CNI version", Skipped, []string{"before 1.23.1"}},
		{"nodeadm's gate", func(f *Facts) { f.Nodeadm = &Nodeadm{Present: true, OSManagedENIs: "the user data"} }, "nodeadm", Warning, []string{"the user data enables", "OSManagedNoManageENIs"}},
		{"nodeadm's gate, whatever the user data says", func(f *Facts) { f.Nodeadm = &Nodeadm{OSManagedENIs: "a.yaml", Err: errors.New("HTTP 403")} }, "nodeadm", Warning, []string{"a.yaml"}},
		{"nodeadm without the gate", func(f *Facts) { f.Nodeadm = &Nodeadm{Present: true} }, "nodeadm", OK, []string{"is disabled"}},
		{"user data that cannot be read", func(f *Facts) { f.Nodeadm = &Nodeadm{Err: errors.New("HTTP 403")} }, "nodeadm", Skipped, []string{"HTTP 403"}},
		{"no nf_tables, and an ENI with IPv6", func(f *Facts) { dual(f); f.Kernel.NFTablesErr = errors.New("not supported") }, "router advertisements", Warning,
			[]string{"no nf_tables (not supported)", "subnet-1", "NodeENI data", "net.ipv6.conf.default.accept_ra = 0"}},
		{"nf_tables, and an ENI with IPv6", func(f *Facts) { dual(f) }, "router advertisements", OK, nil},
		{"the host is hidden", func(f *Facts) { f.Host, f.HostHidden = nil, "in a pod" }, "host daemons", Skipped, []string{"in a pod"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := healthy()
			test.change(&f)
			wantResult(t, f, test.check, test.status, test.words)
		})
	}
}

// wantResult wants a result with these words, in its message or action.
func wantResult(t *testing.T, f Facts, check string, status Status, words []string) {
	t.Helper()
	for _, r := range Check(f) {
		text := r.Message + "\n" + r.Action
		all := r.Check == check && r.Status == status
		for _, w := range words {
			all = all && strings.Contains(text, w)
		}
		if strings.Contains(text, "secret") {
			t.Errorf("the encoded message is shown: %s", text)
		}
		if (r.Status == Failure || r.Status == Warning) && r.Action == "" {
			t.Errorf("%s says not what to do", r.Check)
		}
		if all {
			return
		}
	}
	t.Errorf("no %s with status %s and %q in %+v", check, status, words, Check(f))
}

// host gives the NodeENI that selects the node addresses on it, and the VPC CNI
// variables.
func host(f *Facts, env ...string) {
	f.Wanted.NodeENIs[0].Name = "data"
	f.Wanted.NodeENIs[0].Spec.Addressing = v1alpha1.AddressingHost
	f.CNI.Env = map[string]string{}
	for i := 0; i < len(env); i += 2 {
		f.CNI.Env[env[i]] = env[i+1]
	}
}

// cards has an instance type take that many ENIs on network card 0 and on card 1.
func cards(f *Facts, on0, on1 int32) {
	f.EC2.InstanceType.MaxENIs = on0 + on1
	f.EC2.InstanceType.Cards = []eni.Card{{Index: 0, MaxENIs: on0}, {Index: 1, MaxENIs: on1}}
}

// onCard1 has the ENI that is wanted, and one of another's, be on network card 1.
func onCard1(f *Facts) {
	f.EC2.Forecast.ENIs[0].NetworkCard = 1
	f.EC2.Forecast.Attached = append(f.EC2.Forecast.Attached, eni.ENI{ID: "eni-8", Attachment: &eni.Attachment{Card: 1}})
}

// enaExpress gives the NodeENI that selects the node ENA Express.
func enaExpress(f *Facts, mtu int32) {
	f.Wanted.NodeENIs[0].Name = "data"
	f.Wanted.NodeENIs[0].Spec.MTU = mtu
	f.Wanted.NodeENIs[0].Spec.ENAExpress = &v1alpha1.ENAExpress{Enabled: true}
}

// only6 takes IPv4 from the subnet that is wanted, dual adds IPv6 to it.
func only6(f *Facts) {
	f.EC2.Forecast.Subnets["subnet-1"] = eni.Subnet{ID: "subnet-1", VPCID: "vpc-1", IPv6Only: true, IPv6CIDRs: []string{"2001:db8::/64"}}
}

func dual(f *Facts) {
	f.EC2.Forecast.Subnets["subnet-1"] = eni.Subnet{ID: "subnet-1", VPCID: "vpc-1", Free: 1, IPv6CIDRs: []string{"2001:db8::/64"}}
}

// Checks of what this node does not have, or does not ask for, say nothing.
func TestDoesNotMatter(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*Facts)
		check  func(Facts) []Result
	}{
		"ENA Express with room for its headers":         {func(f *Facts) { enaExpress(f, 8900) }, checkENAExpress},
		"ENA Express and a default mtu with room":       {func(f *Facts) { enaExpress(f, 0); f.DefaultMTU = 8900 }, checkENAExpress},
		"ENA Express that is off":                       {func(f *Facts) { enaExpress(f, 9001); f.Wanted.NodeENIs[0].Spec.ENAExpress.Enabled = false }, checkENAExpress},
		"jumbo frames alone":                            {func(f *Facts) { f.Wanted.NodeENIs[0].Spec.MTU = 9001 }, checkENAExpress},
		"ENA Express of another node":                   {func(f *Facts) { enaExpress(f, 9001); f.Wanted.Labels = nil }, checkENAExpress},
		"an old VPC CNI, and IPv4":                      {func(f *Facts) { dual(f); f.CNI.Version = "1.11.0" }, checkCNIVersion},
		"no VPC CNI, and an ENI without IPv4":           {func(f *Facts) { only6(f); f.CNI.Present = false }, checkCNIVersion},
		"an ENI without IPv4, before EC2 is asked":      {func(f *Facts) { f.EC2 = nil }, checkCNIVersion},
		"no nf_tables, and no IPv6":                     {func(f *Facts) { f.Kernel.NFTablesErr = errors.New("no") }, checkAdvertisements},
		"nf_tables, for one who may not ask for it":     {func(f *Facts) { dual(f); f.Kernel.NetAdmin, f.Kernel.NFTablesErr = false, errors.New("no") }, checkAdvertisements},
		"an instance without nodeadm":                   {func(f *Facts) { f.Nodeadm = &Nodeadm{} }, checkNodeadm},
		"the limit of an instance type that EC2 hides":  {func(f *Facts) { f.EC2.InstanceType = eni.InstanceType{} }, checkLimit},
		"the limit where EC2 is asked about another VM": {func(f *Facts) { f.EC2.Forecast.Attached = nil }, checkLimit},
	} {
		f := healthy()
		test.change(&f)
		if results := test.check(f); results != nil {
			t.Errorf("%s: %+v", name, results)
		}
	}
}

// Where no connection begins at an ENI's address, or no VPC CNI is known, its SNAT
// does not matter.
func TestSNATDoesNotMatter(t *testing.T) {
	for name, change := range map[string]func(*Facts){
		"addressing None":            func(f *Facts) { f.Wanted.NodeENIs[0].Spec.Addressing = v1alpha1.AddressingNone },
		"another node's":             func(f *Facts) { f.Wanted.Labels = nil },
		"being deleted":              func(f *Facts) { f.Wanted.NodeENIs[0].DeletionTimestamp = &metav1.Time{} },
		"what is wanted is not told": func(f *Facts) { f.Wanted = nil },
		"no VPC CNI":                 func(f *Facts) { f.CNI.Present = false },
		"a VPC CNI that is not told": func(f *Facts) { f.CNI.Err = errors.New("forbidden") },
		"no cluster":                 func(f *Facts) { f.CNI = nil },
	} {
		f := healthy()
		host(&f)
		change(&f)
		if results := checkSNAT(f); results != nil {
			t.Errorf("%s: %+v", name, results)
		}
	}
}

// What is not gathered is not judged.
func TestNothing(t *testing.T) {
	if results := Check(Facts{}); len(results) > 0 {
		t.Errorf("%+v", results)
	}
}

func TestReason(t *testing.T) {
	for check, want := range map[string]string{"kubelet --node-ip": "PreflightKubeletNodeIp", "VPC CNI": "PreflightVPCCNI", "ec2:Attach": "PreflightEc2Attach"} {
		if got := (Result{Check: check}).Reason(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestPrintTable(t *testing.T) {
	var b strings.Builder
	err := PrintTable(&b, "Node n", []Result{ok("IMDS", "answers"), warning("a", "do b", "c"), failure("longer", "do d", "e"), skipped("s", "f")})
	if err != nil {
		t.Fatal(err)
	}
	const want = `Node n

✓  IMDS    answers
!  a       c
           → do b
✗  longer  e
           → do d
–  s       f

1 ok, 1 warning, 1 failed, 1 not checked
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}
