package eni

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
)

// heedless answers as EC2 does, but takes no notice of filters.
type heedless map[string]string // action to what it shows

func (h heedless) Do(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, err
	}
	action := form.Get("Action")
	answer := fmt.Sprintf("<%[1]sResponse><requestId>r</requestId>%[2]s</%[1]sResponse>", action, h[action])
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(answer)), Request: r}, nil
}

func (h heedless) client() *Client {
	return NewClient(aws.Config{Region: "us-east-1", HTTPClient: h, Credentials: credentials.NewStaticCredentialsProvider("id", "secret", "")})
}

// Something that stands in for EC2 may ignore filters; what it shows besides is
// still not ours.
func TestAnswersAreChecked(t *testing.T) {
	tags := func(cluster, instance string) string {
		return fmt.Sprintf("<tagSet><item><key>%s</key><value>%s</value></item><item><key>%s</key><value>%s</value></item></tagSet>", TagCluster, cluster, TagInstance, instance)
	}
	at := func(instance string) string {
		return "<attachment><attachmentId>eni-attach-1</attachmentId><instanceId>" + instance + "</instanceId><status>attached</status></attachment>"
	}
	eni := func(id, rest string) string {
		return "<item><networkInterfaceId>" + id + "</networkInterfaceId><subnetId>subnet-1</subnetId>" + rest + "</item>"
	}
	named := func(kind, id, vpc string) string {
		return fmt.Sprintf("<item><%[1]sId>%[2]s</%[1]sId><%[1]sName>x</%[1]sName><availabilityZone>us-east-1a</availabilityZone><cidrBlock>10.0.1.0/24</cidrBlock><vpcId>%[3]s</vpcId></item>", kind, id, vpc)
	}
	c := heedless{
		"DescribeNetworkInterfaces": "<networkInterfaceSet>" +
			eni("eni-ours", tags("c", "i-1")+at("i-1")) +
			eni("eni-of-another-node", tags("c", "i-2")+at("i-2")) +
			eni("eni-of-another-cluster", tags("d", "i-1")) +
			eni("eni-primary", at("i-1")) +
			eni("eni-foreign", "") + "</networkInterfaceSet>",
		"DescribeSubnets":        "<subnetSet>" + named("subnet", "subnet-here", "vpc-1") + named("subnet", "subnet-elsewhere", "vpc-2") + "</subnetSet>",
		"DescribeSecurityGroups": "<securityGroupInfo>" + named("group", "sg-here", "vpc-1") + named("group", "sg-elsewhere", "vpc-2") + "</securityGroupInfo>",
	}.client()
	enis := func(f func(context.Context) ([]ENI, error)) func(context.Context) ([]string, error) {
		return func(ctx context.Context) (ids []string, err error) {
			all, err := f(ctx)
			for _, e := range all {
				ids = append(ids, e.ID)
			}
			return ids, err
		}
	}
	for name, test := range map[string]struct {
		ask  func(context.Context) ([]string, error)
		want []string
	}{
		"of the instance": {enis(func(ctx context.Context) ([]ENI, error) { return c.OfInstance(ctx, "c", "i-1") }), []string{"eni-ours"}},
		"of the cluster":  {enis(func(ctx context.Context) ([]ENI, error) { return c.OfCluster(ctx, "c") }), []string{"eni-ours", "eni-of-another-node"}},
		"attached":        {enis(func(ctx context.Context) ([]ENI, error) { return c.AttachedTo(ctx, "i-1") }), []string{"eni-ours", "eni-primary"}},
		"subnets": {func(ctx context.Context) (ids []string, err error) {
			all, err := c.SubnetsByName(ctx, "vpc-1", []string{"x"})
			for _, s := range all {
				ids = append(ids, s.ID)
			}
			return ids, err
		}, []string{"subnet-here"}},
		"groups": {func(ctx context.Context) ([]string, error) {
			found, err := c.GroupsByName(ctx, "vpc-1", []string{"x"})
			return found["x"], err
		}, []string{"sg-here"}},
		"groups, while the VPC is not known": {func(ctx context.Context) ([]string, error) {
			found, err := c.GroupsByName(ctx, "", []string{"x"})
			return found["x"], err
		}, []string{"sg-here", "sg-elsewhere"}},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := test.ask(t.Context()); err != nil || !slices.Equal(got, test.want) {
				t.Errorf("got %v, %v; want %v", got, err, test.want)
			}
		})
	}
}
