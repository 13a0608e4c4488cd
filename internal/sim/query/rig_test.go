package query

import (
	"context"
	"encoding/xml"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"

	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
)

const (
	vpcID     = "vpc-00000000000000001"
	otherVPC  = "vpc-00000000000000002"
	subnetA   = "subnet-0000000000000000a" // zone a
	subnetA2  = "subnet-000000000000000a2" // zone a, too
	subnetB   = "subnet-0000000000000000b" // zone b
	otherNet  = "subnet-0000000000000000c" // of the other VPC
	groupWeb  = "sg-00000000000000001"
	groupDB   = "sg-00000000000000002"
	otherSG   = "sg-00000000000000003" // of the other VPC
	noENI     = "eni-0ffffffffffffffff"
	noSubnet  = "subnet-0ffffffffffffffff"
	noGroup   = "sg-0ffffffffffffffff"
	noHost    = "i-0ffffffffffffffff"
	noAttach  = "eni-attach-0ffffffffffffffff"
	accessKey = "AKIDTEST"
)

func testConfig() cloud.Config {
	return cloud.Config{
		VPCs: []cloud.VPC{
			{ID: vpcID, CIDR: netip.MustParsePrefix("10.0.0.0/16")},
			{ID: otherVPC, CIDR: netip.MustParsePrefix("10.1.0.0/16")},
		},
		Subnets: []cloud.Subnet{
			{ID: subnetA, VPCID: vpcID, Zone: "us-east-1a", CIDR: netip.MustParsePrefix("10.0.1.0/24"), Tags: map[string]string{"Name": "data-a"}},
			{ID: subnetA2, VPCID: vpcID, Zone: "us-east-1a", CIDR: netip.MustParsePrefix("10.0.2.0/24"), Tags: map[string]string{"Name": "data-a2"}},
			{ID: subnetB, VPCID: vpcID, Zone: "us-east-1b", CIDR: netip.MustParsePrefix("10.0.3.0/24"), Tags: map[string]string{"Name": "data-b"}},
			{ID: otherNet, VPCID: otherVPC, Zone: "us-east-1a", CIDR: netip.MustParsePrefix("10.1.1.0/24")},
		},
		SecurityGroups: []cloud.SecurityGroup{
			{ID: groupWeb, Name: "web", VPCID: vpcID},
			{ID: groupDB, Name: "db", VPCID: vpcID, Tags: map[string]string{"team": "data"}},
			{ID: otherSG, Name: "web", VPCID: otherVPC},
		},
	}
}

// rig is an account behind the protocol, and a real client of it.
type rig struct {
	*testing.T
	cloud *cloud.Cloud
	url   string
	ec2   *ec2.Client
	ctx   context.Context
}

func newRig(t *testing.T, change ...func(*cloud.Config)) *rig {
	t.Helper()
	config := testConfig()
	for _, f := range change {
		f(&config)
	}
	c, err := cloud.New(config)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(New(c))
	t.Cleanup(func() {
		c.Close() // lets go of calls that hang
		server.Close()
	})
	r := &rig{T: t, cloud: c, url: server.URL, ctx: t.Context()}
	r.ec2 = r.client(accessKey)
	return r
}

func (r *rig) client(key string) *ec2.Client {
	http := awshttp.NewBuildableClient()
	r.Cleanup(func() { http.GetTransport().CloseIdleConnections() })
	return ec2.New(ec2.Options{
		Region:       "us-east-1",
		BaseEndpoint: aws.String(r.url),
		Credentials:  credentials.NewStaticCredentialsProvider(key, "secret", ""),
		Retryer:      aws.NopRetryer{},
		HTTPClient:   http,
		AppID:        "rig",
	})
}

// must returns the answer of a call that has to succeed.
func must[T any](r *rig) func(T, error) T {
	return func(out T, err error) T {
		r.Helper()
		if err != nil {
			r.Fatalf("unexpected error: %v", err)
		}
		return out
	}
}

func (r *rig) host(subnet string) cloud.Instance {
	r.Helper()
	return must[cloud.Instance](r)(r.cloud.RunInstance(cloud.RunInstance{Type: "m5.large", SubnetID: subnet}))
}

func (r *rig) create(subnet string, tags ...string) *types.NetworkInterface {
	r.Helper()
	in := &ec2.CreateNetworkInterfaceInput{SubnetId: &subnet}
	if len(tags) > 0 {
		in.TagSpecifications = tagSpec(tags...)
	}
	return must[*ec2.CreateNetworkInterfaceOutput](r)(r.ec2.CreateNetworkInterface(r.ctx, in)).NetworkInterface
}

func (r *rig) attach(eni *string, host string, index int32) string {
	r.Helper()
	return *must[*ec2.AttachNetworkInterfaceOutput](r)(r.ec2.AttachNetworkInterface(r.ctx, attachInput(eni, host, index))).AttachmentId
}

func attachInput(eni *string, host string, index int32) *ec2.AttachNetworkInterfaceInput {
	return &ec2.AttachNetworkInterfaceInput{
		NetworkInterfaceId: eni, InstanceId: &host, DeviceIndex: &index, NetworkCardIndex: aws.Int32(0),
	}
}

// tagSpec makes tags of keys and values in turn.
func tagSpec(pairs ...string) []types.TagSpecification {
	var tags []types.Tag
	for i := 0; i+1 < len(pairs); i += 2 {
		tags = append(tags, types.Tag{Key: &pairs[i], Value: &pairs[i+1]})
	}
	return []types.TagSpecification{{ResourceType: types.ResourceTypeNetworkInterface, Tags: tags}}
}

// list describes ENIs and returns their ids, sorted.
func (r *rig) list(in *ec2.DescribeNetworkInterfacesInput) []string {
	r.Helper()
	var ids []string
	for _, eni := range must[*ec2.DescribeNetworkInterfacesOutput](r)(r.ec2.DescribeNetworkInterfaces(r.ctx, in)).NetworkInterfaces {
		ids = append(ids, *eni.NetworkInterfaceId)
	}
	slices.Sort(ids)
	return ids
}

func (r *rig) describe(id *string) types.NetworkInterface {
	r.Helper()
	out := must[*ec2.DescribeNetworkInterfacesOutput](r)(
		r.ec2.DescribeNetworkInterfaces(r.ctx, &ec2.DescribeNetworkInterfacesInput{NetworkInterfaceIds: []string{*id}}))
	if len(out.NetworkInterfaces) != 1 {
		r.Fatalf("%d ENIs for one id", len(out.NetworkInterfaces))
	}
	return out.NetworkInterfaces[0]
}

func filter(name string, values ...string) []types.Filter {
	return []types.Filter{{Name: &name, Values: values}}
}

// raw posts a form as it stands, and returns the error's code, the HTTP status
// and the body.
func (r *rig) raw(form string) (code string, status int, body string) {
	r.Helper()
	request := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(form))
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	w := httptest.NewRecorder()
	New(r.cloud).ServeHTTP(w, request)
	var answer errorResponse
	if w.Code != http.StatusOK {
		if err := xml.Unmarshal(w.Body.Bytes(), &answer); err != nil {
			r.Fatalf("%s: %v in %s", form, err, w.Body)
		}
	}
	return answer.Code, w.Code, w.Body.String()
}

// failure is the code and the HTTP status of an error from the API.
func failure(err error) (code string, status int) {
	var api smithy.APIError
	var http *awshttp.ResponseError
	if errors.As(err, &api) {
		code = api.ErrorCode()
	}
	if errors.As(err, &http) {
		status = http.HTTPStatusCode()
	}
	return code, status
}

func (r *rig) wantCode(err error, code string) {
	r.Helper()
	if got, _ := failure(err); got != code {
		r.Fatalf("error %v, want %s", err, code)
	}
}

// eventually waits for a condition.
func (r *rig) eventually(what string, holds func() bool) {
	r.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !holds() {
		if time.Now().After(deadline) {
			r.Fatalf("not within 20 s: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}
