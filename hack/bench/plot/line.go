package plot

import (
	"strings"

	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/result"
)

const (
	plotHeight = 300
	dotRadius  = 3.5
)

// lines draws series over numbers.
func (c *canvas) lines() {
	var xs, ys []float64
	for _, s := range c.plot.Series {
		xs, ys = append(xs, s.X...), append(ys, s.Y...)
	}
	x, y := newAxis(xs, c.plot.LogX, 8), newAxis(ys, c.plot.LogY, 5)
	c.frame(&x, &y)
	for i, s := range c.plot.Series {
		c.series(i, s, x, y)
	}
}

// frame draws both axes, and makes them know where they are.
func (c *canvas) frame(x, y *axis) {
	xLabels, _ := tickLabels(*x)
	yLabels, widest := tickLabels(*y)
	if c.plot.YLabel != "" {
		c.y += lineSpace + 8
		c.text(margin, c.y, "", "start", c.plot.YLabel)
	}
	top := c.y + 16
	bottom := top + plotHeight
	x.from, x.to = margin+widest+10, width-margin-16
	y.from, y.to = bottom, top
	for i, t := range y.ticks {
		at := y.place(t)
		c.line(x.from, at, x.to, at, "grid")
		c.text(x.from-8, at+4, "", "end", yLabels[i])
	}
	for i, t := range x.ticks {
		at := x.place(t)
		c.line(at, bottom, at, bottom+5, "axis")
		c.text(at, bottom+18, "", "middle", xLabels[i])
	}
	c.line(x.from, bottom, x.to, bottom, "axis")
	c.y = bottom + 20
	if c.plot.XLabel != "" {
		c.y += lineSpace
		c.text((x.from+x.to)/2, c.y, "", "middle", c.plot.XLabel)
	}
}

func (c *canvas) series(i int, s result.Series, x, y axis) {
	var d strings.Builder
	for j := range s.X {
		move := "L"
		if j == 0 {
			move = "M"
		}
		d.WriteString(move + px(x.place(s.X[j])) + " " + px(y.place(s.Y[j])))
	}
	class := seriesClass(i, s)
	c.printf(`<path d="%s" class="line %s"/>`, d.String(), class)
	if s.Dashed {
		return
	}
	for j := range s.X {
		c.printf(`<circle cx="%s" cy="%s" r="%s" class="dot fill %s"/>`, px(x.place(s.X[j])), px(y.place(s.Y[j])), px(dotRadius), class)
	}
}
