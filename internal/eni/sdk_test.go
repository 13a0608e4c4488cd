package eni

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/smithy-go/middleware"
)

const (
	oneForMany = "a NodeENI makes ENIs on many nodes, and no two can have one address or prefix: EC2 chooses them"
	byNumber   = "the agent asks for a number of addresses or prefixes, and EC2 chooses them"
)

// notOffered are the parameters of EC2 that nothing here sets, each with the reason. A
// new SDK may bring one that is neither set nor here: offer it, or say why not.
var notOffered = map[string]string{
	"CreateNetworkInterfaceInput.InterfaceType":      "EC2 attaches efa and efa-only interfaces only when it launches an instance, trunk is for AWS's own controllers, and interface is the default",
	"CreateNetworkInterfaceInput.PrivateIpAddress":   oneForMany,
	"CreateNetworkInterfaceInput.PrivateIpAddresses": oneForMany,
	"CreateNetworkInterfaceInput.Ipv4Prefixes":       oneForMany,
	"CreateNetworkInterfaceInput.Ipv6Addresses":      oneForMany,
	"CreateNetworkInterfaceInput.Ipv6Prefixes":       oneForMany,
	"CreateNetworkInterfaceInput.Operator":           "reserved for AWS's services, says the SDK",

	"ModifyNetworkInterfaceAttributeInput.AssociatePublicIpAddress": "it has an effect on primary interfaces only, says the SDK",
	"ModifyNetworkInterfaceAttributeInput.AssociatedSubnetIds":      "each subnet of a NodeENI gets an ENI of its own, whose addresses are those of that subnet",

	"AssignPrivateIpAddressesInput.AllowReassignment":  "it takes addresses, with their Elastic IP addresses, away from another ENI",
	"AssignPrivateIpAddressesInput.PrivateIpAddresses": byNumber,
	"AssignPrivateIpAddressesInput.Ipv4Prefixes":       byNumber,
	"AssignIpv6AddressesInput.Ipv6Addresses":           byNumber,
	"AssignIpv6AddressesInput.Ipv6Prefixes":            byNumber,
}

// full are the inputs of the SDK that come of calls in which everything is asked for.
func full(t *testing.T) map[reflect.Type][]reflect.Value {
	t.Helper()
	inputs := map[reflect.Type][]reflect.Value{}
	record := func(stack *middleware.Stack) error {
		return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("record", func(_ context.Context, in middleware.InitializeInput, _ middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
			input := reflect.ValueOf(in.Parameters).Elem()
			inputs[input.Type()] = append(inputs[input.Type()], input)
			return middleware.InitializeOutput{}, middleware.Metadata{}, errors.New("it is recorded, not made")
		}), middleware.Before)
	}
	c := NewClient(aws.Config{Region: "us-east-1", APIOptions: []func(*middleware.Stack) error{record}, Credentials: credentials.NewStaticCredentialsProvider("id", "secret", "")})
	p := params()
	p.SecondaryAddresses, p.IPv4Prefixes, p.IPv6Addresses, p.IPv6Prefixes, p.PrimaryIPv6 = 1, 1, aws.Int32(1), 1, true
	p.ConnectionTracking = ConnectionTracking{TCPEstablishedTimeout: 60, UDPTimeout: 30, UDPStreamTimeout: 60}
	attachment := &Attachment{ID: "eni-attach-1", DeviceIndex: 1}
	e := ENI{ID: "eni-1", Groups: []string{"sg-1"}, Attachment: attachment}
	ctx := t.Context()
	_, _ = c.Create(ctx, p)
	_, _ = c.Attach(ctx, AttachParams{ENIID: e.ID, InstanceID: "i-1", Card: 1, DeviceIndex: 1, ENAExpress: ENAExpress{Enabled: true, UDP: true}, ENAQueues: 2})
	_ = c.SetDeleteOnTermination(ctx, e.ID, attachment.ID, true)
	_ = c.SetSourceDestCheck(ctx, e.ID, true)
	_ = c.SetGroups(ctx, e.ID, e.Groups)
	_ = c.SetDescription(ctx, e.ID, "d")
	_ = c.SetConnectionTracking(ctx, e.ID, p.ConnectionTracking)
	_ = c.SetENAExpress(ctx, e.ID, ENAExpress{Enabled: true, UDP: true})
	_ = c.SetENAQueues(ctx, e.ID, attachment.ID, 2)
	_ = c.SetENAQueues(ctx, e.ID, attachment.ID, 0)
	_ = c.SetPrimaryIPv6(ctx, e.ID)
	_, _ = c.AssignIPv4(ctx, e.ID, 1, 1)
	_, _ = c.AssignIPv6(ctx, e.ID, 1, 1)
	for _, run := range append(c.DryRunChanges(e, "i-1"), c.DryRunCreate(p)) {
		_ = run.Run(ctx)
	}
	return inputs
}

// Every parameter that EC2 takes for an ENI is asked for by something here, or is
// listed with the reason why not.
func TestEveryParameterOfEC2IsOfferedOrRefused(t *testing.T) {
	inputs := full(t)
	unused := maps.Clone(notOffered)
	for _, of := range []reflect.Type{
		reflect.TypeFor[ec2.CreateNetworkInterfaceInput](), reflect.TypeFor[ec2.AttachNetworkInterfaceInput](),
		reflect.TypeFor[ec2.ModifyNetworkInterfaceAttributeInput](),
		reflect.TypeFor[ec2.AssignPrivateIpAddressesInput](), reflect.TypeFor[ec2.AssignIpv6AddressesInput](),
	} {
		if len(inputs[of]) == 0 {
			t.Errorf("%s has not been made", of.Name())
		}
		for path, set := range parameters(of, inputs[of], of.Name()) {
			reason, refused := notOffered[path]
			delete(unused, path)
			switch {
			case set && refused:
				t.Errorf("%s is set, and listed as not offered: %s", path, reason)
			case !set && !refused:
				t.Errorf("%s is neither offered nor listed with the reason why not", path)
			}
		}
	}
	if len(unused) > 0 {
		t.Errorf("the SDK has no such parameters: %v", slices.Sorted(maps.Keys(unused)))
	}
}

// parameters are the fields of an input, those of nested structures too, and whether
// one of the inputs has them.
func parameters(of reflect.Type, inputs []reflect.Value, path string) map[string]bool {
	all := map[string]bool{}
	for i := range of.NumField() {
		f := of.Field(i)
		if !f.IsExported() {
			continue
		}
		name := path + "." + f.Name
		var values []reflect.Value
		for _, input := range inputs {
			values = append(values, contents(input.Field(i))...)
		}
		all[name] = len(values) > 0
		if len(values) > 0 && values[0].Kind() == reflect.Struct {
			maps.Copy(all, parameters(values[0].Type(), values, name))
		}
	}
	return all
}

// contents are what a field holds: nothing, what it points to, or its elements.
func contents(field reflect.Value) []reflect.Value {
	switch {
	case field.IsZero():
		return nil
	case field.Kind() == reflect.Pointer:
		return []reflect.Value{field.Elem()}
	case field.Kind() == reflect.Slice:
		var all []reflect.Value
		for i := range field.Len() {
			all = append(all, field.Index(i))
		}
		return all
	}
	return []reflect.Value{field}
}

// The walk itself notices a parameter that nothing sets, at the top and below it.
func TestParameters(t *testing.T) {
	type below struct{ Set, Unset *int32 }
	type input struct {
		Plain, Unset string
		Below, None  *below
		List         []below
		When         time.Time
	}
	one := aws.Int32(1)
	got := parameters(reflect.TypeFor[input](), []reflect.Value{
		reflect.ValueOf(input{Plain: "x", Below: &below{Set: one}}),
		reflect.ValueOf(input{List: []below{{Unset: one}, {Set: one}}}),
	}, "in")
	var unset []string
	for path, set := range got {
		if !set {
			unset = append(unset, path)
		}
	}
	slices.Sort(unset)
	if want := "in.Below.Unset in.None in.Unset in.When"; strings.Join(unset, " ") != want {
		t.Errorf("got %s, want %s", strings.Join(unset, " "), want)
	}
}
