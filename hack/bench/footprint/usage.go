package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/procfs"
)

// usage is what the kernel says that a process uses, and has used since its start.
type usage struct {
	RSS, PSS    float64 // bytes
	Threads     int
	Files       int      // open, sockets among them
	Connections []uint16 // of TCP, established: the remote ports
	Netlink     int      // sockets

	CPU            time.Duration // of all threads that live
	WakeUps        float64       // voluntary context switches of those threads
	Received, Sent float64       // bytes, by the primary ENI of its node
}

// primaryLink is what the simulator calls the link of a node's primary ENI.
const primaryLink = "eth0"

func usageOf(pid int) (u usage, err error) {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return u, err
	}
	memory, errMemory := p.ProcSMapsRollup()
	links, errLinks := p.NetDev()
	files, errFiles := p.FileDescriptorTargets()
	threads, errThreads := procfs.AllThreads(pid)
	if err := errors.Join(errMemory, errLinks, errFiles, errThreads); err != nil {
		return u, fmt.Errorf("usage of process %d: %w", pid, err)
	}
	u = usage{
		RSS: float64(memory.Rss), PSS: float64(memory.Pss), Files: len(files),
		Received: float64(links[primaryLink].RxBytes), Sent: float64(links[primaryLink].TxBytes),
	}
	for _, t := range threads {
		if err := u.thread(t); err != nil && !errors.Is(err, fs.ErrNotExist) { // one that has ended
			return u, err
		}
	}
	return u, u.sockets(pid, files)
}

func (u *usage) thread(t procfs.Proc) error {
	ran, errRan := t.Schedstat() // in nanoseconds, while stat has hundredths of a second
	status, errStatus := t.NewStatus()
	if err := cmp.Or(errRan, errStatus); err != nil {
		return err
	}
	u.Threads++
	u.CPU += time.Duration(ran.RunningNanoseconds)
	u.WakeUps += float64(status.VoluntaryCtxtSwitches)
	return nil
}

// sockets counts the open sockets that are in the tables of the process's network
// namespace.
func (u *usage) sockets(pid int, files []string) error {
	const (
		remote, state, inode = 2, 3, 9 // columns; netlink has its inode in the same
		established          = "01"
	)
	for _, table := range []string{"tcp", "tcp6", "netlink"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // a kernel may be without IPv6
			return err
		}
		for line := range strings.Lines(string(text)) {
			row := strings.Fields(line)
			if len(row) <= inode || !slices.Contains(files, "socket:["+row[inode]+"]") {
				continue
			}
			switch {
			case table == "netlink":
				u.Netlink++
			case row[state] == established:
				_, hex, _ := strings.Cut(row[remote], ":")
				port, err := strconv.ParseUint(hex, 16, 16)
				if err != nil {
					return fmt.Errorf("%s: %w", table, err)
				}
				u.Connections = append(u.Connections, uint16(port))
			}
		}
	}
	return nil
}
