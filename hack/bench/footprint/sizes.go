package main

import (
	"debug/buildinfo"
	"fmt"
	"os"
	"path/filepath"

	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/layer"
)

// architectures are those that are released.
var architectures = []string{"amd64", "arm64"}

// size is that of a program as it is released.
type size struct {
	binary, image int64
	modules       int // that it is made of
}

// measureSizes measures a program in each linux-ARCH of the directory.
func measureSizes(dir, name string) (map[string]size, error) {
	sizes := map[string]size{}
	for _, arch := range architectures {
		path := filepath.Join(dir, "linux-"+arch, name)
		program, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("%w; make binaries builds it", err)
		}
		image, err := layer.Size(name, program)
		if err != nil {
			return nil, err
		}
		info, err := buildinfo.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		sizes[arch] = size{binary: int64(len(program)), image: image, modules: len(info.Deps)}
	}
	return sizes, nil
}
