package podnetwork

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Write replaces the NodeENI's file in dir as a whole.
func Write(dir string, n Network) error {
	if err := n.validate(); err != nil {
		return fmt.Errorf("write the network file: %w", err)
	}
	// No sync: the directory is empty after a reboot anyway.
	return writeFile(dir, n.NodeENI+".json", "."+n.NodeENI, n, nil)
}

// Remove removes the NodeENI's file from dir, if it is there.
func Remove(dir, nodeENI string) error {
	if !ValidName(nodeENI) {
		return fmt.Errorf("%q is not a valid NodeENI name", nodeENI)
	}
	if err := os.Remove(filepath.Join(dir, nodeENI+".json")); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// Read is what the NodeENI offers to pods of this node. When it has no file in dir, the
// error is [os.ErrNotExist] and says what to do.
func Read(dir, nodeENI string) (Network, error) {
	if !ValidName(nodeENI) {
		return Network{}, fmt.Errorf("%q is not a valid NodeENI name", nodeENI)
	}
	n, err := readFile[Network](filepath.Join(dir, nodeENI+".json"))
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
	return readAll(dir, func(name string) (Network, error) { return Read(dir, strings.TrimSuffix(name, ".json")) })
}

type validated interface{ validate() error }

func readFile[T validated](path string) (T, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return *new(T), err
	}
	value, err := decode[T](content)
	if err != nil {
		return value, fmt.Errorf("%s: %w", path, err)
	}
	return value, nil
}

func decode[T validated](content []byte) (T, error) {
	var value T
	err := json.Unmarshal(content, &value)
	if err == nil {
		err = value.validate()
	}
	return value, err
}

// readAll reads all files of a directory. Files that go meanwhile are left out.
func readAll[T validated](dir string, read func(name string) (T, error)) ([]T, error) {
	names, err := jsonFiles(dir)
	errs := []error{err}
	var values []T
	for _, name := range names {
		value, err := read(name)
		switch {
		case err == nil:
			values = append(values, value)
		case !errors.Is(err, os.ErrNotExist):
			errs = append(errs, err)
		}
	}
	return values, errors.Join(errs...)
}

// jsonFiles are the names of the files in dir, none when it does not exist. What starts
// with a dot is not written to its end.
func jsonFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, entry := range entries {
		if name := entry.Name(); filepath.Ext(name) == ".json" && !strings.HasPrefix(name, ".") {
			names = append(names, name)
		}
	}
	return names, err
}

// writeFile replaces a file of dir as a whole. Until it is written to its end it has the
// other name; when the program is killed, it keeps that.
func writeFile(dir, name, unfinished string, value any, finish func(*os.File) error) error {
	content, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	unfinished = filepath.Join(dir, unfinished)
	file, err := os.OpenFile(unfinished, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = file.Write(append(content, '\n'))
	if err == nil && finish != nil {
		err = finish(file)
	}
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(unfinished, filepath.Join(dir, name))
	}
	if err != nil {
		return errors.Join(err, os.Remove(unfinished))
	}
	return nil
}
