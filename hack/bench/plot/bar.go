package plot

import (
	"math"
	"slices"

	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/result"
)

const (
	barHeight = 18
	barGap    = 3  // between bars of a category
	rowGap    = 14 // between categories
)

// bars draws series over categories, which lie below each other: their names may be
// long. The bars of a category lie below each other too, or behind in a stack.
func (c *canvas) bars() {
	names, values := 0.0, []float64{}
	for i, category := range c.plot.Categories {
		names = max(names, textWidth(category))
		values = append(values, c.ends(i)...)
	}
	spanned := values
	if c.plot.LogY {
		spanned = append(slices.Clone(values), slices.Min(values)/2) // so that the shortest bar has a length
	}
	a := newAxis(spanned, c.plot.LogY, 6)
	numbers := textWidth(result.Number(values[0])) // behind the longest bar
	for _, v := range values {
		numbers = max(numbers, textWidth(result.Number(v)))
	}
	a.from, a.to = margin+names+12, width-margin-numbers-8
	c.y += 10
	top := c.y
	bottom := top + float64(len(c.plot.Categories))*(c.rowHeight()+rowGap) + rowGap
	labels, _ := tickLabels(a)
	for i, t := range a.ticks {
		c.line(a.place(t), top, a.place(t), bottom, "grid")
		c.text(a.place(t), bottom+18, "", "middle", labels[i])
	}
	for i, category := range c.plot.Categories {
		c.y += rowGap
		c.text(a.from-10, c.y+c.rowHeight()/2+4, "label", "end", category)
		c.row(i, a)
		c.y += c.rowHeight()
	}
	origin := a.place(c.origin(a))
	c.line(origin, top, origin, bottom, "axis")
	c.y = bottom + 20
	if c.plot.YLabel != "" {
		c.y += lineSpace
		c.text((a.from+a.to)/2, c.y, "", "middle", c.plot.YLabel)
	}
}

func (c *canvas) stacked() bool { return c.plot.Kind == result.Stack }

func (c *canvas) rowHeight() float64 {
	if c.stacked() {
		return barHeight + 4
	}
	n := float64(len(c.plot.Series))
	return n*barHeight + (n-1)*barGap
}

// ends are where the bars of a category end.
func (c *canvas) ends(category int) []float64 {
	var ends []float64
	sum := 0.0
	for _, s := range c.plot.Series {
		if sum += s.Y[category]; c.stacked() {
			ends = append(ends, sum)
		} else {
			ends = append(ends, s.Y[category])
		}
	}
	return ends
}

// origin is where bars begin.
func (c *canvas) origin(a axis) float64 {
	if a.log {
		return a.low
	}
	return 0
}

func (c *canvas) row(category int, a axis) {
	ends := c.ends(category)
	begin, y, height := c.origin(a), c.y, float64(barHeight)
	if c.stacked() {
		height = c.rowHeight()
	}
	for i, end := range ends {
		if from, to := a.place(min(begin, end)), a.place(max(begin, end)); from < to {
			if c.stacked() {
				to-- // the page shows between bars
			}
			c.printf(`<rect x="%s" y="%s" width="%s" height="%s" class="fill s%d"/>`, px(from), px(y), px(max(to-from, 1)), px(height), i%colours)
		}
		if c.stacked() {
			begin = end
			continue
		}
		c.number(a, end, y+height/2)
		y += height + barGap
	}
	if c.stacked() {
		c.number(a, ends[len(ends)-1], y+height/2)
	}
}

// number stands behind the end of a bar.
func (c *canvas) number(a axis, v, y float64) {
	c.text(math.Max(a.place(v), a.place(c.origin(a)))+6, y+4, "value", "start", result.Number(v))
}
