package fleet

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"time"
)

// Stats is what agents cost the process that they run in.
type Stats struct {
	Agents     int
	Heap       int64 // bytes that are in use after a collection
	Stacks     int64 // bytes
	Goroutines int
	API, EC2   Traffic
	Process    Process
}

// Stats collects garbage first.
func (a *Agents) Stats() Stats {
	debug.FreeOSMemory()
	return Stats{
		Agents:     len(a.all()),
		Heap:       memory("/memory/classes/heap/objects:bytes"),
		Stacks:     memory("/memory/classes/heap/stacks:bytes"),
		Goroutines: runtime.NumGoroutine(),
		API:        a.api.traffic(),
		EC2:        a.ec2.traffic(),
		Process:    ReadProcess(os.Getpid()),
	}
}

func memory(class string) int64 {
	sample := []metrics.Sample{{Name: class}}
	metrics.Read(sample)
	return int64(sample[0].Value.Uint64())
}

// Add adds another process's.
func (s Stats) Add(o Stats) Stats {
	s.Agents += o.Agents
	s.Heap += o.Heap
	s.Stacks += o.Stacks
	s.Goroutines += o.Goroutines
	s.API, s.EC2 = s.API.add(o.API), s.EC2.add(o.EC2)
	s.Process = s.Process.add(o.Process)
	return s
}

func (t Traffic) add(o Traffic) Traffic {
	return Traffic{t.Open + o.Open, t.Sent + o.Sent, t.Received + o.Received}
}

// Process is what the kernel says of a process.
type Process struct {
	RSS, Peak int64 // bytes resident, now and at most
	CPU       time.Duration
}

func (p Process) add(o Process) Process {
	return Process{p.RSS + o.RSS, p.Peak + o.Peak, p.CPU + o.CPU}
}

// clockTick is the kernel's unit of CPU time for users, on every architecture
// that Go runs on.
const clockTick = 10 * time.Millisecond

// ReadProcess reads /proc/PID; it is empty for one that has ended.
func ReadProcess(pid int) Process {
	var p Process
	dir := "/proc/" + strconv.Itoa(pid)
	status, err := os.ReadFile(dir + "/status")
	if err != nil {
		return p
	}
	p.RSS, p.Peak = kilobytes(string(status), "VmRSS:"), kilobytes(string(status), "VmHWM:")
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return p
	}
	// Behind the name, which is in parentheses, comes the third field.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	const user, system = 14 - 3, 15 - 3
	if len(fields) > system {
		for _, field := range []string{fields[user], fields[system]} {
			ticks, _ := strconv.ParseInt(field, 10, 64)
			p.CPU += time.Duration(ticks) * clockTick
		}
	}
	return p
}

func kilobytes(status, field string) int64 {
	for line := range strings.Lines(status) {
		if value, ok := strings.CutPrefix(line, field); ok {
			n, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return n << 10
		}
	}
	return 0
}
