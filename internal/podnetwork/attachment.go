package podnetwork

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aws-multi-eni/aws-multi-eni/internal/nodefile"
)

// HostDevice is the mode in which a pod has the ENI's link to itself.
const HostDevice = "host-device"

// Attachment is a pod's interface that the CNI plugin has made, or is about to make: it
// is written before anything else is done, so that it can be undone without the
// network's file.
type Attachment struct {
	ContainerID string `json:"containerID"`
	Interface   string `json:"interface"` // in the pod
	// NetNS is the path of the pod's network namespace. The runtime removes it with the
	// pod's sandbox.
	NetNS string `json:"netns"`
	// Pod is the pod's namespace and name, "" when the runtime does not tell.
	Pod string `json:"pod,omitempty"`
	// Network is the name of the CNI configuration.
	Network string `json:"network"`
	NodeENI string `json:"nodeENI"`
	ENI     string `json:"eni"`
	// Mode is the plugin that makes the interface: ipvlan, ptp or host-device.
	Mode string `json:"mode"`
	// Addresses are the pod's, at most one of each family.
	Addresses []netip.Addr `json:"addresses"`
	// Created is when the attachment was begun, and Boot which boot of the node that was.
	Created time.Time `json:"created"`
	Boot    string    `json:"boot,omitempty"`
	// Delegate is the configuration of the plugin that makes the interface.
	Delegate json.RawMessage `json:"delegate"`
}

// Attachments are those written down below dataDir, by container. Files that cannot be
// read are in the error; the others are returned all the same.
func Attachments(dataDir string) ([]Attachment, error) {
	dir := attachmentsDir(dataDir)
	return nodefile.ReadAll(dir, func(name string) (Attachment, error) { return nodefile.Read[Attachment](filepath.Join(dir, name)) })
}

// ReadAttachment is the one of this container and interface; the error is
// [os.ErrNotExist] when there is none.
func ReadAttachment(dataDir, containerID, ifName string) (Attachment, error) {
	return nodefile.Read[Attachment](filepath.Join(attachmentsDir(dataDir), attachmentName(containerID, ifName)))
}

// Hold waits until no other process works on the attachment, and keeps others waiting
// until this process and all that it starts have ended: a delegate goes on when the
// plugin is killed, and what it makes must not come after what DEL removes.
func Hold(dataDir, containerID, ifName string) error {
	path := filepath.Join(attachmentsDir(dataDir), attachmentName(containerID, ifName))
	// Not os.Open, which would have the descriptor closed in delegates.
	fd, err := unix.Open(path, unix.O_RDONLY, 0)
	if err == nil {
		err = unix.Flock(fd, unix.LOCK_EX)
	}
	if err != nil {
		return &os.PathError{Op: "lock", Path: path, Err: err}
	}
	return nil
}

// holdFile is [Hold] of a file that others do not find yet.
func holdFile(file *os.File) error {
	fd, err := unix.Dup(int(file.Fd()))
	if err == nil {
		err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
	}
	return os.NewSyscallError("lock", err)
}

// Holder says whose attachment this is, for messages.
func (a Attachment) Holder() string {
	return cmp.Or(a.Pod, "container "+a.ContainerID)
}

// Leaked reports whether the pod is gone for certain: the node has booted since, or its
// network namespace is not among the others any more. A directory that cannot be seen
// from here, in a container for instance, proves nothing.
func (a Attachment) Leaked() bool {
	return NamespaceGone(a.NetNS, a.Boot)
}

// NamespaceGone reports whether a pod's network namespace that was known in some boot of the
// node is gone for certain.
func NamespaceGone(netns, boot string) bool {
	if now := BootID(); boot != "" && now != "" && boot != now {
		return true
	}
	// Not every /var/run is a link to /run: on Talos there are other files, and where the
	// agent's image has neither, its pod mounts both.
	path := filepath.Clean(netns)
	if !filepath.IsAbs(path) {
		return false
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		return false
	}
	_, err := os.ReadDir(filepath.Dir(path))
	return err == nil
}

// BootID is another one after each boot of the node. It is "" when it is not known.
var BootID = sync.OnceValue(func() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
})

// booted is when the node has, the zero time when it is not known.
func booted() time.Time {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return time.Time{}
	}
	return time.Now().Add(-time.Duration(info.Uptime) * time.Second)
}

// Validate says what makes the attachment unusable.
func (a Attachment) Validate() error {
	for field, value := range map[string]string{
		"containerID": a.ContainerID, "interface": a.Interface, "netns": a.NetNS,
		"network": a.Network, "nodeENI": a.NodeENI, "mode": a.Mode,
	} {
		if value == "" {
			return fmt.Errorf("%s is missing", field)
		}
	}
	if !bytes.HasPrefix(a.Delegate, []byte("{")) {
		return errors.New("delegate is not a valid configuration")
	}
	for _, address := range a.Addresses {
		if !address.IsValid() {
			return errors.New("addresses has an empty entry")
		}
	}
	return nil
}

func attachmentsDir(dataDir string) string {
	return filepath.Join(dataDir, "attachments")
}

// attachmentName is the file's name. CNI allows a colon neither in the ID of a container
// nor in the name of an interface.
func attachmentName(containerID, ifName string) string {
	return containerID + ":" + ifName + ".json"
}
