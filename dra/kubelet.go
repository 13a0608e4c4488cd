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

	"github.com/aws-multi-eni/aws-multi-eni/internal/driver"
)

// serveKubelet serves the DRA plugin until ctx ends. The kubelet watches the directory of
// the registration socket, and reads all of it when it starts.
func (d *Driver) serveKubelet(ctx context.Context) error {
	endpoint := driver.PluginSocket(d.KubeletDir)
	plugin := grpc.NewServer(grpc.StatsHandler(d.connections))
	drapb.RegisterDRAPluginServer(plugin, kubeletPlugin{driver: d, ending: ctx})
	registration := grpc.NewServer()
	registerpb.RegisterRegistrationServer(registration, kubeletRegistration{driver: d, endpoint: endpoint})

	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return serve(ctx, plugin, endpoint) })
	// The kubelet connects to the endpoint when it has found the registration, and retries.
	group.Go(func() error {
		return serve(ctx, registration, driver.RegistrationSocket(d.KubeletDir))
	})
	return group.Wait()
}

// serve serves on a socket until ctx ends. It replaces the socket of a killed process.
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

// kubeletRegistration answers the kubelet's questions about the plugin.
type kubeletRegistration struct {
	registerpb.UnsafeRegistrationServer
	driver   *Driver
	endpoint string
}

func (r kubeletRegistration) GetInfo(context.Context, *registerpb.InfoRequest) (*registerpb.PluginInfo, error) {
	return &registerpb.PluginInfo{
		Type: registerpb.DRAPlugin, Name: driver.Name, Endpoint: r.endpoint,
		SupportedVersions: []string{drapb.DRAPluginService},
	}, nil
}

func (r kubeletRegistration) NotifyRegistrationStatus(_ context.Context, s *registerpb.RegistrationStatus) (*registerpb.RegistrationStatusResponse, error) {
	if s.PluginRegistered {
		r.driver.setRefused(nil)
		r.driver.Log.Info("registered with the kubelet")
	} else {
		r.driver.setRefused(errors.New(s.Error))
		r.driver.Log.Error("the kubelet has refused the plugin", "error", s.Error)
	}
	return new(registerpb.RegistrationStatusResponse), nil
}

// kubeletPlugin has the calls of the kubelet before the first and after the last pod that
// uses a claim.
type kubeletPlugin struct {
	drapb.UnsafeDRAPluginServer
	driver *Driver
	ending context.Context // ends when the driver does
}

func (p kubeletPlugin) NodePrepareResources(ctx context.Context, request *drapb.NodePrepareResourcesRequest) (*drapb.NodePrepareResourcesResponse, error) {
	response := &drapb.NodePrepareResourcesResponse{Claims: map[string]*drapb.NodePrepareResourceResponse{}}
	ctx, cancel := context.WithTimeout(ctx, p.driver.Patience)
	defer cancel()
	defer context.AfterFunc(p.ending, cancel)()
	for _, c := range request.Claims {
		result := new(drapb.NodePrepareResourceResponse)
		ref := claimRef{c.Namespace, c.Name, c.Uid}
		claim, err := p.driver.prepare(ctx, ref)
		p.driver.Metrics.prepared(err)
		if err != nil {
			result.Error = err.Error()
			p.driver.Log.Warn("cannot prepare a claim", "claim", ref.String(), "error", err)
			claim.Devices = nil
		}
		for _, device := range claim.Devices {
			result.Devices = append(result.Devices, &drapb.Device{PoolName: claim.Node, DeviceName: device.Name})
		}
		response.Claims[c.Uid] = result
	}
	return response, nil
}

func (p kubeletPlugin) NodeUnprepareResources(_ context.Context, request *drapb.NodeUnprepareResourcesRequest) (*drapb.NodeUnprepareResourcesResponse, error) {
	response := &drapb.NodeUnprepareResourcesResponse{Claims: map[string]*drapb.NodeUnprepareResourceResponse{}}
	for _, c := range request.Claims {
		result := new(drapb.NodeUnprepareResourceResponse)
		ref := claimRef{c.Namespace, c.Name, c.Uid}
		if err := p.driver.unprepare(ref); err != nil {
			result.Error = err.Error()
			p.driver.Log.Warn("cannot release a claim", "claim", ref.String(), "error", err)
		}
		response.Claims[c.Uid] = result
	}
	return response, nil
}
