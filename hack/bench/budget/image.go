package budget

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
)

// ImageSize is how many bytes the only layer of an image has: the program in a tar
// archive, through gzip. An image has an index, a manifest and a configuration beside
// it, about 2 kB together.
func ImageSize(name string, program []byte) (float64, error) {
	var layer bytes.Buffer
	zip := gzip.NewWriter(&layer)
	archive := tar.NewWriter(zip)
	err := archive.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(program))})
	if err == nil {
		_, err = archive.Write(program)
	}
	err = errors.Join(err, archive.Close(), zip.Close())
	return float64(layer.Len()), err
}
