package cni

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/types/create"

	"github.com/aws-multi-eni/aws-multi-eni/internal/podnetwork"
)

// The package invoke of CNI is not used: with it the plugin would link net/http and
// OpenTelemetry, which take more of each process than the rest of its start.

// find is a reference plugin's path.
func find(plugin, cniPath string) (string, error) {
	dirs := filepath.SplitList(cniPath)
	for _, dir := range dirs {
		path := filepath.Join(dir, plugin)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path, nil
		}
	}
	return "", fmt.Errorf("failed to find plugin %q in path %s; install the reference plugins of github.com/containernetworking/plugins on the node", plugin, dirs)
}

// call calls an attachment's delegate, for as long as the runtime has patience. The result
// is nil but for ADD.
func call(command, cniPath string, a podnetwork.Attachment, configuration []byte) (*current.Result, error) {
	path, err := find(a.Mode, cniPath)
	if err != nil {
		return nil, err
	}
	var stdout, stderr bytes.Buffer
	plugin := exec.Command(path)
	plugin.Stdin, plugin.Stdout, plugin.Stderr = bytes.NewReader(configuration), &stdout, &stderr
	plugin.Env = append(os.Environ(), "CNI_COMMAND="+command, "CNI_CONTAINERID="+a.ContainerID, "CNI_NETNS="+a.NetNS,
		"CNI_IFNAME="+a.Interface, "CNI_ARGS=", "CNI_PATH="+cniPath)
	if err := plugin.Run(); err != nil {
		problem := &types.Error{}
		if json.Unmarshal(stdout.Bytes(), problem) == nil && problem.Msg != "" {
			return nil, problem
		}
		return nil, fmt.Errorf("%w: %s", err, cmp.Or(stderr.String(), stdout.String(), "no error message"))
	}
	_, _ = stderr.WriteTo(os.Stderr)
	if command != "ADD" {
		return nil, nil
	}
	result, err := create.CreateFromBytes(stdout.Bytes())
	if err != nil {
		return nil, fmt.Errorf("parse its result: %w", err)
	}
	return current.NewResultFromResult(result)
}
