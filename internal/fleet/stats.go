package fleet

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"github.com/prometheus/procfs"
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
	return Process{
		RSS: int64(status.VmRSS), Peak: int64(status.VmHWM),
		CPU: time.Duration(stat.CPUTime() * float64(time.Second)),
	}
}
