package result

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Save writes the result into dir, as NAME.json.
func (r *Result) Save(dir string) error {
	if err := r.check(); err != nil {
		return fmt.Errorf("result %s: %w", r.Name, err)
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("result %s: %w", r.Name, err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, r.Name+".json"), append(data, '\n'), 0o644)
}

// order is that of the chapters. Others come behind, by name.
var order = []string{"latency", "scale", "footprint", "go"}

// Load reads all results of dir. None at all is no error.
func Load(dir string) ([]*Result, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	var all []*Result
	for _, file := range files {
		r, err := load(file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		all = append(all, r)
	}
	slices.SortStableFunc(all, func(a, b *Result) int {
		if place(a) != place(b) {
			return place(a) - place(b)
		}
		return strings.Compare(a.Name, b.Name)
	})
	return all, nil
}

func place(r *Result) int {
	if i := slices.Index(order, r.Name); i >= 0 {
		return i
	}
	return len(order)
}

func load(file string) (*Result, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	r := &Result{}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(r); err != nil {
		return nil, err
	}
	if want := strings.TrimSuffix(filepath.Base(file), ".json"); r.Name != want {
		return nil, fmt.Errorf("it holds the result %q", r.Name)
	}
	return r, r.check()
}
