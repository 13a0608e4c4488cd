package program

import (
	"os"
	"runtime"
	"runtime/debug"
)

const (
	// gcPercent is how much of what is in use may be added before garbage is
	// collected. Go's 100 saves CPU that the programs do not use, and takes 1 to 2 MiB
	// in an agent, and more in the coordinator of a large fleet.
	gcPercent = 40
	// processors is on how many cores Go code runs at once. Each has caches, and
	// threads for the collection of garbage; the programs have one or two loops.
	processors = 2
)

// beFrugal makes Go's runtime take no more on a node of a hundred cores than on a
// small one. GOGC and GOMAXPROCS have the last word.
func beFrugal() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(min(processors, runtime.GOMAXPROCS(0)))
	}
}
