// Package layer tells how large an image is to be pulled, without a tool that makes
// images.
package layer

import (
	"archive/tar"
	"compress/gzip"
)

// Size is how many bytes the one layer has that the Dockerfile makes: the program
// in a tar archive, through gzip. An image has an index, a manifest and a
// configuration beside it, about 2 kB together.
func Size(name string, program []byte) (int64, error) {
	var n counter
	zip := gzip.NewWriter(&n)
	archive := tar.NewWriter(zip)
	if err := archive.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(program))}); err != nil {
		return 0, err
	}
	for _, step := range []func() error{
		func() error { _, err := archive.Write(program); return err },
		archive.Close, zip.Close,
	} {
		if err := step(); err != nil {
			return 0, err
		}
	}
	return int64(n), nil
}

type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}
