package fleet

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"github.com/prometheus/procfs"
)

// Stats is what agents cost the process that they run in.
type Stats struct {
	Agents     int
	Unready    int   // of them
	Heap       int64 // bytes that are in use after a collection
	Stacks     int64 // bytes
	Goroutines int
	API, EC2   Traffic
}

// Stats collects garbage first.
func (a *Agents) Stats() Stats {
	debug.FreeOSMemory()
	return Stats{
		Agents:     len(a.all()),
		Unready:    a.Unready(),
		Heap:       memory("/memory/classes/heap/objects:bytes"),
		Stacks:     memory("/memory/classes/heap/stacks:bytes"),
		Goroutines: runtime.NumGoroutine(),
		API:        a.api.traffic(),
		EC2:        a.ec2.traffic(),
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
	s.Unready += o.Unready
	s.Heap += o.Heap
	s.Stacks += o.Stacks
	s.Goroutines += o.Goroutines
	s.API, s.EC2 = s.API.add(o.API), s.EC2.add(o.EC2)
	return s
}

func (t Traffic) add(o Traffic) Traffic {
	return Traffic{t.Open + o.Open, t.Sent + o.Sent, t.Received + o.Received}
}

// Process is what the kernel says of a process.
type Process struct {
	Peak int64 // bytes resident at most
	CPU  time.Duration
}

// ReadProcess reads /proc/PID; it is empty for one that has ended.
func ReadProcess(pid int) Process {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return Process{}
	}
	status, errStatus := p.NewStatus()
	stat, errStat := p.Stat()
	if errStatus != nil || errStat != nil {
		return Process{}
	}
	return Process{Peak: int64(status.VmHWM), CPU: time.Duration(stat.CPUTime() * float64(time.Second))}
}
