package driver

import "path/filepath"

const (
	// DefaultKubeletDir is the default of the kubelet's flag --root-dir.
	DefaultKubeletDir = "/var/lib/kubelet"
	// DefaultNRISocket is where containerd and CRI-O listen for NRI plugins.
	DefaultNRISocket = "/var/run/nri/nri.sock"
)

// RegistrationDir is where the kubelet with this root directory looks for plugins.
func RegistrationDir(kubeletDir string) string { return filepath.Join(kubeletDir, "plugins_registry") }

// RegistrationSocket is the socket with which eni-dra registers with the kubelet.
func RegistrationSocket(kubeletDir string) string {
	return filepath.Join(RegistrationDir(kubeletDir), Name+"-reg.sock")
}

// PluginSocket is the socket on which eni-dra serves the kubelet.
func PluginSocket(kubeletDir string) string {
	return filepath.Join(kubeletDir, "plugins", Name, "dra.sock")
}
