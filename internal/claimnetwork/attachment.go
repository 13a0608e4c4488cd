package claimnetwork

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aws-multi-eni/aws-multi-eni/internal/nodefile"
	"github.com/aws-multi-eni/aws-multi-eni/internal/podnetwork"
)

// Attachment is a claim that the kubelet has prepared, and the pod that the ENIs' links
// are in, or are about to be in: it is written before the links are moved, so that they
// can be moved back without the claim's file.
type Attachment struct {
	// Claim is what the claim's file had when the kubelet prepared the claim.
	Claim Claim `json:"claim"`
	// Created is when that was, and Boot which boot of the node.
	Created time.Time `json:"created"`
	Boot    string    `json:"boot,omitempty"`
	// Pod has the links; nil while they are on the host.
	Pod *Pod `json:"pod,omitempty"`
}

// Pod is a pod's sandbox.
type Pod struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	UID       string `json:"uid"`
	// Sandbox is its ID, and NetNS the path of its network namespace, which the runtime
	// removes with it.
	Sandbox string `json:"sandbox"`
	NetNS   string `json:"netns"`
	// Interfaces are the names of the links in the pod, in the order of the devices.
	Interfaces []string `json:"interfaces"`
	// Configured says that all links are there, with addresses and routes. From then on
	// they are the pod's own to change.
	Configured bool `json:"configured,omitempty"`
	// Missing are those of the interfaces that have disappeared from the pod.
	Missing []string `json:"missing,omitempty"`
}

// NewAttachment is that of a claim which is prepared now, without a pod.
func NewAttachment(claim Claim) Attachment {
	return Attachment{Claim: claim, Created: time.Now().UTC(), Boot: podnetwork.BootID()}
}

// Has reports whether the link of a device, by its index in the claim, is in the pod as far
// as eni-dra knows.
func (p Pod) Has(device int) bool {
	return device < len(p.Interfaces) && !slices.Contains(p.Missing, p.Interfaces[device])
}

// String names the pod, for messages.
func (p Pod) String() string { return p.Namespace + "/" + p.Name }

// InPod is the pod that has the links, nil when they are on the host: they have not been
// moved, or the pod's network namespace is gone for certain.
func (a Attachment) InPod() *Pod {
	if a.Pod == nil || podnetwork.NamespaceGone(a.Pod.NetNS, a.Boot) {
		return nil
	}
	return a.Pod
}

// For reports whether the pod may use the claim.
func (a Attachment) For(podUID string) bool { return slices.Contains(a.Claim.Pods, podUID) }

// Validate says what makes the attachment unusable.
func (a Attachment) Validate() error {
	if err := a.Claim.Validate(); err != nil {
		return fmt.Errorf("claim: %w", err)
	}
	switch p := a.Pod; {
	case p == nil:
	case p.UID == "" || p.Sandbox == "":
		return errors.New("pod: uid or sandbox is missing")
	case !filepath.IsAbs(p.NetNS):
		return fmt.Errorf("pod: netns: %q is not an absolute path", p.NetNS)
	case len(p.Interfaces) != len(a.Claim.Devices):
		return fmt.Errorf("pod: %d interfaces for %d devices", len(p.Interfaces), len(a.Claim.Devices))
	}
	return nil
}

// Lock waits until no other process works with the attachments in dataDir, and keeps others
// waiting until unlock, or until this process ends.
func Lock(dataDir string) (unlock func(), err error) {
	if err := os.MkdirAll(dataDir, 0o755); err != nil {
		return nil, err
	}
	path := filepath.Join(dataDir, ".lock")
	file, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(&os.PathError{Op: "lock", Path: path, Err: err}, file.Close())
	}
	return func() { _ = file.Close() }, nil
}

// WriteAttachment replaces the attachment's file in dataDir as a whole.
func WriteAttachment(dataDir string, a Attachment) error {
	if err := a.Validate(); err != nil {
		return fmt.Errorf("save the attachment of claim %s: %w", a.Claim, err)
	}
	// No sync: when the node dies, the pods do.
	return nodefile.Write(dataDir, a.Claim.UID+".json", "."+a.Claim.UID, a, nil)
}

// ReadAttachment is the claim's in dataDir. The error is [os.ErrNotExist] when there is
// none.
func ReadAttachment(dataDir, uid string) (Attachment, error) {
	return read(dataDir, uid, func(a Attachment) string { return a.Claim.UID })
}

// RemoveAttachment removes the claim's from dataDir, if it is there.
func RemoveAttachment(dataDir, uid string) error { return remove(dataDir, uid) }

// Attachments are all in dataDir. Files that cannot be read are in the error; the others
// are returned all the same.
func Attachments(dataDir string) ([]Attachment, error) {
	return nodefile.ReadAll(dataDir, func(name string) (Attachment, error) {
		return ReadAttachment(dataDir, strings.TrimSuffix(name, ".json"))
	})
}
