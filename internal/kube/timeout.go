package kube

import (
	"context"
	"io"
	"net/http"
	"time"

	"k8s.io/client-go/rest"
)

// requestTimeout is how long a request may take that has no time of its own. A
// connection that is dead is found out about by HTTP/2's pings, but an answer that
// never comes on one that lives, as from behind a proxy, would be waited for forever.
const requestTimeout = 30 * time.Second

// Bounded is a copy of the configuration whose requests end in time, watches aside.
// rest.Config.Timeout would end those, too.
func Bounded(cfg *rest.Config) *rest.Config {
	cfg = rest.CopyConfig(cfg)
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return bounded{next, requestTimeout} })
	return cfg
}

type bounded struct {
	next    http.RoundTripper
	timeout time.Duration
}

// WrappedRoundTripper is for client-go, which looks for the transport beneath.
func (b bounded) WrappedRoundTripper() http.RoundTripper { return b.next }

func (b bounded) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.URL.Query().Get("watch") != "" {
		return b.next.RoundTrip(request)
	}
	ctx, cancel := context.WithTimeout(request.Context(), b.timeout)
	response, err := b.next.RoundTrip(request.WithContext(ctx))
	if err != nil {
		cancel()
		return nil, err
	}
	response.Body = &boundedBody{response.Body, cancel}
	return response, nil
}

// boundedBody has the time run until the answer has been read.
type boundedBody struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (b *boundedBody) Close() error {
	defer b.cancel()
	return b.ReadCloser.Close()
}
