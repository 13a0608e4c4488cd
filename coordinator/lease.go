package coordinator

import (
	"time"

	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
)

// LeaseClient is a client for nothing but the Lease: a burst of other calls must
// not keep a leader from renewing. A renewal that gets no answer leaves time for
// another one, on another connection: HTTP/1.1 gives up the one that does not
// answer, HTTP/2 would keep it.
func LeaseClient(cfg *rest.Config, renewDeadline time.Duration) (coordinationv1.LeasesGetter, error) {
	cfg = rest.CopyConfig(cfg)
	cfg.Timeout = renewDeadline / 2
	cfg.NextProtos = []string{"http/1.1"}
	return coordinationv1.NewForConfig(cfg)
}
