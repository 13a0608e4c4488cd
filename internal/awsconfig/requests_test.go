package awsconfig

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/aws-multi-eni/aws-multi-eni/imds"
	"github.com/aws-multi-eni/aws-multi-eni/internal/program"
)

// recorder is a transport that keeps the request and sends nothing.
type recorder struct{ request *http.Request }

func (r *recorder) RoundTrip(request *http.Request) (*http.Response, error) {
	r.request = request
	return nil, errors.New("nothing is sent")
}

// TestAWSRequests: what CloudTrail shows, and where the variables that docs name lead.
func TestAWSRequests(t *testing.T) {
	for _, name := range []string{"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_EC2", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "id")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	t.Setenv("AWS_REGION", "us-east-1")
	for _, test := range []struct{ fips, dualStack, host string }{
		{"", "", "ec2.us-east-1.amazonaws.com"},
		{"true", "", "ec2-fips.us-east-1.amazonaws.com"},
		{"", "true", "ec2.us-east-1.api.aws"},
		{"true", "true", "ec2-fips.us-east-1.api.aws"},
	} {
		t.Setenv("AWS_USE_FIPS_ENDPOINT", test.fips)
		t.Setenv("AWS_USE_DUALSTACK_ENDPOINT", test.dualStack)
		metadata, err := imds.New(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		cfg, err := Load(t.Context(), metadata)
		if err != nil {
			t.Fatal(err)
		}
		transport := new(recorder)
		cfg.HTTPClient, cfg.Retryer = &http.Client{Transport: transport}, func() aws.Retryer { return aws.NopRetryer{} }
		ec2.NewFromConfig(cfg).DescribeSubnets(t.Context(), nil) //nolint:errcheck // nothing is sent
		if transport.request == nil || transport.request.URL.Host != test.host {
			t.Errorf("FIPS %q, dual stack %q: the request is %v, want one to %s", test.fips, test.dualStack, transport.request, test.host)
			continue
		}
		agent := transport.request.Header.Get("User-Agent")
		for _, want := range []string{" aws-multi-eni/" + program.Version, " " + filepath.Base(os.Args[0])} {
			if !strings.Contains(agent, want) {
				t.Errorf("the user agent %q does not name%s", agent, want)
			}
		}
	}
}
