package dra

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/containerd/nri/pkg/adaptation"
	"github.com/containerd/nri/pkg/api"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	drapb "k8s.io/kubelet/pkg/apis/dra/v1"
	registerpb "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"github.com/aws-multi-eni/aws-multi-eni/internal/claimnetwork"
	"github.com/aws-multi-eni/aws-multi-eni/internal/driver"
)

// liveNode is a node on which kubelet and runtime call the plugins over their sockets.
type liveNode struct {
	*node
	kubelet drapb.DRAPluginClient
}

func newLiveNode(t testing.TB) *liveNode {
	t.Helper()
	n := newNode(t)
	n.startRuntime()
	n.run()
	live := &liveNode{n, n.kubelet()}
	n.eventually("kubelet and runtime connect", n.ready)
	return live
}

func claims(uids ...string) []*drapb.Claim {
	var all []*drapb.Claim
	for _, uid := range uids {
		all = append(all, &drapb.Claim{Namespace: "default", Name: "claim-" + uid, Uid: uid})
	}
	return all
}

func (n *liveNode) prepare(uid string) error {
	answer, err := n.kubelet.NodePrepareResources(n.Context(), &drapb.NodePrepareResourcesRequest{Claims: claims(uid)})
	if err == nil && answer.Claims[uid].Error != "" {
		err = errors.New(answer.Claims[uid].Error)
	}
	return err
}

func (n *liveNode) unprepare(uid string) error {
	answer, err := n.kubelet.NodeUnprepareResources(n.Context(), &drapb.NodeUnprepareResourcesRequest{Claims: claims(uid)})
	if err == nil && answer.Claims[uid].Error != "" {
		err = errors.New(answer.Claims[uid].Error)
	}
	return err
}

func (n *liveNode) startPod(pod claimnetwork.Pod) error { return n.runPod(pod) }

func (n *liveNode) createContainer(pod claimnetwork.Pod) error {
	_, err := n.runtime.CreateContainer(n.Context(), &adaptation.CreateContainerRequest{Pod: sandboxOf(pod), Container: new(adaptation.Container)})
	return err
}

func (n *liveNode) stopPod(pod claimnetwork.Pod) {
	n.Helper()
	n.must(n.runtime.StopPodSandbox(n.Context(), &adaptation.StopPodSandboxRequest{Pod: sandboxOf(pod)}))
	n.must(n.runtime.RemovePodSandbox(n.Context(), &adaptation.RemovePodSandboxRequest{Pod: sandboxOf(pod)}))
	n.forget(pod)
}

// ready reports whether both the kubelet and the runtime are connected.
func (n *node) ready() bool { return n.Kubelet() == nil && n.Runtime() == nil }

// run runs the Driver of this node until stop.
func (n *node) run() {
	n.Helper()
	ctx, cancel := context.WithCancel(n.Context())
	n.Driver = New(n.cfg, n.host)
	done := make(chan error)
	d := n.Driver
	go func() { done <- d.Run(ctx) }()
	n.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			n.Errorf("it ends with %v", err)
		}
	})
	n.Cleanup(n.stop)
}

// startRuntime has the runtime listen for plugins.
func (n *node) startRuntime() {
	n.Helper()
	synchronize := func(ctx context.Context, callback adaptation.SyncCB) error {
		n.mu.Lock()
		defer n.mu.Unlock()
		_, err := callback(ctx, slices.Clone(n.sandboxes), nil)
		return err
	}
	update := func(context.Context, []*adaptation.ContainerUpdate) ([]*adaptation.ContainerUpdate, error) {
		return nil, nil
	}
	socket := filepath.Join(n.TempDir(), "nri.sock")
	runtime, err := adaptation.New("containerd", "2.4.2", synchronize, update, adaptation.WithSocketPath(socket),
		adaptation.WithPluginPath(n.TempDir()), adaptation.WithPluginConfigPath(n.TempDir()))
	n.must(err)
	n.must(runtime.Start())
	cut := n.forward(n.cfg.NRISocket, socket)
	n.runtime = runtime
	n.stopRuntime = sync.OnceFunc(func() {
		cut()
		runtime.Stop()
	})
	n.Cleanup(n.stopRuntime)
}

// forward forwards connections from one socket to the other until it is cut: the library
// closes no connections, as a process does that ends.
func (n *node) forward(from, to string) (cut func()) {
	n.Helper()
	listener, err := new(net.ListenConfig).Listen(n.Context(), "unix", from)
	n.must(err)
	ctx, cancel := context.WithCancel(n.Context())
	context.AfterFunc(ctx, func() { _ = listener.Close() })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := new(net.Dialer).DialContext(ctx, "unix", to)
			if err != nil {
				_ = client.Close()
				continue
			}
			end := func() { _, _ = client.Close(), server.Close() }
			context.AfterFunc(ctx, end)
			go func() { defer end(); _, _ = io.Copy(client, server) }()
			go func() { defer end(); _, _ = io.Copy(server, client) }()
		}
	}()
	return cancel
}

// runPod makes a pod as the runtime does: the plugins hear of it, and can refuse it.
func (n *node) runPod(pod claimnetwork.Pod) error {
	s := sandboxOf(pod)
	if err := n.runtime.RunPodSandbox(n.Context(), &adaptation.RunPodSandboxRequest{Pod: s}); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sandboxes = append(n.sandboxes, s)
	return nil
}

// forget removes a sandbox from the runtime's list, without a plugin hearing of it.
func (n *node) forget(pod claimnetwork.Pod) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sandboxes = slices.DeleteFunc(n.sandboxes, func(s *api.PodSandbox) bool { return s.Id == pod.Sandbox })
}

func sandboxOf(pod claimnetwork.Pod) *api.PodSandbox {
	s := &api.PodSandbox{Id: pod.Sandbox, Namespace: pod.Namespace, Name: pod.Name, Uid: pod.UID, Linux: &api.LinuxPodSandbox{}}
	if pod.NetNS != "" {
		s.Linux.Namespaces = []*api.LinuxNamespace{{Type: "network", Path: pod.NetNS}}
	}
	return s
}

// eventually waits until it holds.
func (n *node) eventually(what string, holds func() bool) {
	n.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			n.Fatalf("never: %s", what)
		}
	}
}

// kubelet finds the plugin by its registration, as the kubelet does.
func (n *node) kubelet() drapb.DRAPluginClient {
	n.Helper()
	registration := registerpb.NewRegistrationClient(n.dial(n.registrationSocket()))
	info, err := registration.GetInfo(n.Context(), new(registerpb.InfoRequest), grpc.WaitForReady(true))
	n.must(err)
	if info.Type != "DRAPlugin" || info.Name != "eni.networking.k8s.aws" || !slices.Equal(info.SupportedVersions, []string{"v1.DRAPlugin"}) {
		n.Fatalf("it registers %v", info)
	}
	_, err = registration.NotifyRegistrationStatus(n.Context(), &registerpb.RegistrationStatus{PluginRegistered: true})
	n.must(err)
	n.plugin = n.dial(info.Endpoint)
	return drapb.NewDRAPluginClient(n.plugin)
}

func (n *node) registrationSocket() string {
	return filepath.Join(n.cfg.KubeletDir, "plugins_registry", driver.Name+"-reg.sock")
}

func (n *node) dial(socket string) *grpc.ClientConn {
	n.Helper()
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	n.must(err)
	conn.Connect() // without a call, as the kubelet
	n.Cleanup(func() { _ = conn.Close() })
	return conn
}
