package imds

import (
	"context"
	"net"
	"net/http"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
)

// IMDS answers within milliseconds, or is not there.
const (
	dialTimeout   = 250 * time.Millisecond
	answerTimeout = 500 * time.Millisecond
	// idleTimeout: IMDS is asked some questions in a row, and then none for half a
	// minute. A new connection to this host costs less than one that is kept.
	idleTimeout = time.Second
)

// transport is an HTTP client for IMDS that tells how a request ended. The SDK
// does not: of an error about the token, it hands out the text only
// (retryableError in feature/ec2/imds).
type transport struct{ client *awshttp.BuildableClient }

func newTransport() transport {
	return transport{awshttp.NewBuildableClient().
		WithDialerOptions(func(d *net.Dialer) { d.Timeout = dialTimeout }).
		WithTransportOptions(func(t *http.Transport) {
			t.ResponseHeaderTimeout, t.IdleConnTimeout = answerTimeout, idleTimeout
			// A proxy cannot reach this instance's metadata: IMDS is
			// link-local, and refuses forwarded requests for a token. That
			// holds for whatever AWS_EC2_METADATA_SERVICE_ENDPOINT names.
			t.Proxy = nil
		})}
}

// outcome is how the last request of an operation ended.
type outcome struct {
	host   string // that was asked
	token  bool   // it was the request for a token
	status int    // of HTTP; 0 without an answer
	err    error  // without an answer
}

type outcomeKey struct{}

// observe returns a context with which the outcome of requests is recorded.
func observe(ctx context.Context) (context.Context, *outcome) {
	o := new(outcome)
	return context.WithValue(ctx, outcomeKey{}, o), o
}

// Do sends a request.
func (t transport) Do(r *http.Request) (*http.Response, error) {
	response, err := t.client.Do(r)
	if o, ok := r.Context().Value(outcomeKey{}).(*outcome); ok {
		*o = outcome{host: r.URL.Host, token: r.Method == http.MethodPut, err: err}
		if response != nil {
			o.status = response.StatusCode
		}
	}
	return response, err
}
