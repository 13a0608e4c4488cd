package eni

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
)

// responder gives the n-th answer.
type responder func(n int) (status int, body io.Reader)

func (f responder) client() *Client {
	return NewClient(aws.Config{Region: "us-east-1", HTTPClient: &counted{answer: f}, Credentials: credentials.NewStaticCredentialsProvider("id", "secret", "")})
}

type counted struct {
	answer responder
	n      int
}

func (c *counted) Do(r *http.Request) (*http.Response, error) {
	status, body := c.answer(c.n)
	c.n++
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(body), Request: r}, nil
}

func always(status int, body string) responder {
	return func(int) (int, io.Reader) { return status, strings.NewReader(body) }
}

const (
	oneENI    = "<networkInterfaceSet><item><networkInterfaceId>eni-1</networkInterfaceId><subnetId>subnet-1</subnetId></item></networkInterfaceSet>"
	html      = "<html><body><h1>Bad Gateway</h1></body></html>"
	errorBody = "<Response><Errors><Error><Code>InternalError</Code><Message>no</Message></Error></Errors><RequestID>r</RequestID></Response>"
)

func describeAnswer(rest string) string {
	return `<?xml version="1.0"?><DescribeNetworkInterfacesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>r</requestId>` + rest + "</DescribeNetworkInterfacesResponse>"
}

// What is not EC2's answer to the call, or not all of it, tells nothing: neither
// that there are no ENIs, nor that a change was made.
func TestStrangeAnswers(t *testing.T) {
	page := func(token string) string { return describeAnswer("<nextToken>" + token + "</nextToken>") }
	for name, answer := range map[string]responder{
		"an empty 200":             always(200, ""),
		"nothing but white space":  always(200, "\n \n"),
		"a 204":                    always(204, ""),
		"a 302":                    always(302, ""),
		"a page of a proxy's":      always(200, html),
		"a 502 of a proxy's":       always(502, html),
		"a 403 of a firewall's":    always(403, html),
		"an error with status 200": always(200, errorBody),
		"another call's answer":    always(200, "<DescribeSubnetsResponse><requestId>r</requestId></DescribeSubnetsResponse>"),
		"JSON":                     always(200, `{"message":"ok"}`),
		"cut off in its head":      always(200, "<DescribeNetworkInter"),
		"cut off in its middle":    always(200, describeAnswer(oneENI)[:150]),
		"cut off at its end":       always(200, describeAnswer(oneENI)[:260]),
		"broken off": func(int) (int, io.Reader) {
			return 200, io.MultiReader(strings.NewReader(describeAnswer(oneENI)[:150]), iotest.ErrReader(errors.New("connection reset")))
		},
		"an ENI without a subnet": always(200, describeAnswer(strings.Replace(oneENI, "subnet-1", "", 1))),
		"an address that is none": always(200, describeAnswer(strings.Replace(oneENI, "</item>", "<privateIpAddressesSet><item/></privateIpAddressesSet></item>", 1))),
		"a prefix that is none":   always(200, describeAnswer(strings.Replace(oneENI, "</item>", "<ipv6PrefixSet><item><ipv6Prefix>2001:db8::</ipv6Prefix></item></ipv6PrefixSet></item>", 1))),
		"the same page for ever":  always(200, page("again")),
		"pages in a circle": func(n int) (int, io.Reader) {
			return 200, strings.NewReader(page(fmt.Sprint(n % 3)))
		},
		"pages without end": func(n int) (int, io.Reader) { return 200, strings.NewReader(page(fmt.Sprint(n))) },
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			c := answer.client()
			all, err := c.describe(ctx, once, func(ENI) bool { return true })
			if err == nil || ctx.Err() != nil {
				t.Errorf("got %v, %v", all, err)
			}
			if Code(err) != "" || IsTerminal(err) {
				t.Errorf("taken for EC2's word: %v", err)
			}
			if advice := Advice("DescribeNetworkInterfaces", err); !strings.Contains(advice, "retried") {
				t.Error(advice)
			}
			if strings.HasPrefix(name, "an ENI") || strings.HasPrefix(name, "pages") {
				return
			}
			for action, do := range map[string]func() error{
				"Detach":     func() error { return c.Detach(ctx, "eni-attach-1") },
				"Delete":     func() error { return c.Delete(ctx, "eni-1") },
				"Modify":     func() error { return c.SetSourceDestCheck(ctx, "eni-1", true) },
				"AssignIPv4": func() error { _, err := c.AssignIPv4(ctx, "eni-1", 1, 0); return err },
				"AssignIPv6": func() error { _, err := c.AssignIPv6(ctx, "eni-1", 0, 1); return err },
				"Attach": func() error {
					_, err := c.Attach(ctx, AttachParams{ENIID: "eni-1", InstanceID: "i-1", DeviceIndex: 1})
					return err
				},
			} {
				if err := do(); err == nil {
					t.Errorf("%s is taken for done", action)
				}
			}
		})
	}
}

// An ENI that is listed twice, as when pages overlap, is one ENI.
func TestListedTwice(t *testing.T) {
	answers := []string{describeAnswer(oneENI + "<nextToken>2</nextToken>"), describeAnswer(oneENI)}
	c := responder(func(n int) (int, io.Reader) { return 200, strings.NewReader(answers[n]) }).client()
	all, err := c.describe(t.Context(), once, func(ENI) bool { return true })
	if err != nil || len(all) != 1 {
		t.Errorf("got %v, %v", all, err)
	}
}

// A subnet without a CIDR has IPv6 only when the answer says so; otherwise the answer
// lacks it.
func TestSubnetWithoutCIDR(t *testing.T) {
	for rest, want := range map[string]string{
		"":                              "error",
		"<ipv6Native>true</ipv6Native>": "IPv6 only",
		"<ipv6CidrBlockAssociationSet><item><ipv6CidrBlock>2001:db8::/64</ipv6CidrBlock></item></ipv6CidrBlockAssociationSet>": "IPv6 only",
		"<cidrBlock>10.0.1.0/24</cidrBlock>": "IPv4",
	} {
		c := always(200, "<DescribeSubnetsResponse><subnetSet><item><subnetId>subnet-1</subnetId><availabilityZone>us-east-1a</availabilityZone>"+rest+"</item></subnetSet></DescribeSubnetsResponse>").client()
		all, err := c.SubnetsByID(t.Context(), []string{"subnet-1"})
		got := "error"
		if err == nil {
			got = map[bool]string{true: "IPv6 only", false: "IPv4"}[all[0].IPv6Only]
		}
		if got != want {
			t.Errorf("%q is %s (%v), want %s", rest, got, err, want)
		}
	}
}

// A subnet whose zone the answer does not tell is not in another zone: its ENIs
// would be given up.
func TestSubnetWithoutZone(t *testing.T) {
	c := always(200, "<DescribeSubnetsResponse><subnetSet><item><subnetId>subnet-1</subnetId></item></subnetSet></DescribeSubnetsResponse>").client()
	if all, err := c.SubnetsByID(t.Context(), []string{"subnet-1"}); err == nil {
		t.Errorf("got %+v", all)
	}
}

// What a proxy or another server has answered is reported as such: with its status, its kind and its
// first words, whether it is a page, plain text or JSON.
func TestForeignAnswers(t *testing.T) {
	for _, test := range []struct {
		status     int
		body, want string
	}{
		{503, "<html><head><style>p {}</style></head>\n<body><h1>Service\n Unavailable</h1></body></html>", `HTTP 503, starting with "Service Unavailable"`},
		{403, "Blocked by policy", `HTTP 403, starting with "Blocked by policy"`},
		{407, "", "HTTP 407, with an empty body"},
		{502, `{"error":"bad gateway"}`, `HTTP 502, starting with "{\"error\":\"bad gateway\"}"`},
		{200, html, `HTTP 200, starting with "Bad Gateway"`},
		{404, "<?xml version='1.0'?><Error><Code>NoSuchBucket</Code></Error>", `HTTP 404, starting with "NoSuchBucket"`},
	} {
		err := always(test.status, test.body).client().Delete(t.Context(), "eni-1")
		got := Advice("DeleteNetworkInterface", err)
		if Reason(err) != "ForeignAnswer" || Code(err) != "" || IsTerminal(err) || !strings.Contains(got, test.want) || !strings.Contains(got, "proxy") {
			t.Errorf("%s: %s, want %s in it", Reason(err), got, test.want)
		}
	}
}
