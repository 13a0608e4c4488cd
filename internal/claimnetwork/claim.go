// Package claimnetwork has the files that agent and eni-dra share on a node: what ENIs a
// ResourceClaim has, which the agent writes, and in which pod their links are, which
// eni-dra writes. Neither program asks the other.
package claimnetwork

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/aws-multi-eni/aws-multi-eni/internal/nodefile"
	"github.com/aws-multi-eni/aws-multi-eni/internal/podnetwork"
)

// Where the files are, unless flags say otherwise.
const (
	// DefaultClaimsDir has a file UID.json for each claim that is allocated to devices of
	// this node. It is empty after a reboot, until the agent has the ENIs' links again.
	DefaultClaimsDir = "/run/eni-agent/claims"
	// DefaultDataDir has a file UID.json for each claim that the kubelet has prepared.
	DefaultDataDir = "/var/lib/eni-agent/claims"
)

// Claim is a claim that is allocated to devices of this node.
type Claim struct {
	UID       string `json:"uid"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Node is the node's name, which is also that of the pool.
	Node string `json:"node"`
	// Pods are the UIDs of the pods that may use the claim (its status.reservedFor).
	Pods    []string `json:"pods"`
	Devices []Device `json:"devices"`
}

// Device is one ENI for a claim.
type Device struct {
	// Name is the device's in the ResourceSlices of the node.
	Name    string `json:"name"`
	NodeENI string `json:"nodeENI"`
	// ENI is what the device has. While it is not Ready, its Reason and Message say why.
	ENI podnetwork.ENI `json:"eni"`
	// Parameters are those of the claim and its class.
	Parameters Parameters `json:"parameters"`
}

// String names the claim, for messages.
func (c Claim) String() string { return c.Namespace + "/" + c.Name }

// Unready says which ENI is not Ready and why, nil if all are.
func (c Claim) Unready() error {
	for _, d := range c.Devices {
		if !d.ENI.Ready {
			return fmt.Errorf("the ENI of NodeENI %s for device %s is not Ready: %s: %s", d.NodeENI, d.Name, d.ENI.Reason, d.ENI.Message)
		}
	}
	return nil
}

// Validate says what makes the claim unusable.
func (c Claim) Validate() error {
	switch {
	case !validUID(c.UID):
		return fmt.Errorf("uid: %q is not a valid UID", c.UID)
	case c.Name == "" || c.Namespace == "":
		return errors.New("namespace or name is missing")
	case c.Node == "":
		return errors.New("node is missing")
	case len(c.Devices) == 0:
		return errors.New("devices is empty")
	case slices.Contains(c.Pods, ""):
		return errors.New("pods has an empty entry")
	}
	for i, d := range c.Devices {
		if err := d.validate(); err != nil {
			return fmt.Errorf("devices[%d] (%s): %w", i, d.Name, err)
		}
	}
	return nil
}

func (d Device) validate() error {
	if d.Name == "" || d.NodeENI == "" {
		return errors.New("name or nodeENI is missing")
	}
	if err := d.Parameters.Validate(); err != nil {
		return fmt.Errorf("parameters: %w", err)
	}
	if !d.ENI.Ready {
		return nil // what is not known yet is empty
	}
	if d.ENI.ID == "" || len(d.ENI.Addresses) == 0 {
		return errors.New("id or addresses of the ENI are missing")
	}
	return d.ENI.Validate()
}

// validUID reports whether a file can have the name. The API server makes UUIDs.
func validUID(uid string) bool {
	inside := func(r rune) bool {
		return r == '-' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
	}
	return uid != "" && len(uid) <= 128 && !strings.ContainsFunc(uid, func(r rune) bool { return !inside(r) })
}

// Write replaces the claim's file in dir as a whole.
func Write(dir string, c Claim) error {
	if err := c.Validate(); err != nil {
		return fmt.Errorf("write the file of claim %s: %w", c, err)
	}
	// No sync: the directory is empty after a reboot anyway.
	return nodefile.Write(dir, c.UID+".json", "."+c.UID, c, nil)
}

// Remove removes the claim's file from dir, if it is there.
func Remove(dir, uid string) error { return remove(dir, uid) }

func remove(dir, uid string) error {
	if !validUID(uid) {
		return fmt.Errorf("%q is not a valid UID", uid)
	}
	return nodefile.Remove(filepath.Join(dir, uid+".json"))
}

// Read is the claim's file in dir. The error is [os.ErrNotExist] when there is none.
func Read(dir, uid string) (Claim, error) {
	return read(dir, uid, func(c Claim) string { return c.UID })
}

// read reads a file that has the UID of its claim as its name.
func read[T nodefile.Validated](dir, uid string, uidOf func(T) string) (value T, err error) {
	if !validUID(uid) {
		return value, fmt.Errorf("%q is not a valid UID", uid)
	}
	value, err = nodefile.Read[T](filepath.Join(dir, uid+".json"))
	if err == nil && uidOf(value) != uid {
		err = fmt.Errorf("%s/%s.json belongs to another claim, %s", dir, uid, uidOf(value))
	}
	return value, err
}

// List are all claims in dir. Files that cannot be read are in the error; the others are
// returned all the same.
func List(dir string) ([]Claim, error) {
	return nodefile.ReadAll(dir, func(name string) (Claim, error) { return Read(dir, strings.TrimSuffix(name, ".json")) })
}
