package testbed

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/remotecommand"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"

	"github.com/aws-multi-eni/aws-multi-eni/internal/kube"
)

// Kubelet answers an API server for the containers of its nodes, as a kubelet does.
type Kubelet struct {
	// Log is the log of a container; Exec runs a command in one, and returns its exit code.
	Log  func(pod, container string, previous bool) string
	Exec func(pod string, command []string, out, errOut io.Writer) int

	server *httptest.Server
}

// Start serves on the loopback address until Close.
func (k *Kubelet) Start() {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, k.Log(r.PathValue("pod"), r.PathValue("container"), r.URL.Query().Get("previous") == "true"))
	})
	mux.HandleFunc("/exec/{namespace}/{pod}/{container}", k.exec)
	k.server = httptest.NewTLSServer(mux)
}

// Close ends it.
func (k *Kubelet) Close() { k.server.Close() }

// Serve has the API server ask this kubelet about the pods of a node.
func (k *Kubelet) Serve(ctx context.Context, client *kube.Client, node string) error {
	host, port, err := net.SplitHostPort(k.server.Listener.Addr().String())
	if err != nil {
		return err
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return err
	}
	patch, err := json.Marshal(map[string]any{"status": map[string]any{
		"addresses":       []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: host}},
		"daemonEndpoints": map[string]any{"kubeletEndpoint": map[string]any{"Port": number}},
	}})
	if err != nil {
		return err
	}
	return client.Core.Patch(types.MergePatchType).Resource(kube.Nodes).Name(node).SubResource("status").Body(patch).Do(ctx).Error()
}

// streams are those of one command, by their type.
type streams struct {
	mu   sync.Mutex
	by   map[string]httpstream.Stream
	full chan struct{}
}

func (s *streams) add(stream httpstream.Stream, most int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.by[stream.Headers().Get(corev1.StreamType)] = stream
	if len(s.by) == most {
		close(s.full)
	}
}

func (k *Kubelet) exec(w http.ResponseWriter, r *http.Request) {
	if _, err := httpstream.Handshake(r, w, []string{remotecommand.StreamProtocolV4Name}); err != nil {
		return
	}
	s := &streams{by: map[string]httpstream.Stream{}, full: make(chan struct{})}
	conn := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(stream httpstream.Stream, _ <-chan struct{}) error {
		s.add(stream, 3) // error, stdout, stderr
		return nil
	})
	if conn == nil {
		return
	}
	defer conn.Close()
	select {
	case <-s.full:
	case <-conn.CloseChan():
		return
	}
	code := k.Exec(r.PathValue("pod"), r.URL.Query()["command"], s.by[corev1.StreamTypeStdout], s.by[corev1.StreamTypeStderr])
	status := metav1.Status{Status: metav1.StatusSuccess}
	if code != 0 {
		status = metav1.Status{Status: metav1.StatusFailure, Reason: remotecommand.NonZeroExitCodeReason, Details: &metav1.StatusDetails{
			Causes: []metav1.StatusCause{{Type: remotecommand.ExitCodeCauseType, Message: strconv.Itoa(code)}},
		}}
	}
	_ = json.NewEncoder(s.by[corev1.StreamTypeError]).Encode(status)
	for _, stream := range s.by {
		_ = stream.Close()
	}
	<-conn.CloseChan()
}
