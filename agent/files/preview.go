package files

import (
	"errors"
	"fmt"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// Preview reads a directory as an agent would that has never read it before, and
// keeps nothing of it. wrong says which files do not count, and why.
func Preview(directory string) (nodeENIs []v1alpha1.NodeENI, wrong []error, err error) {
	all, err := readDirectory(directory)
	if err != nil {
		return nil, nil, err
	}
	seen := map[string]bool{}
	for _, f := range resolve(memory{lost: true}, parseAll(all)).files {
		if f.Error != "" {
			wrong = append(wrong, fmt.Errorf("%s/%s: %w", directory, f.Name, errors.New(f.Error)))
		}
		for _, n := range f.NodeENIs {
			if !seen[n.Name] {
				nodeENIs = append(nodeENIs, n.object())
			}
			seen[n.Name] = true
		}
	}
	return nodeENIs, wrong, nil
}
