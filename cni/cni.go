// Package cni is the CNI plugin eni. It attaches pods to the ENIs of a NodeENI, with
// addresses that EC2 knows as the ENI's.
//
// It makes no interface itself, except that it moves the link of an ENI on demand into the
// pod that claims it. From the file that the agent keeps of the NodeENI it makes
// the configuration of a reference plugin, and calls that. Before, it writes down what it
// is about to do: DEL, CHECK and GC go by that, whatever has become of the file, the agent
// or the ENI. See https://www.cni.dev/docs/spec/.
package cni

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"

	"github.com/aws-multi-eni/aws-multi-eni/internal/podnetwork"
)

// Version is the release, such as v0.1.0; the linker sets it.
var Version = "dev"

// Funcs are the plugin's operations.
var Funcs = skel.CNIFuncs{Add: whole(Add), Del: whole(Del), Check: whole(Check), GC: whole(GC), Status: whole(Status)}

// whole has skel print all of an error. Of one that wraps a delegate's it would print the
// delegate's alone.
func whole(operation func(*skel.CmdArgs) error) func(*skel.CmdArgs) error {
	return func(args *skel.CmdArgs) error {
		err := operation(args)
		if err == nil {
			return nil
		}
		code := types.ErrInternal
		if inner := (*types.Error)(nil); errors.As(err, &inner) {
			code = inner.Code
		}
		return types.NewError(code, err.Error(), "")
	}
}

// Del removes a pod's interface and releases its addresses.
func Del(args *skel.CmdArgs) error {
	if conf, err := parse(args.StdinData); err == nil && conf.Mode == Claim {
		return delClaim(conf, args)
	}
	// With a configuration that ADD refuses, DEL succeeds, or the runtime would keep the pod.
	dataDir := dataDirOf(args.StdinData)
	err := podnetwork.Hold(dataDir, args.ContainerID, args.IfName)
	if err == nil {
		var a podnetwork.Attachment
		if a, err = podnetwork.ReadAttachment(dataDir, args.ContainerID, args.IfName); err == nil {
			return detach(dataDir, args.Path, a)
		}
	}
	// Without an attachment there is no interface of ours.
	if !errors.Is(err, fs.ErrNotExist) && interfaceExists(args.Netns, args.IfName) {
		return fmt.Errorf("cannot read the attachment of interface %s of container %s: %w; delete that file and the interface in the pod", args.IfName, args.ContainerID, err)
	}
	return podnetwork.Release(dataDir, args.ContainerID, args.IfName)
}

// detach undoes an attachment, which is held. Its addresses are released when the
// interface is gone, whoever has removed it, and not before.
func detach(dataDir, cniPath string, a podnetwork.Attachment) error {
	if interfaceExists(a.NetNS, a.Interface) {
		if a.Mode == HostDevice {
			_ = avoidTakenName(a.NetNS, a.Interface) // The delegate says what is wrong.
		}
		if _, err := call("DEL", cniPath, a, a.Delegate); err != nil {
			return fmt.Errorf("the plugin %s could not remove interface %s of %s, which still holds %s: %w", a.Mode, a.Interface, a.Holder(), a.Addresses, err)
		}
	}
	return podnetwork.Release(dataDir, a.ContainerID, a.Interface)
}

// Check finds out whether a pod's interface is as it was made.
func Check(args *skel.CmdArgs) error {
	conf, err := parse(args.StdinData)
	if err != nil {
		return err
	}
	if conf.Mode == Claim {
		return checkClaim(conf, args)
	}
	a, err := podnetwork.ReadAttachment(conf.DataDir, args.ContainerID, args.IfName)
	if err != nil {
		return fmt.Errorf("NodeENI %s: no attachment found for interface %s of container %s: %w; delete the pod so that it is created again", conf.NodeENI, args.IfName, args.ContainerID, err)
	}
	network, err := podnetwork.Read(conf.NetworksDir, a.NodeENI)
	if err == nil && !slices.ContainsFunc(network.ENIs, func(e podnetwork.ENI) bool { return e.ID == a.ENI }) {
		return fmt.Errorf("NodeENI %s no longer has %s on node %s, so %s of %s cannot be reached; delete the pod so that it is created again", a.NodeENI, a.ENI, network.Node, a.Addresses, a.Holder())
	}
	var delegate map[string]json.RawMessage
	if err := json.Unmarshal(a.Delegate, &delegate); err != nil {
		return fmt.Errorf("build the configuration of the plugin for %s: %w", a.Holder(), err)
	}
	delegate["prevResult"] = conf.PrevResult
	configuration, err := json.Marshal(delegate)
	if err != nil {
		return err
	}
	_, err = call("CHECK", args.Path, a, configuration)
	return err
}

// GC undoes the network's attachments that the runtime does not know. Those of claims are
// eni-dra's.
func GC(args *skel.CmdArgs) error {
	conf, err := parse(args.StdinData)
	if err != nil {
		return err
	}
	if !conf.has("cni.dev/valid-attachments") {
		return types.NewError(types.ErrInvalidNetworkConfig, fmt.Sprintf("network %q: cni.dev/valid-attachments is missing", conf.Name), "")
	}
	attachments, err := podnetwork.Attachments(conf.DataDir)
	errs := []error{err}
	for _, a := range attachments {
		valid := slices.Contains(conf.ValidAttachments, types.GCAttachment{ContainerID: a.ContainerID, IfName: a.Interface})
		if valid || a.Network != conf.Name {
			continue
		}
		err := podnetwork.Hold(conf.DataDir, a.ContainerID, a.Interface)
		if err == nil {
			err = detach(conf.DataDir, args.Path, a)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Status says whether pods can be attached, as far as that is known without a pod.
func Status(args *skel.CmdArgs) error {
	conf, err := parse(args.StdinData)
	if err == nil {
		err = conf.validate()
	}
	if err != nil {
		return err
	}
	if conf.Mode == Claim {
		return statusClaim(conf)
	}
	network, err := podnetwork.Read(conf.NetworksDir, conf.NodeENI)
	if err != nil {
		return types.NewError(types.ErrPluginNotAvailable, err.Error(), "")
	}
	for _, plugin := range []string{conf.Mode, ipam} {
		if _, err := find(plugin, args.Path); plugin != "" && err != nil {
			return types.NewError(types.ErrPluginNotAvailable, err.Error(), "")
		}
	}
	if !slices.ContainsFunc(network.ENIs, func(e podnetwork.ENI) bool { return e.Ready }) {
		_, refusals := offersOf(conf, network, nil, nil)
		return types.NewError(types.ErrPluginNotAvailable,
			fmt.Sprintf("NodeENI %s has no Ready ENI on node %s: %s", conf.NodeENI, network.Node, strings.Join(refusals, "; ")), "")
	}
	return nil
}
