// Package plot draws the plots of benchmarks as SVG: the same picture for the same
// numbers, readable on light and dark pages.
package plot

import (
	"bytes"
	"fmt"
	"html"
	"math"
	"strconv"

	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/result"
)

// Measures in pixels of a picture at its own size.
const (
	width     = 800
	margin    = 20
	lineSpace = 20 // between lines of text
	letter    = 6.6
)

// SVG draws the plot.
func SVG(p result.Plot) []byte {
	c := &canvas{plot: p, y: margin + 16}
	c.text(margin, c.y, "title", "start", p.Title)
	c.legend()
	if p.Kind == result.Line {
		c.lines()
	} else {
		c.bars()
	}
	return c.finish()
}

// canvas is the picture so far, down to y.
type canvas struct {
	plot result.Plot
	body bytes.Buffer
	y    float64
}

func (c *canvas) printf(format string, args ...any) { fmt.Fprintf(&c.body, format+"\n", args...) }

func (c *canvas) text(x, y float64, class, anchor, text string) {
	c.printf(`<text x="%s" y="%s" class="%s" text-anchor="%s">%s</text>`, px(x), px(y), class, anchor, html.EscapeString(text))
}

func (c *canvas) line(x1, y1, x2, y2 float64, class string) {
	c.printf(`<line x1="%s" y1="%s" x2="%s" y2="%s" class="%s"/>`, px(x1), px(y1), px(x2), px(y2), class)
}

// px is a place on the picture. Tenths are fine enough.
func px(v float64) string { return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64) }

// legend names the series, in as many lines as they need. One alone needs none, as
// the plot's title names it.
func (c *canvas) legend() {
	if len(c.plot.Series) == 1 {
		return
	}
	x := float64(margin)
	c.y += lineSpace + 6
	for i, s := range c.plot.Series {
		need := 24 + textWidth(s.Name) + 22
		if x > margin && x+need > width-margin {
			x = margin
			c.y += lineSpace
		}
		if c.plot.Kind == result.Line {
			c.printf(`<path d="M%s %sh18" class="line %s"/>`, px(x), px(c.y-4), seriesClass(i, s))
		} else {
			c.printf(`<rect x="%s" y="%s" width="12" height="12" rx="2" class="fill s%d"/>`, px(x+3), px(c.y-10), i%colours)
		}
		c.text(x+24, c.y, "label", "start", s.Name)
		x += need
	}
}

func seriesClass(i int, s result.Series) string {
	class := "s" + strconv.Itoa(i%colours)
	if s.Dashed {
		class += " dashed"
	}
	return class
}

// textWidth is about how wide a label is; it depends on the reader's fonts.
func textWidth(s string) float64 { return letter * float64(len([]rune(s))) }

// tickLabels are the numbers at an axis, and how wide the widest is.
func tickLabels(a axis) (labels []string, widest float64) {
	for _, t := range a.ticks {
		l := result.Number(t)
		labels = append(labels, l)
		widest = max(widest, textWidth(l))
	}
	return labels, widest
}

func (c *canvas) finish() []byte {
	height := px(c.y + margin)
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%s" viewBox="0 0 %d %s" role="img">`+"\n", width, height, width, height)
	fmt.Fprintf(&b, "<title>%s</title>\n", html.EscapeString(c.plot.Title))
	b.WriteString(style)
	fmt.Fprintf(&b, `<rect width="%d" height="%s" rx="6" class="page"/>`+"\n", width, height)
	b.Write(c.body.Bytes())
	b.WriteString("</svg>\n")
	return b.Bytes()
}
