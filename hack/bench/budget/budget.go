// Package budget has the sizes and counts that the programs must not exceed. The
// benchmark of the footprint reports against them, and tests hold each change to
// them; times are left to the benchmarks.
package budget

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"runtime"
)

// Bytes, as registries count them and as the kernel does.
const (
	MB  = 1e6
	MiB = 1 << 20
)

// Program is the most that a program may have.
type Program struct {
	Binary float64 // bytes, stripped
	Image  float64 // bytes to be pulled: the image's layer with the program, gzipped

	// When idle. An agent with one ENI, a coordinator that leads a cluster of a
	// handful of nodes.
	RSS         float64 // bytes
	Goroutines  float64
	Threads     float64
	Connections float64 // of TCP to the API server
	Netlink     float64 // sockets
	EC2Calls    float64 // in a minute
}

// Agent is on every node, so it is held tightest. Its sockets of netlink are one for
// routes, two for nftables, and one for the kernel's announcements.
var Agent = Program{
	Binary: 22 * MB, Image: 8.5 * MB,
	RSS: 25 * MiB, Goroutines: 60, Threads: 12, Connections: 1, Netlink: 4, EC2Calls: 0,
}

// Coordinator runs twice in a cluster. Go may give it threads for each core. The Lease
// has a connection of its own, so that a hung one is dropped at once.
var Coordinator = Program{
	Binary: 33 * MB, Image: 11 * MB,
	RSS: 40 * MiB, Goroutines: 60, Threads: 12 + float64(runtime.NumCPU()), Connections: 2, Netlink: 0, EC2Calls: 1,
}

// Plugin is the CNI plugin: a layer of its own in the agent's image, and a process for
// each pod that comes or goes.
var Plugin = Program{Binary: 6 * MB, Image: 2.5 * MB}

// DRA is the DRA plugin: a layer of its own in the agent's image too, and a container only
// where ENIs on demand are enabled.
var DRA = Program{Binary: 15 * MB, Image: 5.5 * MB}

// ManyENIs is more than most instance types take, and what an agent that has so many
// may use beyond one with a single ENI.
const (
	ManyENIs               = 15
	ManyENIsRSS    float64 = 2 * MiB
	BytesPerReport float64 = 16 << 10 // of NodeENIState, with ManyENIs
)

// ImageSize is how many bytes the layer with a program has: the program in a tar
// archive, through gzip. An image has the licences beside it, an index, a manifest and a
// configuration, about 30 kB together.
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
