package testbed

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// skewVariable is how many seconds the wall clock of a program is wrong that was
// built with SkewableClock.
const skewVariable = "ENI_TEST_CLOCK_SKEW"

// SkewableClock writes into dir what Build needs for programs whose wall clock
// can be wrong, see Testbed.SetSkew, and returns the flag for Build: the kernel has
// one wall clock for all, so these have a package time of their own. Their timers
// are as good as ever, as they are on a machine whose clock is wrong.
func SkewableClock(dir string) (flag string, err error) {
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOROOT: %w", err)
	}
	original := filepath.Join(strings.TrimSpace(string(out)), "src", "time", "time.go")
	text, err := os.ReadFile(original)
	if err != nil {
		return "", err
	}
	const now = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	skewed := strings.Replace(string(text), now, now+"\tsec += testClockSkew()\n", 1)
	skewed = strings.Replace(skewed, "import (\n", "import (\n\t\"sync\"\n\t\"syscall\"\n", 1)
	if strings.Count(skewed, "testClockSkew") != 1 || !strings.Contains(skewed, "\t\"syscall\"\n") {
		return "", errors.New("package time of this Go is not as it was: see SkewableClock")
	}
	skewed += `
var testClockSkew = sync.OnceValue(func() int64 {
	text, _ := syscall.Getenv("` + skewVariable + `")
	n, sign := int64(0), int64(1)
	for _, c := range text {
		if c == '-' {
			sign = -1
		} else {
			n = 10*n + int64(c-'0')
		}
	}
	return sign * n
})
`
	copied, overlay := filepath.Join(dir, "time.go"), filepath.Join(dir, "overlay.json")
	data, err := json.Marshal(map[string]any{"Replace": map[string]string{original: copied}})
	if err != nil {
		return "", err
	}
	if err := errors.Join(os.WriteFile(copied, []byte(skewed), 0o600), os.WriteFile(overlay, data, 0o600)); err != nil {
		return "", err
	}
	return "-overlay=" + overlay, nil
}

// SetSkew sets how much the clocks of processes are wrong that are started from now on, by
// name, if the programs are built for that: see SkewableClock.
func (tb *Testbed) SetSkew(skew map[string]time.Duration) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	maps.Copy(tb.skew, skew)
}

// skewed is the environment of a process whose clock is wrong.
func (tb *Testbed) skewed(process string) []string {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	if skew := tb.skew[process]; skew != 0 {
		return []string{skewVariable + "=" + strconv.Itoa(int(skew/time.Second))}
	}
	return nil
}
