package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const margin = "  "

// screen is where the demo speaks. On a terminal a live block of lines is drawn
// over and over in place; elsewhere, only its lines that have changed are added.
type screen struct {
	out      io.Writer
	terminal bool
	colours  bool
	width    int      // columns of the terminal
	live     []string // the block as drawn last; nil: none
	closed   func()   // called when it cannot be written any more
}

func newScreen(file *os.File, closed func()) *screen {
	s := &screen{out: file, closed: closed}
	if size, err := unix.IoctlGetWinsize(int(file.Fd()), unix.TIOCGWINSZ); err == nil {
		s.terminal, s.width = true, int(size.Col)
		s.colours = os.Getenv("NO_COLOR") == ""
	}
	return s
}

// printf writes below whatever is there.
func (s *screen) printf(format string, args ...any) {
	s.live = nil
	s.write(fmt.Sprintf(format, args...))
}

func (s *screen) write(text string) {
	if _, err := io.WriteString(s.out, text); err != nil {
		s.closed()
	}
}

// chapter begins a part of the demo.
func (s *screen) chapter(title string) { s.printf("\n%s\n\n", s.styled(bold, title)) }

// Styles, as numbers of the control sequence SGR.
const (
	bold = 1
	cyan = 36
)

func (s *screen) styled(style int, text string) string {
	if !s.colours {
		return text
	}
	return fmt.Sprintf("\x1b[%dm%s\x1b[0m", style, text)
}

// step reports something that is done, and how long it took.
func (s *screen) step(took time.Duration, what string) {
	s.printf("%s%-68s %6s\n", margin, what, seconds(took))
}

// text writes lines with the margin. Those that begin with a prompt are commands.
func (s *screen) text(text string) {
	for line := range strings.Lines(strings.TrimRight(text, "\n") + "\n") {
		line = strings.TrimRight(margin+line, " \n")
		if command := strings.TrimLeft(line, " "); strings.HasPrefix(command, "$ ") || strings.HasPrefix(command, "# ") {
			line = s.styled(cyan, line)
		}
		s.printf("%s\n", line)
	}
}

// draw shows a block of lines, in place of what it showed before, until
// something else is printed.
func (s *screen) draw(lines []string) {
	var b strings.Builder
	if s.terminal && len(s.live) > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", len(s.live))
	}
	for _, line := range lines {
		switch {
		case s.terminal:
			b.WriteString("\r" + cut(margin+line, s.width) + "\x1b[K\n")
		case !slices.Contains(s.live, line):
			b.WriteString(margin + line + "\n")
		}
	}
	s.live = lines
	s.write(b.String())
}

// cut keeps a line from wrapping, which would spoil the redrawing.
func cut(line string, width int) string {
	if runes := []rune(line); width > 1 && len(runes) >= width {
		return string(runes[:width-2]) + "…"
	}
	return line
}

// seconds is a duration as people read it, no finer than the demo looks.
func seconds(d time.Duration) string {
	if d < 100*time.Millisecond {
		return "<0.1 s"
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
