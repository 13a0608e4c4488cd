package sim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/cloud"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/metadata"
	"github.com/aws-multi-eni/aws-multi-eni/internal/sim/vpc"
)

// Client talks to the admin endpoint of a simulator in another process. Nodes
// are named by their name or by their instance's id.
type Client struct {
	url string
}

// NewClient returns a client of the admin endpoint at a URL such as
// http://127.0.0.1:4567.
func NewClient(url string) *Client { return &Client{url: strings.TrimSuffix(url, "/")} }

// Info tells about the simulator as a whole.
func (c *Client) Info(ctx context.Context) (Info, error) {
	return call[Info](ctx, c, http.MethodGet, "/", nil)
}

// Healthy returns nil when the simulator is up.
func (c *Client) Healthy(ctx context.Context) error {
	return c.do(ctx, http.MethodGet, "/healthz", nil)
}

// Instances lists the instances that have not been terminated.
func (c *Client) Instances(ctx context.Context) ([]InstanceInfo, error) {
	return call[[]InstanceInfo](ctx, c, http.MethodGet, "/instances", nil)
}

// Instance finds an instance.
func (c *Client) Instance(ctx context.Context, node string) (InstanceInfo, error) {
	return call[InstanceInfo](ctx, c, http.MethodGet, path("instances", node), nil)
}

// AddInstance launches an instance.
func (c *Client) AddInstance(ctx context.Context, spec NodeSpec) (InstanceInfo, error) {
	return call[InstanceInfo](ctx, c, http.MethodPost, "/instances", spec)
}

// Terminate begins to terminate an instance.
func (c *Client) Terminate(ctx context.Context, node string) error {
	return c.do(ctx, http.MethodDelete, path("instances", node), nil)
}

// SetInstanceState makes an instance seem stopped, pending and so on.
func (c *Client) SetInstanceState(ctx context.Context, node, state string) error {
	return c.do(ctx, http.MethodPut, path("instances", node, "state"), stateBody{State: state})
}

// InjectMetadata adds a fault of an instance's metadata service.
func (c *Client) InjectMetadata(ctx context.Context, node string, f metadata.Fault) error {
	return c.do(ctx, http.MethodPost, path("instances", node, "imds-faults"), f)
}

// MetadataFaults lists the faults of an instance's metadata service.
func (c *Client) MetadataFaults(ctx context.Context, node string) ([]metadata.Fault, error) {
	return call[[]metadata.Fault](ctx, c, http.MethodGet, path("instances", node, "imds-faults"), nil)
}

// ClearMetadataFaults removes the faults of an instance's metadata service.
func (c *Client) ClearMetadataFaults(ctx context.Context, node string) error {
	return c.do(ctx, http.MethodDelete, path("instances", node, "imds-faults"), nil)
}

// Interfaces lists the ENIs as they are, without lag.
func (c *Client) Interfaces(ctx context.Context) ([]cloud.Interface, error) {
	return call[[]cloud.Interface](ctx, c, http.MethodGet, "/enis", nil)
}

// Detach begins to detach an ENI by hand.
func (c *Client) Detach(ctx context.Context, eniID string) error {
	return c.do(ctx, http.MethodPost, path("enis", eniID, "detach"), nil)
}

// Delete deletes an ENI by hand.
func (c *Client) Delete(ctx context.Context, eniID string) error {
	return c.do(ctx, http.MethodPost, path("enis", eniID, "delete"), nil)
}

// Drops lists what the VPC has dropped.
func (c *Client) Drops(ctx context.Context) ([]vpc.Drop, error) {
	return call[[]vpc.Drop](ctx, c, http.MethodGet, "/drops", nil)
}

// Calls lists the API calls that arrived since a time; the zero time is ever.
func (c *Client) Calls(ctx context.Context, since time.Time) ([]cloud.Call, error) {
	p := "/calls"
	if !since.IsZero() {
		p += "?since=" + url.QueryEscape(since.Format(time.RFC3339Nano))
	}
	return call[[]cloud.Call](ctx, c, http.MethodGet, p, nil)
}

// ResetCalls empties the log of API calls.
func (c *Client) ResetCalls(ctx context.Context) error {
	return c.do(ctx, http.MethodDelete, "/calls", nil)
}

// Counts returns the numbers of API calls.
func (c *Client) Counts(ctx context.Context) (Counts, error) {
	return call[Counts](ctx, c, http.MethodGet, "/counts", nil)
}

// Inject adds a fault of the EC2 API.
func (c *Client) Inject(ctx context.Context, f cloud.Fault) error {
	return c.do(ctx, http.MethodPost, "/faults", f)
}

// Faults lists the faults of the EC2 API.
func (c *Client) Faults(ctx context.Context) ([]cloud.Fault, error) {
	return call[[]cloud.Fault](ctx, c, http.MethodGet, "/faults", nil)
}

// ClearFaults removes the faults of the EC2 API.
func (c *Client) ClearFaults(ctx context.Context) error {
	return c.do(ctx, http.MethodDelete, "/faults", nil)
}

// Timing returns how long things take.
func (c *Client) Timing(ctx context.Context) (cloud.Timing, error) {
	return call[cloud.Timing](ctx, c, http.MethodGet, "/timing", nil)
}

// SetTiming changes how long things take.
func (c *Client) SetTiming(ctx context.Context, timing cloud.Timing) error {
	return c.do(ctx, http.MethodPut, "/timing", timing)
}

// SetThrottle turns EC2's token buckets on or off.
func (c *Client) SetThrottle(ctx context.Context, enabled bool) error {
	return c.do(ctx, http.MethodPut, "/throttle", throttleBody{Enabled: enabled})
}

// SetFreeAddresses sets how many addresses a subnet has left.
func (c *Client) SetFreeAddresses(ctx context.Context, subnetID string, count int) error {
	return c.do(ctx, http.MethodPut, path("subnets", subnetID, "free-addresses"), freeAddressesBody{Count: count})
}

func (c *Client) do(ctx context.Context, method, path string, body any) error {
	_, err := call[none](ctx, c, method, path, body)
	return err
}

func call[Out any](ctx context.Context, c *Client, method, path string, body any) (Out, error) {
	var out Out
	data, err := json.Marshal(body)
	if err != nil {
		return out, err
	}
	if body == nil {
		data = nil
	}
	request, err := http.NewRequestWithContext(ctx, method, c.url+path, bytes.NewReader(data))
	if err != nil {
		return out, fmt.Errorf("simulator: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return out, fmt.Errorf("simulator: %w", err)
	}
	defer response.Body.Close()
	decoder := json.NewDecoder(response.Body)
	if response.StatusCode != http.StatusOK {
		var refused errorBody
		if err := decoder.Decode(&refused); err != nil || refused.Error == "" {
			return out, fmt.Errorf("simulator: %s %s: %s: is this its admin endpoint?", method, c.url+path, response.Status)
		}
		return out, errors.New("simulator: " + refused.Error)
	}
	if err := decoder.Decode(&out); err != nil {
		return out, fmt.Errorf("simulator: %s %s: %w", method, c.url+path, err)
	}
	return out, nil
}

func path(elements ...string) string {
	var p strings.Builder
	for _, e := range elements {
		p.WriteString("/" + url.PathEscape(e))
	}
	return p.String()
}
