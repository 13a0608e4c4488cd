package doctor

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/aws-multi-eni/aws-multi-eni/imds"
)

// Nodeadm is the configuration of nodeadm, which sets up EKS's Amazon Linux 2023.
type Nodeadm struct {
	// Present says that there is a NodeConfig.
	Present bool
	// OSManagedENIs says which configuration turns the feature gate OSManagedNoManageENIs
	// on, or is "".
	OSManagedENIs string
	Err           error
}

// maxUserData is more than EC2 takes (16 KiB), also unpacked.
const maxUserData = 1 << 20

// nodeadmDirectory has configuration that counts after the user data.
const nodeadmDirectory = "/etc/eks/nodeadm.d"

// GatherNodeadm reads the NodeConfigs of the user data and, where the host's file system
// can be seen, of the drop-in directory. Of the user data it keeps nothing else.
func GatherNodeadm(ctx context.Context, client *imds.Client, hostRoot string) *Nodeadm {
	n := &Nodeadm{}
	userData, err := client.UserData(ctx)
	if err != nil {
		n.Err = err
	}
	n.apply("the user data", unpack(userData))
	r := root(hostRoot)
	for _, file := range r.list([]string{nodeadmDirectory}, "*") {
		if text, _ := r.read(file); slices.Contains([]string{".json", ".yaml", ".yml"}, strings.ToLower(path.Ext(file))) {
			n.apply(file, []byte(text))
		}
	}
	return n
}

var (
	nodeConfig = regexp.MustCompile(`apiVersion["']?\s*:\s*["']?node\.eks\.aws/`)
	// The gate has systemd-networkd configure ENIs with the tag no_manage by DHCP:
	// https://github.com/awslabs/amazon-eks-ami/pull/2791. It is found by its name, in YAML
	// and JSON and in any part of a MIME message alike.
	osManagedENIs = regexp.MustCompile(`(?m)^[^#\n]*\bOSManagedNoManageENIs["']?\s*:\s*(?i:(true|yes|on|y)|false|no|off|n)\b`)
)

// apply has the text of a configuration count after those before.
func (n *Nodeadm) apply(from string, text []byte) {
	if !nodeConfig.Match(text) {
		return
	}
	n.Present = true
	if set := osManagedENIs.FindAllSubmatch(text, -1); len(set) > 0 {
		n.OSManagedENIs = ""
		if last := set[len(set)-1]; len(last[1]) > 0 {
			n.OSManagedENIs = from
		}
	}
}

// unpack returns what gzip has packed, as cloud-init takes it, and other data as it is.
func unpack(data []byte) []byte {
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return data
	}
	unpacked, err := io.ReadAll(io.LimitReader(r, maxUserData))
	if err != nil {
		return data
	}
	return unpacked
}
