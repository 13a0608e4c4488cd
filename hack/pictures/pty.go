package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Size of the terminal in which the demo plays.
const (
	columns = 104
	rows    = 36
)

// chunk is a line that a program wrote to the terminal.
type chunk struct {
	at   time.Time
	text string
}

// record runs a program in a terminal, and returns what it writes there.
func record(cmd *exec.Cmd) ([]chunk, error) {
	ours, theirs, err := openTerminal()
	if err != nil {
		return nil, fmt.Errorf("open a terminal: %w", err)
	}
	defer ours.Close()
	cmd.Stdout, cmd.Stderr = theirs, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		return nil, err
	}
	var chunks []chunk
	for lines := bufio.NewReader(ours); ; {
		line, err := lines.ReadString('\n')
		if err != nil { // EIO: the program has closed its end
			return chunks, cmd.Wait()
		}
		chunks = append(chunks, chunk{time.Now(), line})
	}
}

// openTerminal makes a pseudo-terminal: our end, and the one that a program writes to.
func openTerminal() (ours, theirs *os.File, err error) {
	ours, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	fd := int(ours.Fd())
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns})
	}
	if err == nil {
		theirs, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		ours.Close()
		return nil, nil, err
	}
	return ours, theirs, nil
}
