package main

import (
	"strconv"
	"strings"
	"time"
)

// style is how a character looks: the number of a colour (SGR 30 to 37, 0 is the
// terminal's own), and whether it is bold.
type style struct {
	colour int
	bold   bool
}

type cell struct {
	char  rune
	style style
}

// terminal understands as much of a terminal as the demo uses: lines, carriage return,
// cursor up, clearing to the end of a line, bold and colours.
type terminal struct {
	lines    [][]cell
	row, col int
	style    style
}

// write takes text; an escape sequence must be whole.
func (t *terminal) write(text string) {
	runes := []rune(text)
	for i := 0; i < len(runes); i++ {
		switch c := runes[i]; c {
		case '\r':
			t.col = 0
		case '\n':
			t.row, t.col = t.row+1, 0
			t.grow()
		case '\t':
			for next := (t.col/8 + 1) * 8; t.col < next; {
				t.put(' ')
			}
		case '\x1b':
			length := strings.IndexFunc(string(runes[i+2:]), func(r rune) bool { return r >= '@' })
			t.control(string(runes[i+2:i+2+length]), runes[i+2+length])
			i += 2 + length
		default:
			t.put(c)
		}
	}
}

func (t *terminal) grow() {
	for len(t.lines) <= t.row {
		t.lines = append(t.lines, nil)
	}
}

func (t *terminal) put(c rune) {
	t.grow()
	for len(t.lines[t.row]) <= t.col {
		t.lines[t.row] = append(t.lines[t.row], cell{' ', style{}})
	}
	t.lines[t.row][t.col] = cell{c, t.style}
	t.col++
}

// control carries out the control sequence ESC [ parameters final.
func (t *terminal) control(parameters string, final rune) {
	t.grow()
	switch n, _ := strconv.Atoi(parameters); {
	case final == 'A':
		t.row = max(0, t.row-n)
	case final == 'K' && t.col < len(t.lines[t.row]):
		t.lines[t.row] = t.lines[t.row][:t.col]
	case final == 'm' && n == 0:
		t.style = style{}
	case final == 'm' && n == 1:
		t.style.bold = true
	case final == 'm' && n >= 30 && n <= 37:
		t.style.colour = n
	}
}

// screen is the end of what was written, as much as the terminal shows at a time.
func (t *terminal) screen() []string {
	shown := t.lines[max(0, len(t.lines)-rows):]
	lines := make([]string, len(shown))
	for i, cells := range shown {
		lines[i] = markup(cells)
	}
	return lines
}

// frame is what the terminal shows for a while.
type frame struct {
	lines []string // SVG text
	hold  time.Duration
}

const (
	leastHold  = 300 * time.Millisecond // what changes within it is one frame
	mostHold   = 2 * time.Second        // longer waits are cut
	perNewLine = 100 * time.Millisecond // reading takes time
	lastHold   = 6 * time.Second
)

// frames cuts the recording into frames.
func frames(chunks []chunk) []frame {
	var t terminal
	var all []frame
	var hold time.Duration
	for i, c := range chunks {
		before := len(t.lines)
		t.write(c.text)
		wait := lastHold
		if i+1 < len(chunks) {
			wait = min(chunks[i+1].at.Sub(c.at), mostHold)
		}
		hold += max(wait, time.Duration(len(t.lines)-before)*perNewLine)
		if hold >= leastHold || i+1 == len(chunks) {
			all = append(all, frame{t.screen(), hold})
			hold = 0
		}
	}
	return all
}
