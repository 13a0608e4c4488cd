package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
)

// palette is Grafana's classic one.
var palette = []string{"#73bf69", "#f2cc0c", "#5794f2", "#ff9830", "#f2495c", "#8ab8ff", "#b877d9", "#fade2a", "#ff7383", "#c0d8ff"}

// box is a rectangle of the picture, in pixels.
type box struct{ x, y, w, h float64 }

func (p panel) box() box {
	g := p.GridPos
	return box{
		x: float64(gap + g.X*unitWidth + gap/2), y: float64(header + g.Y*unitHeight),
		w: float64(g.W*unitWidth - gap), h: float64(g.H*unitHeight - gap),
	}
}

func (p panel) draw(ctx context.Context, q querier) (string, error) {
	at := p.box()
	if p.Type == "row" {
		return fmt.Sprintf("<text class=\"r\" x=\"%g\" y=\"%g\">⌄ %s</text>\n", at.x, at.y+17, escape(p.Title)), nil
	}
	data, err := p.series(ctx, q)
	if err != nil {
		return "", err
	}
	format, ok := units[p.FieldConfig.Defaults.Unit]
	if !ok {
		return "", fmt.Errorf("panel %q: the picture does not know the unit %q", p.Title, p.FieldConfig.Defaults.Unit)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "<rect x=\"%g\" y=\"%g\" width=\"%g\" height=\"%g\" rx=\"3\" fill=\"#181b1f\" stroke=\"#24272d\"/><text class=\"p\" x=\"%g\" y=\"%g\">%s</text>\n",
		at.x, at.y, at.w, at.h, at.x+10, at.y+21, escape(p.Title))
	length := q.to.Sub(q.from).Seconds()
	switch {
	case len(data) == 0:
		fmt.Fprintf(&b, "<text class=\"n\" x=\"%g\" y=\"%g\" text-anchor=\"middle\">No data</text>\n", at.x+at.w/2, at.y+at.h/2)
	case p.Type == "stat":
		drawStat(&b, at, data[0], format, length)
	case p.Type == "timeseries":
		p.drawTimes(&b, at, data, format, q)
	default:
		return "", fmt.Errorf("panel %q: the picture does not know the type %q", p.Title, p.Type)
	}
	return b.String(), nil
}

// drawStat shows the last value, above an area of how it came to that.
func drawStat(b *strings.Builder, at box, s series, format unit, length float64) {
	plot := chart{box{at.x + 1, at.y + at.h*.62, at.w - 2, at.h * .36}, length, 1}
	for _, p := range s.points {
		plot.top = max(plot.top, p.value)
	}
	plot.area(b, s, nil, 25)
	last := s.points[len(s.points)-1].value
	fmt.Fprintf(b, "<text x=\"%g\" y=\"%g\" text-anchor=\"middle\" style=\"font-size:52px;fill:%s\">%s</text>\n", at.x+at.w/2, at.y+at.h*.56, s.colour, format(last, 0))
}

// drawTimes draws a panel of lines: axes, the lines themselves, and the legend.
func (p panel) drawTimes(b *strings.Builder, at box, data []series, format unit, q querier) {
	legendLines, legendText := drawLegend(at, data)
	plot := chart{box{at.x + 50, at.y + 34, at.w - 62, at.h - 34 - 22 - 16*float64(legendLines)}, q.to.Sub(q.from).Seconds(), 0}
	stacked := p.FieldConfig.Defaults.Custom.Stacking.Mode == "normal"
	var below []map[float64]float64
	sum := map[float64]float64{}
	for _, s := range data {
		base := map[float64]float64{}
		for _, pt := range s.points {
			if stacked {
				base[pt.second] = sum[pt.second]
				sum[pt.second] += pt.value
			}
			if !math.IsNaN(pt.value) {
				plot.top = max(plot.top, base[pt.second]+pt.value)
			}
		}
		below = append(below, base)
	}
	step := tick(plot.top)
	plot.top = max(step, math.Ceil(plot.top/step-1e-9)*step)
	for v := 0.0; v <= plot.top+step/2; v += step {
		y := plot.y(v)
		fmt.Fprintf(b, "<path class=\"g\" d=\"M%.0f %.1fh%.0f\"/><text class=\"a\" x=\"%.0f\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n", plot.at.x, y, plot.at.w, plot.at.x-6, y+3.5, format(v, step))
	}
	for _, second := range []float64{.1, .5, .9} {
		second *= plot.length
		fmt.Fprintf(b, "<text class=\"a\" x=\"%.0f\" y=\"%.0f\" text-anchor=\"middle\">%s</text>\n", plot.x(second), plot.at.y+plot.at.h+15, q.from.UTC().Add(seconds(second)).Format("15:04:05"))
	}
	for i, s := range data {
		plot.area(b, s, below[i], p.FieldConfig.Defaults.Custom.FillOpacity)
	}
	b.WriteString(legendText)
}

// drawLegend lists the series at the bottom, in as many lines as they need and have.
func drawLegend(at box, data []series) (lines int, text string) {
	const perChar, mark, most = 6.1, 22, 5
	type entry struct {
		series
		x    float64
		line int
	}
	var entries []entry
	x := at.x + 10
	lines = 1
	for i, s := range data {
		width := mark + perChar*float64(len([]rune(s.name))) + 10
		if x+width > at.x+at.w && x > at.x+10 {
			x = at.x + 10
			lines++
		}
		if lines == most && i < len(data)-1 {
			entries = append(entries, entry{series{name: fmt.Sprintf("and %d more", len(data)-i), colour: "none"}, x - mark + 4, lines})
			break
		}
		entries = append(entries, entry{s, x, lines})
		x += width
	}
	var b strings.Builder
	for _, e := range entries {
		y := at.y + at.h - 10 - 16*float64(lines-e.line)
		fmt.Fprintf(&b, "<rect x=\"%.0f\" y=\"%.0f\" width=\"13\" height=\"3\" rx=\"1.5\" fill=\"%s\"/><text class=\"l\" x=\"%.0f\" y=\"%.0f\">%s</text>\n",
			e.x, y-5, e.colour, e.x+18, y, escape(e.name))
	}
	return lines, b.String()
}

// chart places seconds and values in a box.
type chart struct {
	at          box
	length, top float64 // seconds, value
}

func (c chart) x(second float64) float64 { return c.at.x + c.at.w*second/c.length }
func (c chart) y(value float64) float64  { return c.at.y + c.at.h*(1-value/c.top) }

// area draws a line and what is between it and what it stands on. Where there is no
// value it has a gap.
func (c chart) area(b *strings.Builder, s series, below map[float64]float64, opacity int) {
	for _, run := range runs(s.points, 1.5*c.length/steps) {
		line := "M" + c.path(run, func(p point) float64 { return below[p.second] + p.value })[1:]
		if len(run) == 1 {
			line += "h1.5"
		}
		slices.Reverse(run)
		back := c.path(run, func(p point) float64 { return below[p.second] })
		fmt.Fprintf(b, "<path fill=\"%[1]s\" fill-opacity=\"%.2[2]f\" d=\"%[3]s%[4]sZ\"/><path class=\"s\" stroke=\"%[1]s\" d=\"%[3]s\"/>\n",
			s.colour, float64(opacity)/100, line, back)
	}
}

// path connects the points; those in the middle of a level piece are left out.
func (c chart) path(run []point, value func(point) float64) string {
	var b strings.Builder
	for i, p := range run {
		v := value(p)
		if i > 0 && i < len(run)-1 && v == value(run[i-1]) && v == value(run[i+1]) {
			continue
		}
		fmt.Fprintf(&b, "L%.1f %.1f", c.x(p.second), c.y(v))
	}
	return b.String()
}

// runs cuts points where a value is missing.
func runs(points []point, longest float64) [][]point {
	var all [][]point
	connected := false
	for i, p := range points {
		if math.IsNaN(p.value) {
			connected = false
			continue
		}
		if !connected || p.second-points[i-1].second > longest {
			all = append(all, nil)
		}
		all[len(all)-1] = append(all[len(all)-1], p)
		connected = true
	}
	return all
}
