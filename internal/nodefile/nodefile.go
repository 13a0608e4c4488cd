// Package nodefile reads and writes the files that programs of one node share. Each is
// JSON, is replaced as a whole, and is valid or an error.
package nodefile

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Validated is what a file can have.
type Validated interface {
	// Validate says what is wrong with it.
	Validate() error
}

// Read reads a file.
func Read[T Validated](path string) (T, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return *new(T), err
	}
	value, err := Decode[T](content)
	if err != nil {
		return value, fmt.Errorf("%s: %w", path, err)
	}
	return value, nil
}

// Decode is the value of a file with this content.
func Decode[T Validated](content []byte) (T, error) {
	var value T
	err := json.Unmarshal(content, &value)
	if err == nil {
		err = value.Validate()
	}
	return value, err
}

// Remove removes a file, if it is there.
func Remove(path string) error {
	if err := os.Remove(path); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// ReadAll reads all files of a directory, which need not exist. Files that go meanwhile
// are left out. Those that cannot be read are in the error; the others are returned all
// the same.
func ReadAll[T Validated](dir string, read func(name string) (T, error)) ([]T, error) {
	names, err := names(dir)
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

// names are those of the files in dir, none when it does not exist. What starts with a dot
// is not written to its end.
func names(dir string) ([]string, error) {
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

// Write replaces a file of dir as a whole. Until it is written to its end it has the
// other name; when the program is killed, it keeps that.
func Write(dir, name, unfinished string, value any, finish func(*os.File) error) error {
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
