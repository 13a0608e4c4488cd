package imds

import (
	"context"
	"net/http"
	"net/netip"
	"net/url"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/credentials/endpointcreds"
)

// LoadConfig reads the SDK's configuration: environment, shared files, role of the
// instance or of the service account. Whatever client is made of it, or by the SDK
// itself on the way to credentials, asks the services of this host without a proxy,
// and IMDS by version 2 only. A proxy would be handed the node's credentials.
func (c *Client) LoadConfig(ctx context.Context) (aws.Config, error) {
	return loadConfig(ctx,
		config.WithEC2RoleCredentialOptions(func(o *ec2rolecreds.Options) { o.Client = c }),
		config.WithEndpointCredentialOptions(func(o *endpointcreds.Options) { o.HTTPClient = direct() }))
}

func loadConfig(ctx context.Context, options ...func(*config.LoadOptions) error) (aws.Config, error) {
	// Of the SDK's own clients of IMDS, such as that of AWS_DEFAULTS_MODE=auto, no
	// option keeps one from falling back to version 1; this does.
	if err := os.Setenv("AWS_EC2_METADATA_V1_DISABLED", "true"); err != nil {
		return aws.Config{}, err
	}
	return config.LoadDefaultConfig(ctx, append(options, config.WithHTTPClient(direct()))...)
}

// direct is the SDK's HTTP client, but for hosts that only this host has.
func direct() *awshttp.BuildableClient {
	return awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.Proxy = func(r *http.Request) (*url.URL, error) {
			if isLocal(r.URL) {
				return nil, nil
			}
			return http.ProxyFromEnvironment(r)
		}
	})
}

// ec2Local is where EC2 has its link-local services in IPv6: IMDS, and the agent of
// EKS Pod Identity.
var ec2Local = netip.MustParsePrefix("fd00:ec2::/32")

// isLocal says whether a URL leads to this host, or to a service that only this host
// can reach: IMDS (169.254.169.254), the endpoints of container credentials
// (169.254.170.2, 169.254.170.23), or what stands in for IMDS.
func isLocal(u *url.URL) bool {
	if endpoint, err := url.Parse(os.Getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT")); err == nil && endpoint.Host != "" && endpoint.Host == u.Host {
		return true
	}
	address, err := netip.ParseAddr(u.Hostname())
	if err != nil {
		return u.Hostname() == "localhost"
	}
	address = address.Unmap().WithZone("")
	return address.IsLoopback() || address.IsLinkLocalUnicast() || ec2Local.Contains(address)
}
