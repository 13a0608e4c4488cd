package result

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
)

// Machine is what figures were taken on.
type Machine struct {
	CPU    string  `json:"cpu"`
	Cores  int     `json:"cores"`
	Memory int64   `json:"memoryBytes"`
	Kernel string  `json:"kernel"`
	Go     string  `json:"go"`
	Load   float64 `json:"load"` // the mean of the minute before; a busy machine is slower
}

// ThisMachine describes the machine that this runs on. What it does not tell is
// left empty.
func ThisMachine() Machine {
	m := Machine{
		CPU:    field(readFile("/proc/cpuinfo"), "model name"),
		Cores:  runtime.NumCPU(),
		Kernel: strings.TrimSpace("Linux " + readFile("/proc/sys/kernel/osrelease")),
		Go:     runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH,
	}
	if kib, err := strconv.ParseInt(strings.TrimSuffix(field(readFile("/proc/meminfo"), "MemTotal"), " kB"), 10, 64); err == nil {
		m.Memory = kib << 10
	}
	if load := strings.Fields(readFile("/proc/loadavg")); len(load) > 0 {
		m.Load, _ = strconv.ParseFloat(load[0], 64)
	}
	return m
}

func (m Machine) String() string {
	cpu := m.CPU
	if cpu == "" {
		cpu = "CPU of unknown model"
	}
	return fmt.Sprintf("%s, %d cores, %.1f GiB, %s, %s", cpu, m.Cores, float64(m.Memory)/(1<<30), m.Kernel, m.Go)
}

// readFile is empty for a file that cannot be read.
func readFile(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return string(bytes.TrimSpace(data))
}

// field is the value of the first line "name : value".
func field(text, name string) string {
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
