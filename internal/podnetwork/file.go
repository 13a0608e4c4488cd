package podnetwork

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/aws-multi-eni/aws-multi-eni/internal/nodefile"
)

// Write replaces the NodeENI's file in dir as a whole.
func Write(dir string, n Network) error {
	if err := n.Validate(); err != nil {
		return fmt.Errorf("write the network file: %w", err)
	}
	// No sync: the directory is empty after a reboot anyway.
	return nodefile.Write(dir, n.NodeENI+".json", "."+n.NodeENI, n, nil)
}

// Remove removes the NodeENI's file from dir, if it is there.
func Remove(dir, nodeENI string) error {
	if !ValidName(nodeENI) {
		return fmt.Errorf("%q is not a valid NodeENI name", nodeENI)
	}
	return nodefile.Remove(filepath.Join(dir, nodeENI+".json"))
}

// Read is what the NodeENI offers to pods of this node. When it has no file in dir, the
// error is [os.ErrNotExist] and says what to do.
func Read(dir, nodeENI string) (Network, error) {
	if !ValidName(nodeENI) {
		return Network{}, fmt.Errorf("%q is not a valid NodeENI name", nodeENI)
	}
	n, err := nodefile.Read[Network](filepath.Join(dir, nodeENI+".json"))
	if errors.Is(err, os.ErrNotExist) {
		return n, fmt.Errorf("NodeENI %s has no network file on this node: %w; check that the NodeENI selects the node and has pods: {}, and that eni-agent runs with --pods", nodeENI, err)
	}
	if err == nil && n.NodeENI != nodeENI {
		err = fmt.Errorf("%s/%s.json belongs to another NodeENI, %s", dir, nodeENI, n.NodeENI)
	}
	return n, err
}

// List is what all NodeENIs offer to pods of this node, by name. Files that cannot be
// read, or have another NodeENI's name, are in the error; the others are returned all the
// same.
func List(dir string) ([]Network, error) {
	return nodefile.ReadAll(dir, func(name string) (Network, error) { return Read(dir, strings.TrimSuffix(name, ".json")) })
}
