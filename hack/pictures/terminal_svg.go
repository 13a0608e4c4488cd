package main

import (
	"encoding/xml"
	"fmt"
	"math"
	"strings"
	"time"
)

// Sizes of the terminal's picture, in pixels.
const (
	charWidth  = 7.83 // of a character of 13 px
	lineHeight = 18
	edge       = 18
	titleBar   = 34
)

// poster is what the first line after the frame that is shown where nothing moves
// begins with: there all ENIs are ready.
const poster = "4. "

const terminalStyle = `text{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;fill:#c9d1d9;white-space:pre}
.b{font-weight:bold;fill:#f0f6fc}.c2{fill:#56d364}.c3{fill:#e3b341}.c4{fill:#79c0ff}.c6{fill:#76e3ea}.t{fill:#8b949e}`

// markup is a line of the terminal as SVG text.
func markup(cells []cell) string {
	var b strings.Builder
	for len(cells) > 0 {
		n := 1
		for n < len(cells) && cells[n].style == cells[0].style {
			n++
		}
		run := make([]rune, n)
		for i, c := range cells[:n] {
			run[i] = c.char
		}
		if class := cells[0].style.class(); class != "" {
			fmt.Fprintf(&b, `<tspan class="%s">%s</tspan>`, class, escape(string(run)))
		} else {
			b.WriteString(escape(string(run)))
		}
		cells = cells[n:]
	}
	return strings.TrimRight(b.String(), " ")
}

func (s style) class() string {
	switch {
	case s.bold:
		return "b"
	case s.colour != 0:
		return fmt.Sprintf("c%d", s.colour-30)
	}
	return ""
}

func escape(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // a Builder does not fail
	return b.String()
}

// drawTerminal draws the frames in a row, behind a window that is as wide as one of
// them. The row moves; where it does not, as for people who asked for less motion, the
// window shows the poster. Lines that are shown more than once are written once.
func drawTerminal(frames []frame) string {
	const height = titleBar + edge + rows*lineHeight
	width := int(math.Ceil(columns*charWidth)) + 2*edge
	var lines, row strings.Builder
	ids := map[string]int{}
	for i, f := range frames {
		fmt.Fprintf(&row, `<g transform="translate(%d)">`, i*width)
		for j, line := range f.lines {
			if line == "" {
				continue
			}
			id, known := ids[line]
			if !known {
				id = len(ids)
				ids[line] = id
				fmt.Fprintf(&lines, "<text id=\"l%d\">%s</text>\n", id, line)
			}
			fmt.Fprintf(&row, `<use href="#l%d" y="%d"/>`, id, (j+1)*lineHeight)
		}
		row.WriteString("</g>\n")
	}
	shown := posterOf(frames) * width
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" xml:space="preserve" width="%[1]d" height="%[2]d" viewBox="0 0 %[1]d %[2]d" role="img">
<title>make demo: three nodes get ENIs, and lose them again</title>
<style>%[3]s
%[4]s</style>
<defs>
%[5]s</defs>
<rect x=".5" y=".5" width="%[6]d" height="%[7]d" rx="9" fill="#0d1117" stroke="#30363d"/>
<circle cx="20" cy="18" r="5.5" fill="#ff5f57"/><circle cx="39" cy="18" r="5.5" fill="#febc2e"/><circle cx="58" cy="18" r="5.5" fill="#28c840"/>
<text class="t" x="%[8]d" y="22" text-anchor="middle">make demo</text>
<svg x="%[9]d" y="%[10]d" width="%[11]d" height="%[12]d"><g id="row" transform="translate(-%[13]d)">
%[14]s</g></svg>
</svg>
`, width, height, terminalStyle, animation(frames, width), lines.String(), width-1, height-1, width/2,
		edge, titleBar-4, width-edge, rows*lineHeight+8, shown, row.String())
}

// posterOf is the last frame in which all ENIs are ready.
func posterOf(frames []frame) int {
	for i, f := range frames {
		for _, line := range f.lines {
			if strings.Contains(line, ">"+poster) {
				return max(0, i-1)
			}
		}
	}
	return len(frames) - 1
}

// animation shows each frame for as long as it holds, and then begins again. It sets out
// from the poster, so that the first look shows more than an empty window.
func animation(frames []frame, width int) string {
	var total, at, first time.Duration
	for i, f := range frames {
		if i == posterOf(frames) {
			first = total
		}
		total += f.hold
	}
	var b strings.Builder
	b.WriteString("@keyframes play{")
	for i, f := range frames {
		fmt.Fprintf(&b, "%.2f%%{transform:translateX(-%dpx)}", 100*at.Seconds()/total.Seconds(), i*width)
		at += f.hold
	}
	fmt.Fprintf(&b, "to{transform:translateX(-%dpx)}}\n", (len(frames)-1)*width)
	fmt.Fprintf(&b, "@media (prefers-reduced-motion:no-preference){#row{animation:play %.1fs step-end -%.1fs infinite}}", total.Seconds(), first.Seconds())
	return b.String()
}
