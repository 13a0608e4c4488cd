package claimnetwork

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/aws-multi-eni/aws-multi-eni/internal/driver"
)

// Parameters are what users ask of the driver, in the opaque configuration of a claim or
// of its class.
type Parameters struct {
	// InterfaceName is the link's name in the pod, by default the first free one of eni0,
	// eni1 and so on.
	InterfaceName string `json:"interfaceName,omitempty"`
	// RouteVPC has the VPC's CIDRs reached by the ENI.
	RouteVPC bool `json:"routeVPC,omitempty"`
	// Routes are more routes by the ENI. Without gw they go by the subnet's router.
	Routes []Route `json:"routes,omitempty"`
}

// Route is a route in the pod.
type Route struct {
	Dst netip.Prefix `json:"dst"`
	GW  netip.Addr   `json:"gw,omitzero"`
}

// ParseParameters are the parameters that the configurations give together: a later one
// replaces fields of those before it.
func ParseParameters(configurations []json.RawMessage) (Parameters, error) {
	var p struct {
		// Tools may require them. There is one version, and one kind.
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Parameters
	}
	for _, c := range configurations {
		decoder := json.NewDecoder(bytes.NewReader(c))
		decoder.DisallowUnknownFields() // or a typo would go unnoticed
		err := decoder.Decode(&p)
		if err == nil && decoder.More() {
			err = errors.New("more than one object")
		}
		if err == nil {
			err = exactFields(c)
		}
		if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			field := strings.TrimPrefix(wrong.Field, "Parameters.")
			err = fmt.Errorf("%s cannot be of the type %s", cmp.Or(field, "the object"), wrong.Value)
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return Parameters{}, fmt.Errorf("parameters of %s: %w; supported are interfaceName (a string), routeVPC (true or false), and routes, each with dst and optionally gw", driver.Name, err)
		}
	}
	if err := p.Parameters.Validate(); err != nil {
		return Parameters{}, fmt.Errorf("parameters of %s: %w", driver.Name, err)
	}
	return p.Parameters, nil
}

// exactFields refuses the fields of an object, and of its routes, that [json.Decoder] takes
// for others because it ignores case.
func exactFields(object json.RawMessage) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(object, &fields); err != nil {
		return err
	}
	if err := only(fields, "apiVersion", "kind", "interfaceName", "routeVPC", "routes"); err != nil || fields["routes"] == nil {
		return err
	}
	var routes []map[string]json.RawMessage
	if err := json.Unmarshal(fields["routes"], &routes); err != nil {
		return err
	}
	for _, route := range routes {
		if err := only(route, "dst", "gw"); err != nil {
			return err
		}
	}
	return nil
}

func only(fields map[string]json.RawMessage, known ...string) error {
	for name := range fields {
		if !slices.Contains(known, name) {
			return fmt.Errorf("unknown field %q", name)
		}
	}
	return nil
}

// maxInterfaceName is IFNAMSIZ without the NUL.
const maxInterfaceName = 15

// Validate says what makes the parameters unusable.
func (p Parameters) Validate() error {
	name := p.InterfaceName
	switch {
	case len(name) > maxInterfaceName:
		return fmt.Errorf("interfaceName: %q is longer than %d characters", name, maxInterfaceName)
	case name == "." || name == ".." || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("/:%", r) }):
		return fmt.Errorf("interfaceName: %q is not a valid name of a network interface", name)
	case name == "lo" || name == "eth0":
		return fmt.Errorf("interfaceName: each pod already has an interface %s", name)
	}
	for i, r := range p.Routes {
		switch {
		case !r.Dst.IsValid() || r.Dst.Masked() != r.Dst || r.Dst.Addr().Is4In6():
			return fmt.Errorf("routes[%d]: dst %q is not a valid CIDR", i, r.Dst)
		case r.GW.IsValid() && r.GW.Is4() != r.Dst.Addr().Is4():
			return fmt.Errorf("routes[%d]: gw %s and dst %s are of different address families", i, r.GW, r.Dst)
		case r.GW.Zone() != "" || r.GW.Is4In6():
			return fmt.Errorf("routes[%d]: gw %q is not a valid address", i, r.GW)
		}
	}
	return nil
}
