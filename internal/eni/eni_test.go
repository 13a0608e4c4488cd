package eni

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

var owner = Owner{
	Cluster: "c-1", Node: "node-a", Instance: "arn:aws:ec2:us-east-1:123456789012:instance/i-0123456789abcdef0",
	NodeENI: "data", NodeENIUID: "0a1b", CreatedAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
}

func params() CreateParams {
	return CreateParams{Owner: owner, SubnetID: "subnet-1", Groups: []string{"sg-2", "sg-1"}, Description: "d", UserTags: map[string]string{"team": "net", "env": "prod"}}
}

func TestTagsRoundTrip(t *testing.T) {
	if got := ownerOf(owner.tags(nil)); got != owner {
		t.Errorf("got %+v, want %+v", got, owner)
	}
	for _, place := range []int32{1, 2, 128} {
		onDemand := owner
		onDemand.Place = place
		if got := ownerOf(onDemand.tags(nil)); got != onDemand {
			t.Errorf("got %+v, want %+v", got, onDemand)
		}
	}
	if got := ownerOf([]types.Tag{{Key: aws.String(TagPlace), Value: aws.String("128")}}); got.Place != 0 {
		t.Errorf("place %d is taken for one", got.Place-1)
	}
	if got := owner.InstanceID(); got != "i-0123456789abcdef0" {
		t.Errorf("InstanceID: %s", got)
	}
}

func TestTagsOfTheUserCannotChangeOurs(t *testing.T) {
	tags := map[string]string{}
	for _, tag := range owner.tags(map[string]string{TagCluster: "stolen", TagNoManage: "false", TagName: "mine", "team": "net"}) {
		tags[aws.ToString(tag.Key)] = aws.ToString(tag.Value)
	}
	want := map[string]string{
		TagName: "mine", "team": "net", TagCluster: "c-1", TagNode: "node-a", TagInstance: owner.Instance,
		TagNodeENI: "data", TagNodeENIUID: "0a1b", TagCreatedAt: "2026-01-02T03:04:05Z", TagNoManage: "true",
	}
	if !maps.Equal(tags, want) {
		t.Errorf("got %v\nwant %v", tags, want)
	}
}

// Names may be as long as Kubernetes allows, and together longer than a tag.
func TestNameTagFits(t *testing.T) {
	long := owner
	long.NodeENI, long.Node = strings.Repeat("n", 253), strings.Repeat("m", 253)
	tags := long.tags(nil)
	i := slices.IndexFunc(tags, func(tag types.Tag) bool { return aws.ToString(tag.Key) == TagName })
	if got := aws.ToString(tags[i].Value); len(got) != 256 || !strings.HasPrefix(got, long.NodeENI+"/mm") {
		t.Errorf("the Name tag is %s", got)
	}
}

// Emulators of EC2 leave out of their answers what is as it is by default.
func TestFieldsLeftOut(t *testing.T) {
	if e := fromEC2(types.NetworkInterface{}); !e.SourceDestCheck {
		t.Error("sourceDestCheck is taken for switched off")
	}
}

// The token must be the same for the same request whenever it is made, by
// whatever release: a changed hash gives a second ENI to an agent that is
// upgraded between asking and hearing.
func TestTokenIsStable(t *testing.T) {
	const want = "3b6bc1e16b4e181d3c12ae06866dd42b7324fcc8558a6d76fc6986b9ddfc34ba"
	if got := params().Token(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// The token tells decisions apart, and not the words in which one is put: with
// another token, a NodeENI that changes between asking and hearing would get a
// second ENI.
func TestTokenNamesTheDecision(t *testing.T) {
	base := params().Token()
	seen := map[string]string{base: "the base"}
	for name, change := range map[string]func(*CreateParams){
		"cluster":    func(p *CreateParams) { p.Owner.Cluster = "c-2" },
		"instance":   func(p *CreateParams) { p.Owner.Instance += "1" },
		"uid":        func(p *CreateParams) { p.Owner.NodeENIUID = "0a1c" },
		"created at": func(p *CreateParams) { p.Owner.CreatedAt = p.Owner.CreatedAt.Add(time.Second) },
		"subnet":     func(p *CreateParams) { p.SubnetID = "subnet-2" },
		"replaces":   func(p *CreateParams) { p.Replaces = "eni-1" },
		"place 0":    func(p *CreateParams) { p.Owner.Place = 1 },
		"place 1":    func(p *CreateParams) { p.Owner.Place = 2 },
		"fields that run together": func(p *CreateParams) {
			p.Owner.Cluster, p.Owner.Instance = "c-1a", strings.TrimPrefix(p.Owner.Instance, "a")
		},
	} {
		p := params()
		change(&p)
		token := p.Token()
		if len(token) > 64 {
			t.Errorf("%s: %d characters, EC2 takes 64", name, len(token))
		}
		if other, ok := seen[token]; ok {
			t.Errorf("%s and %s have one token", name, other)
		}
		seen[token] = name
	}
	for name, change := range map[string]func(*CreateParams){
		"groups":      func(p *CreateParams) { p.Groups = []string{"sg-1"} },
		"description": func(p *CreateParams) { p.Description = "" },
		"tags":        func(p *CreateParams) { p.UserTags = nil },
		"addresses":   func(p *CreateParams) { p.SecondaryAddresses, p.IPv6Addresses, p.PrimaryIPv6 = 4, aws.Int32(1), true },
		"prefixes":    func(p *CreateParams) { p.IPv4Prefixes, p.IPv6Prefixes = 1, 1 },
		"timeouts":    func(p *CreateParams) { p.ConnectionTracking.UDPTimeout = 60 },
	} {
		p := params()
		change(&p)
		if p.Token() != base {
			t.Errorf("%s: another token", name)
		}
	}
}

// EC2 takes a filter's value for a pattern; a name is none.
func TestFilterIsLiteral(t *testing.T) {
	for value, want := range map[string]string{
		"data":      "data",
		"data-*":    `data-\*`,
		"a?":        `a\?`,
		`prod\east`: `prod\\east`,
		`\*`:        `\\\*`,
	} {
		if got := filter("tag:Name", value).Values; len(got) != 1 || got[0] != want {
			t.Errorf("%s: got %s, want %s", value, got, want)
		}
	}
}

func apiError(code, message string) error {
	return &smithy.OperationError{ServiceID: "EC2", OperationName: "X", Err: &smithy.GenericAPIError{Code: code, Message: message}}
}

// noCredentials is the SDK's error when its sources of credentials fail.
func noCredentials(err error) error {
	return &smithy.OperationError{ServiceID: "EC2", OperationName: "X", Err: fmt.Errorf("get identity: %w", fmt.Errorf("get credentials: %w", err))}
}

func TestReason(t *testing.T) {
	for want, err := range map[string]error{
		"UnauthorizedOperation": apiError("UnauthorizedOperation", ""),
		"NoAnswer":              errors.New("connection reset"),
		"ForeignAnswer":         fmt.Errorf("wrapped: %w", &foreignAnswer{status: 502}),
		"NoCredentials":         noCredentials(errors.New("no EC2 IMDS role found")),
	} {
		if got := Reason(err); got != want {
			t.Errorf("%v: got %s, want %s", err, got, want)
		}
	}
}

// A refusal with a code that is not known may last for ever; EC2's own failure passes.
func TestRefusals(t *testing.T) {
	for _, test := range []struct {
		status int
		code   string
		want   bool
	}{
		{400, "SomethingNew", true},
		{403, "OptInRequired", true},
		{500, "SomethingNew", false},
		{503, "Unavailable", false},
		{400, "UnauthorizedOperation", false},
		{400, "RequestExpired", false},
		{400, "Throttling", false},
		{400, "InvalidNetworkInterface.InUse", false},
		{400, "InvalidNetworkInterfaceID.NotFound", false},
		{400, "IdempotentParameterMismatch", false},
	} {
		err := &smithyhttp.ResponseError{Response: &smithyhttp.Response{Response: &http.Response{StatusCode: test.status}}, Err: apiError(test.code, "")}
		if got := IsRefusal(err); got != test.want {
			t.Errorf("HTTP %d %s: a refusal %v, want %v", test.status, test.code, got, test.want)
		}
	}
	if IsRefusal(errors.New("connection reset")) || IsRefusal(&foreignAnswer{status: 403}) || IsRefusal(nil) {
		t.Error("no answer is no refusal")
	}
	if advice := Advice("AttachNetworkInterface", apiError("RequestExpired", "…")); !strings.Contains(advice, "clock") {
		t.Errorf("advice without the clock: %s", advice)
	}
}

func TestErrorClasses(t *testing.T) {
	predicates := map[string]func(error) bool{
		"throttled": IsThrottled, "notfound": IsNotFound, "attachmentgone": IsAttachmentGone, "inuse": IsInUse,
		"indextaken": IsIndexTaken, "full": IsSubnetFull, "limit": IsAttachmentLimit, "addresslimit": IsAddressLimit, "denied": IsUnauthorized, "unauthenticated": IsUnauthenticated, "terminal": IsTerminal,
		"mismatch": IsMismatch, "groupgone": IsGroupGone, "subnetgone": IsSubnetGone,
	}
	for _, test := range []struct{ code, message, want string }{
		{"RequestLimitExceeded", "Request limit exceeded.", "throttled"},
		{"EC2ThrottledException", "", "throttled"},
		{"InternalError", "", ""},
		{"InvalidNetworkInterfaceID.NotFound", "", "notfound"},
		{"InvalidAttachmentID.NotFound", "", "attachmentgone"},
		{"InvalidNetworkInterface.InUse", "", "inuse"},
		{"InvalidParameterValue", "Network interface 'eni-1' is currently in use.", "inuse"},
		{"InvalidParameterValue", "Instance 'i-1' already has an interface attached at device index '2'.", "indextaken"},
		{"InvalidParameterValue", "There aren't sufficient free Ipv4 addresses or prefixes", "full"},
		{"InvalidParameterValue", "something else", "terminal"},
		{"InvalidParameter", "Security group sg-1 and subnet subnet-1 belong to different networks.", "terminal"},
		{"InsufficientFreeAddressesInSubnet", "", "full"},
		{"InsufficientCidrBlocks", "The specified subnet does not have enough free cidr blocks to satisfy the request.", "full"},
		{"PrivateIpAddressLimitExceeded", "Number of private addresses will exceed limit.", "addresslimit terminal"},
		{"UnsupportedOperation", "", "terminal"},
		{"Unsupported", "", "terminal"},
		{"AttachmentLimitExceeded", "", "limit terminal"},
		{"UnauthorizedOperation", "", "denied terminal"},
		{"AuthFailure", "", "unauthenticated terminal"},
		{"RequestExpired", "", "unauthenticated terminal"},
		{"ExpiredToken", "", "unauthenticated terminal"},
		{"InvalidSubnetID.NotFound", "", "subnetgone terminal"},
		{"InvalidGroup.NotFound", "", "groupgone terminal"},
		{"InvalidSecurityGroupID.NotFound", "", "groupgone terminal"},
		{"IncorrectState", "Instance 'i-1' is not 'running'.", ""},
		{"IdempotentParameterMismatch", "", "mismatch"},
	} {
		for name, predicate := range predicates {
			want := false
			for _, w := range strings.Fields(test.want) {
				want = want || w == name
			}
			if got := predicate(apiError(test.code, test.message)); got != want {
				t.Errorf("%s (%s): %s is %v", test.code, test.message, name, got)
			}
		}
	}
	for name, predicate := range predicates {
		if predicate(errors.New("connection reset")) || predicate(nil) {
			t.Errorf("%s holds for an error that is not EC2's", name)
		}
	}
}

// denied is how IAM begins a refusal.
const denied = "You are not authorized to perform this operation. User: arn:aws:sts::1:assumed-role/r/i-1 is not authorized to perform: ec2:CreateTags on resource: arn:aws:ec2:us-east-1:1:network-interface/* "

func TestAdvice(t *testing.T) {
	for _, test := range []struct {
		err  error
		want []string
	}{
		{apiError("UnauthorizedOperation", "You are not authorized"), []string{"ec2:CreateNetworkInterface", "IAM policy"}},
		{apiError("RequestLimitExceeded", "Request limit exceeded. id 123"), []string{"is throttling", "retried"}},
		{apiError("InsufficientFreeAddressesInSubnet", "no free"), []string{"free addresses"}},
		{apiError("InsufficientCidrBlocks", "not enough free cidr blocks"), []string{"no free block for another prefix", "CIDR reservation", "retried"}},
		{apiError("PrivateIpAddressLimitExceeded", "Number of private addresses will exceed limit."), []string{"will exceed limit", "instance type that supports more addresses"}},
		{apiError("UnsupportedOperation", "not supported by m4.large"), []string{"m4.large", "remove the unsupported settings"}},
		{apiError("InvalidGroup.NotFound", "The security group 'sg-1' does not exist"), []string{"sg-1", "securityGroupIDs"}},
		{apiError("AuthFailure", "AWS was not able to validate the provided access credentials"), []string{"clock", "credentials are valid"}},
		{apiError("InvalidParameter", "sg-1 and subnet-1 belong to different networks"), []string{"different networks", "correct"}},
		{noCredentials(errors.New("request to EC2 IMDS failed")), []string{"no AWS credentials", "instance profile"}},
		{noCredentials(apiError("AccessDenied", "not authorized to perform sts:AssumeRoleWithWebIdentity")), []string{"no AWS credentials", "AssumeRoleWithWebIdentity"}},
		{noCredentials(&smithy.OperationError{ServiceID: "STS", OperationName: "AssumeRoleWithWebIdentity", Err: errors.New("connection refused")}), []string{"STS AssumeRoleWithWebIdentity did not respond: connection refused"}},
		{&smithy.OperationError{Err: errors.New("connection reset by peer")}, []string{"EC2 did not respond", "connection reset by peer"}},
		{apiError("UnauthorizedOperation", denied+"because no identity-based policy allows the ec2:CreateTags action. Encoded authorization failure message: abc"), []string{"IAM does not allow ec2:CreateTags:", "; allow ec2:CreateTags in the IAM policy of the calling role"}},
		{apiError("UnauthorizedOperation", denied+"with an explicit deny in a service control policy: arn:aws:organizations::1:policy/p"), []string{"an explicit deny in a service control policy forbids ec2:CreateTags", "remove the deny from that service control policy"}},
		{apiError("UnauthorizedOperation", denied+"with an explicit deny in an identity-based policy"), []string{"an explicit deny in an identity-based policy forbids"}},
		{apiError("UnauthorizedOperation", denied+"because no permissions boundary allows the ec2:CreateTags action"), []string{"no permissions boundary allows ec2:CreateTags", "allow ec2:CreateTags in the permissions boundary"}},
		{apiError("UnauthorizedOperation", denied+"because no VPC endpoint policy allows the ec2:CreateTags action"), []string{"in the VPC endpoint policy"}},
		{apiError("InvalidInstanceID.NotFound", "The instance ID 'i-1' does not exist"), []string{"AWS_REGION"}},
		{&smithy.OperationError{Err: &url.Error{Op: "Post", URL: "https://ec2.example/", Err: &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}}},
			[]string{"certificate of ec2.example is not trusted (x509: certificate signed by unknown authority)", "AWS_CA_BUNDLE"}},
	} {
		got := Advice("CreateNetworkInterface", test.err)
		for _, want := range test.want {
			if !strings.Contains(got, want) {
				t.Errorf("%v: the advice %q lacks %q", test.err, got, want)
			}
		}
	}
}

// The same trouble has the same words at each attempt, or each would be news in the
// report and an Event of its own. What differs in these is 123.
func TestAdviceIsTheSameEachTime(t *testing.T) {
	sent := func(err error) error {
		return &smithy.OperationError{ServiceID: "EC2", OperationName: "X", Err: fmt.Errorf("https response error, RequestID: 123: %w", &url.Error{Op: "Post", URL: "https://ec2.example/", Err: err})}
	}
	dial := func(err error) error { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }
	from := &net.TCPAddr{IP: net.IPv4(10, 0, 1, 5), Port: 123}
	const port = "read udp 10.0.1.5:123->10.0.0.2:53: "
	for _, test := range []struct {
		err  error
		want string
	}{
		{sent(dial(&net.DNSError{Err: port + "connection refused", Name: "ec2.example", Server: "10.0.0.2:53", IsTemporary: true})), "lookup of ec2.example: no response"},
		{sent(dial(&net.DNSError{Err: port + "i/o timeout", Name: "ec2.example", IsTimeout: true})), "lookup of ec2.example: timed out"},
		{sent(dial(&net.DNSError{Err: "no such host", Name: "ec2.example", IsNotFound: true})), "lookup of ec2.example: no such host"},
		{noCredentials(sent(dial(&net.DNSError{Err: port + "connection refused", Name: "sts.example"}))), "lookup of sts.example: no response"},
		{sent(&net.OpError{Op: "read", Net: "tcp", Source: from, Err: os.NewSyscallError("read", syscall.ECONNRESET)}), "(connection reset by peer)"},
		{sent(&net.OpError{Op: "read", Net: "tcp", Source: from, Err: os.ErrDeadlineExceeded}), "(i/o timeout)"},
		{apiError("UnauthorizedOperation", "You are not authorized. Encoded authorization failure message: abc123"), "(UnauthorizedOperation: You are not authorized.)"},
		{apiError("RequestLimitExceeded", "id 123"), "is throttling"},
	} {
		if got := Advice("X", test.err); !strings.Contains(got, test.want) || strings.Contains(got, "123") {
			t.Errorf("%v: the advice is %q, want %q in it", test.err, got, test.want)
		}
	}
}
