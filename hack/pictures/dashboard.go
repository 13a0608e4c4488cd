package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
)

// lastRow is the dashboard's row before which the picture ends: the rows after it are
// about what a demo of half a minute has little of.
const lastRow = "Programs"

// dashboard is as much of Grafana's model as the picture needs.
type dashboard struct {
	Title  string
	Panels []panel
}

type panel struct {
	Type, Title string
	GridPos     struct{ X, Y, W, H int }
	Targets     []struct{ Expr, LegendFormat string }
	FieldConfig struct {
		Defaults struct {
			Unit   string
			Custom struct {
				FillOpacity int
				Stacking    struct{ Mode string }
			}
		}
		Overrides []struct {
			Matcher    struct{ Options string } // the name of a series
			Properties []struct {
				Value struct{ FixedColor string }
			}
		}
	}
}

// series is a line of a panel.
type series struct {
	name   string
	colour string
	points []point
}

type point struct {
	second, value float64
}

func readDashboard(path string) (dashboard, error) {
	var d dashboard
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, &d)
	}
	if err != nil {
		return d, fmt.Errorf("the dashboard: %w", err)
	}
	end := slices.IndexFunc(d.Panels, func(p panel) bool { return p.Type == "row" && p.Title == lastRow })
	if end < 0 {
		return d, fmt.Errorf("%s has no row %q", path, lastRow)
	}
	d.Panels = d.Panels[:end]
	return d, nil
}

// colour is that of the n-th series.
func (p panel) colour(n int, name string) string {
	for _, o := range p.FieldConfig.Overrides {
		if o.Matcher.Options == name {
			return o.Properties[0].Value.FixedColor
		}
	}
	return palette[n%len(palette)]
}

// series evaluates the panel's queries.
func (p panel) series(ctx context.Context, q querier) ([]series, error) {
	var all []series
	for _, t := range p.Targets {
		matrix, err := q.query(ctx, t.Expr)
		if err != nil {
			return nil, fmt.Errorf("panel %q: %w", p.Title, err)
		}
		for _, m := range matrix {
			name := legend(t.LegendFormat, m.Metric)
			s := series{name: name, colour: p.colour(len(all), name)}
			for _, f := range m.Floats {
				s.points = append(s.points, point{float64(f.T-q.from.UnixMilli()) / 1000, f.F})
			}
			all = append(all, s)
		}
	}
	return all, nil
}

var labelOf = regexp.MustCompile(`\{\{\s*(\w+)\s*\}\}`)

// legend is the name that Grafana gives a series: the format, with the series' labels.
func legend(format string, metric labels.Labels) string {
	return labelOf.ReplaceAllStringFunc(format, func(field string) string {
		return metric.Get(labelOf.FindStringSubmatch(field)[1])
	})
}

// Sizes of the dashboard's picture, in pixels.
const (
	unitWidth  = 50 // of one of the 24 columns of Grafana's grid
	unitHeight = 29
	gap        = 8
	header     = 58
	footer     = 36
)

const dashboardStyle = `text{font:12px Inter,-apple-system,"Segoe UI",Helvetica,Arial,sans-serif;fill:#ccccdc}
.h{font-size:18px;font-weight:500}.p{font-size:13px;font-weight:500}.r{font-size:15px;font-weight:500}
.a,.n{font-size:10.5px;fill:#9a9aa8}.l{font-size:11px}.e{end}.g{stroke:#2a2c33}.s{fill:none;stroke-width:1.4;stroke-linejoin:round}`

// draw draws the dashboard as Grafana lays it out.
func (d dashboard) draw(ctx context.Context, q querier) (string, error) {
	var b strings.Builder
	bottom := 0
	for _, p := range d.Panels {
		bottom = max(bottom, p.GridPos.Y+p.GridPos.H)
		drawn, err := p.draw(ctx, q)
		if err != nil {
			return "", err
		}
		b.WriteString(drawn)
	}
	width, height := 24*unitWidth+2*gap, header+bottom*unitHeight+footer
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%[1]d" height="%[2]d" viewBox="0 0 %[1]d %[2]d" role="img">
<title>The dashboard's queries, evaluated over the metrics of one run of make demo</title>
<style>%[3]s</style>
<rect x=".5" y=".5" width="%[4]d" height="%[5]d" rx="9" fill="#111217" stroke="#30323a"/>
<text class="h" x="%[6]d" y="35">%[7]s</text>
<text x="%[8]d" y="35" text-anchor="end">Cluster: All · %[9]s · scraped every %[10]v</text>
%[11]s<text class="n" x="%[6]d" y="%[12]d">Drawn by “make pictures” from the queries of packaging/grafana/aws-multi-eni.json and the metrics of one run of “make demo”. This is not a screenshot of Grafana.</text>
</svg>
`, width, height, dashboardStyle, width-1, height-1, 2*gap, escape(d.Title), width-2*gap,
		q.from.UTC().Format("15:04:05")+" – "+q.to.UTC().Format("15:04:05")+" UTC", q.interval, b.String(), height-14), nil
}
