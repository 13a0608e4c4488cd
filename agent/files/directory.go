package files

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/aws-multi-eni/aws-multi-eni/api/v1alpha1"
)

// maxFile is the size from which a file is taken for something else.
const maxFile = 1 << 20

// content is what a file was found to be, before anything is made of it.
type content struct {
	name string
	data string
	err  string
}

// isNodeENIFile tells the files that count from editors' copies and the like.
func isNodeENIFile(name string) bool {
	switch filepath.Ext(name) {
	case ".yaml", ".yml", ".json":
		return !strings.HasPrefix(name, ".") && !strings.HasPrefix(name, "#")
	}
	return false
}

// readDirectory reads the files that count, in the order of their names.
func readDirectory(path string) ([]content, error) {
	entries, err := os.ReadDir(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the directory %s does not exist; its last known contents stay in effect. To remove all NodeENIs, create an empty directory", path)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the directory; its last known contents stay in effect: %w", err)
	}
	var all []content
	for _, e := range entries {
		if !isNodeENIFile(e.Name()) {
			continue
		}
		data, err := readFile(filepath.Join(path, e.Name()))
		c := content{name: e.Name(), data: data}
		if err != nil {
			c.err = err.Error()
		}
		all = append(all, c)
	}
	return all, nil
}

func readFile(path string) (string, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", errors.New("it is a symbolic link to a file that does not exist")
	case err != nil:
		return "", err
	case !info.Mode().IsRegular():
		return "", errors.New("it is not a regular file")
	}
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("it is larger than %d KiB", maxFile>>10)
	}
	return string(data), err
}

func parseAll(all []content) []parsed {
	now := make([]parsed, len(all))
	for i, c := range all {
		now[i] = parse(c)
	}
	return now
}

// parse makes NodeENIs of a file.
func parse(c content) parsed {
	p := parsed{name: c.name}
	if c.err != "" {
		p.err = errors.New(c.err)
		return p
	}
	nodeENIs, err := v1alpha1.ParseNodeENIs([]byte(c.data))
	if err != nil {
		p.err = err
		return p
	}
	if len(nodeENIs) == 0 {
		// An editor may have emptied it a moment ago.
		p.err = errors.New("the file contains no NodeENI; if that is intended, delete the file")
		return p
	}
	for i, n := range nodeENIs {
		for j, other := range nodeENIs[:i] {
			if n.Name == other.Name {
				return parsed{name: c.name, err: fmt.Errorf("NodeENIs %d and %d in the file are both named %q; rename one of them", j+1, i+1, n.Name)}
			}
		}
		p.nodeENIs = append(p.nodeENIs, NodeENI{Name: n.Name, Spec: n.Spec})
	}
	return p
}
