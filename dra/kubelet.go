package dra

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	drapb "k8s.io/kubelet/pkg/apis/dra/v1"
	registerpb "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"github.com/aws-multi-eni/aws-multi-eni/internal/claimnetwork"
)

// DefaultKubeletDir is the kubelet's --root-dir.
const DefaultKubeletDir = "/var/lib/kubelet"

// serveKubelet is the DRA plugin of the kubelet until ctx ends. The kubelet finds it by its
// socket among the registrations, also after a restart.
func (d *Driver) serveKubelet(ctx context.Context) error {
	endpoint := filepath.Join(d.KubeletDir, "plugins", claimnetwork.Driver, "dra.sock")
	plugin := grpc.NewServer()
	drapb.RegisterDRAPluginServer(plugin, kubeletPlugin{driver: d, ending: ctx.Done()})
	registration := grpc.NewServer()
	registerpb.RegisterRegistrationServer(registration, kubeletRegistration{driver: d, endpoint: endpoint})

	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return serve(ctx, plugin, endpoint) })
	// The kubelet calls the plugin as soon as it has found the registration; until the
	// endpoint is there, it tries again.
	group.Go(func() error {
		return serve(ctx, registration, filepath.Join(d.KubeletDir, "plugins_registry", claimnetwork.Driver+"-reg.sock"))
	})
	return group.Wait()
}

// serve serves on a socket until ctx ends. It takes the place of one that is left behind.
func serve(ctx context.Context, server *grpc.Server, socket string) error {
	if err := os.MkdirAll(filepath.Dir(socket), 0o750); err != nil {
		return err
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "unix", socket)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, server.GracefulStop) // which removes the socket
	defer stop()
	if err := server.Serve(listener); err != nil {
		return fmt.Errorf("serve %s: %w", socket, err)
	}
	return ctx.Err()
}

// kubeletRegistration tells the kubelet of the plugin.
type kubeletRegistration struct {
	registerpb.UnsafeRegistrationServer
	driver   *Driver
	endpoint string
}

func (r kubeletRegistration) GetInfo(context.Context, *registerpb.InfoRequest) (*registerpb.PluginInfo, error) {
	return &registerpb.PluginInfo{
		Type: registerpb.DRAPlugin, Name: claimnetwork.Driver, Endpoint: r.endpoint,
		SupportedVersions: []string{drapb.DRAPluginService},
	}, nil
}

func (r kubeletRegistration) NotifyRegistrationStatus(_ context.Context, s *registerpb.RegistrationStatus) (*registerpb.RegistrationStatusResponse, error) {
	r.driver.setRegistered(s.PluginRegistered)
	if s.PluginRegistered {
		r.driver.Log.Info("registered with the kubelet")
	} else {
		r.driver.Log.Error("the kubelet refuses the plugin", "error", s.Error)
	}
	return new(registerpb.RegistrationStatusResponse), nil
}

// kubeletPlugin is called before the first and after the last pod that uses a claim.
type kubeletPlugin struct {
	drapb.UnsafeDRAPluginServer
	driver *Driver
	ending <-chan struct{}
}

func (p kubeletPlugin) NodePrepareResources(ctx context.Context, request *drapb.NodePrepareResourcesRequest) (*drapb.NodePrepareResourcesResponse, error) {
	response := &drapb.NodePrepareResourcesResponse{Claims: map[string]*drapb.NodePrepareResourceResponse{}}
	ctx, cancel := context.WithTimeout(ctx, p.driver.Patience)
	defer cancel()
	go func() {
		select {
		case <-p.ending:
			cancel()
		case <-ctx.Done():
		}
	}()
	for _, c := range request.Claims {
		result := new(drapb.NodePrepareResourceResponse)
		claim, err := p.driver.prepare(ctx, claimRef{c.Namespace, c.Name, c.Uid})
		if err != nil {
			result.Error = err.Error()
			p.driver.Log.Warn("cannot prepare a claim", "claim", c.Namespace+"/"+c.Name, "error", err)
		}
		for _, device := range claim.Devices {
			if err == nil {
				result.Devices = append(result.Devices, &drapb.Device{PoolName: claim.Node, DeviceName: device.Name})
			}
		}
		response.Claims[c.Uid] = result
	}
	return response, nil
}

func (p kubeletPlugin) NodeUnprepareResources(_ context.Context, request *drapb.NodeUnprepareResourcesRequest) (*drapb.NodeUnprepareResourcesResponse, error) {
	response := &drapb.NodeUnprepareResourcesResponse{Claims: map[string]*drapb.NodeUnprepareResourceResponse{}}
	for _, c := range request.Claims {
		result := new(drapb.NodeUnprepareResourceResponse)
		if err := p.driver.unprepare(claimRef{c.Namespace, c.Name, c.Uid}); err != nil {
			result.Error = err.Error()
			p.driver.Log.Warn("cannot release a claim", "claim", c.Namespace+"/"+c.Name, "error", err)
		}
		response.Claims[c.Uid] = result
	}
	return response, nil
}
