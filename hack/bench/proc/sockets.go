package proc

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Kind is a kind of sockets.
type Kind string

// The kinds that are told apart.
const (
	TCP     Kind = "TCP"
	Netlink Kind = "netlink"
	Other   Kind = "other"
)

// Socket is an open socket.
type Socket struct {
	Kind        Kind
	Remote      netip.AddrPort // of TCP; not valid while it listens
	Established bool
}

const established = "01"

// descriptors counts what is open, and looks up the sockets in the process's own
// network namespace.
func (u *Usage) descriptors(dir string) error {
	known, err := sockets(filepath.Join(dir, "net"))
	if err != nil {
		return err
	}
	open, err := os.ReadDir(filepath.Join(dir, "fd"))
	if err != nil {
		return err
	}
	for _, fd := range open {
		target, err := os.Readlink(filepath.Join(dir, "fd", fd.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // it has been closed
		}
		if err != nil {
			return err
		}
		u.Files++
		inode, isSocket := strings.CutPrefix(target, "socket:[")
		if !isSocket {
			continue
		}
		s, ok := known[strings.TrimSuffix(inode, "]")]
		if !ok {
			s.Kind = Other
		}
		u.Sockets = append(u.Sockets, s)
	}
	return nil
}

// sockets are those of a network namespace, by inode.
func sockets(dir string) (map[string]Socket, error) {
	all := map[string]Socket{}
	for _, file := range []string{"tcp", "tcp6"} {
		err := rows(filepath.Join(dir, file), 10, func(f []string) error {
			remote, err := address(f[2])
			all[f[9]] = Socket{Kind: TCP, Remote: remote, Established: f[3] == established}
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // a kernel may be without IPv6
			return nil, err
		}
	}
	return all, rows(filepath.Join(dir, "netlink"), 10, func(f []string) error {
		all[f[9]] = Socket{Kind: Netlink}
		return nil
	})
}

// rows calls fn with the fields of each row but the first, which names them.
func rows(file string, fields int, fn func([]string) error) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	for i, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		if i == 0 {
			continue
		}
		f := strings.Fields(line)
		if len(f) < fields {
			return fmt.Errorf("%s: %q has less than %d fields", file, line, fields)
		}
		if err := fn(f); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	return nil
}

// address reads ADDRESS:PORT in hexadecimal: words in the machine's order, which
// is little-endian on all that we run on.
func address(text string) (netip.AddrPort, error) {
	host, port, _ := strings.Cut(text, ":")
	ip, err := hex.DecodeString(host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	for word := range slices.Chunk(ip, 4) {
		slices.Reverse(word)
	}
	a, ok := netip.AddrFromSlice(ip)
	if !ok {
		return netip.AddrPort{}, fmt.Errorf("%q is no address", text)
	}
	p, err := strconv.ParseUint(port, 16, 16)
	return netip.AddrPortFrom(a.Unmap(), uint16(p)), err
}
