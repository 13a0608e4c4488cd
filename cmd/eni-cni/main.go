// Command eni-cni is the CNI plugin eni: it attaches pods to the ENIs of a NodeENI.
package main

import (
	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/version"

	"github.com/aws-multi-eni/aws-multi-eni/cni"
)

func main() {
	skel.PluginMainFuncs(cni.Funcs, version.All, "CNI plugin eni "+cni.Version)
}
