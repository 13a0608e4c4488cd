package hostnet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// struct ethtool_gstrings and struct ethtool_stats of linux/ethtool.h.
const (
	statisticsNames = 1  // ETH_SS_STATS
	namesHeader     = 12 // command, set, count
	nameLength      = 32 // ETH_GSTRING_LEN
	valuesHeader    = 8  // command, count
	valueLength     = 8
)

// maxStatistics is how many a driver may have; ENA has some 30 for each queue.
const maxStatistics = 8 << 10

// errQueues: the names and values that were read do not belong together.
var errQueues = errors.New("the number of its queues has just changed")

// statistics reads those of a link's driver that wanted accepts, as `ethtool -S` names
// them; nil when there are none. rtnetlink does not have them, but its socket takes
// ethtool's calls too, since Linux 4.6.
func (c *conn) statistics(link string, wanted func(name string) bool) (values map[string]uint64, err error) {
	failed := c.socket.conn.Control(func(fd uintptr) { values, err = readStatistics(int(fd), link, wanted) })
	if err := errors.Join(failed, err); err != nil {
		return nil, fmt.Errorf("read the driver's statistics of link %s: %w", link, err)
	}
	return values, nil
}

func readStatistics(fd int, link string, wanted func(name string) bool) (map[string]uint64, error) {
	info, err := unix.IoctlGetEthtoolDrvinfo(fd, link)
	switch {
	case errors.Is(err, unix.EOPNOTSUPP), err == nil && info.N_stats == 0:
		return nil, nil // the kernel warns of whoever goes on to ask for none
	case err != nil:
		return nil, err
	case info.N_stats > maxStatistics:
		return nil, fmt.Errorf("it has %d counters, more than %d", info.N_stats, maxStatistics)
	}
	// The kernel may write as many as there are by now, and a link gets more with each
	// queue. So there is room for maxStatistics; only what is written to becomes memory.
	buffer, err := unix.Mmap(-1, 0, namesHeader+maxStatistics*nameLength, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, err
	}
	defer unix.Munmap(buffer) //nolint:errcheck // it is what was mapped

	if err := ethtoolCall(fd, link, buffer, unix.ETHTOOL_GSTRINGS, statisticsNames, info.N_stats); err != nil {
		return nil, err
	}
	if u32(buffer[8:]) != info.N_stats {
		return nil, errQueues
	}
	places := map[string]int{}
	for i := range int(info.N_stats) {
		if name := text(buffer[namesHeader+i*nameLength:][:nameLength]); wanted(name) {
			places[name] = i
		}
	}
	if len(places) == 0 {
		return nil, nil
	}
	if err := ethtoolCall(fd, link, buffer, unix.ETHTOOL_GSTATS, info.N_stats); err != nil {
		return nil, err
	}
	if u32(buffer[4:]) != info.N_stats {
		return nil, errQueues
	}
	values := make(map[string]uint64, len(places))
	for name, i := range places {
		values[name] = binary.NativeEndian.Uint64(buffer[valuesHeader+i*valueLength:])
	}
	return values, nil
}

// ethtoolCall makes the call that begins with these numbers. The answer is in the buffer,
// which must not be on a stack: Go moves stacks, and the kernel does not know.
func ethtoolCall(fd int, link string, buffer []byte, numbers ...uint32) error {
	for i, n := range numbers {
		binary.NativeEndian.PutUint32(buffer[4*i:], n)
	}
	request := struct { // struct ifreq of linux/if.h
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}{data: unsafe.Pointer(&buffer[0])}
	copy(request.name[:unix.IFNAMSIZ-1], link)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
	if errno != 0 {
		return errno
	}
	return nil
}
