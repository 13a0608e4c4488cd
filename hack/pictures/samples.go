package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
)

// period is the time that metrics are of, and how often they were taken.
type period struct {
	from, to time.Time
	interval time.Duration
}

// page is what a program served at a time.
type page struct {
	job, instance string
	at            int64 // milliseconds
	text          []byte
}

// loadMetrics fills a database of Prometheus with what the demo has recorded.
func loadMetrics(path, dir string) (*tsdb.DB, period, error) {
	recorded, err := os.ReadFile(path)
	if err != nil {
		return nil, period{}, err
	}
	pages, err := split(recorded)
	if err != nil {
		return nil, period{}, err
	}
	db, err := tsdb.Open(dir, nil, nil, tsdb.DefaultOptions(), nil)
	if err != nil {
		return nil, period{}, err
	}
	add := db.Appender(context.Background())
	for _, p := range pages {
		if err := p.addTo(add); err != nil {
			return nil, period{}, fmt.Errorf("%s: %w", p.instance, err)
		}
	}
	first, last := pages[0], pages[len(pages)-1]
	taken := 0
	for _, p := range pages {
		if p.instance == first.instance {
			taken++
		}
	}
	times := period{from: time.UnixMilli(first.at), to: time.UnixMilli(last.at)}
	times.interval = (times.to.Sub(times.from) / time.Duration(max(1, taken-1))).Round(100 * time.Millisecond)
	return db, times, add.Commit()
}

// split cuts the file at the lines that the demo has put before each page.
func split(recorded []byte) ([]page, error) {
	var pages []page
	for _, part := range bytes.Split(recorded, []byte("# scrape "))[1:] {
		var p page
		head, text, _ := bytes.Cut(part, []byte("\n"))
		if _, err := fmt.Sscan(string(head), &p.job, &p.instance, &p.at); err != nil {
			return nil, fmt.Errorf("%q: %w", head, err)
		}
		p.text = text
		pages = append(pages, p)
	}
	if len(pages) == 0 {
		return nil, errors.New("the file has none")
	}
	return pages, nil
}

// addTo adds the page's samples as Prometheus does when it scrapes.
func (p page) addTo(to storage.Appender) error {
	text, err := textparse.New(p.text, "text/plain", nil, textparse.ParserOptions{})
	if err != nil {
		return err
	}
	for {
		switch entry, err := text.Next(); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case entry == textparse.EntrySeries:
			var own labels.Labels
			text.Labels(&own)
			series := labels.NewBuilder(own).Set("job", p.job).Set("instance", p.instance).Labels()
			_, _, value := text.Series()
			if _, err := to.Append(0, series, p.at, value); err != nil {
				return err
			}
		}
	}
}

// querier evaluates PromQL over the period.
type querier struct {
	engine *promql.Engine
	db     storage.Queryable
	period
}

// steps is into how many steps the picture of a query is cut.
const steps = 180

func newQuerier(db storage.Queryable, times period) querier {
	return querier{
		engine: promql.NewEngine(promql.EngineOpts{MaxSamples: 10e6, Timeout: time.Minute, LookbackDelta: 4 * times.interval}),
		db:     db, period: times,
	}
}

// query evaluates an expression of the dashboard, whose variables have the values that
// Grafana gives them: all clusters, and four scrape intervals for rates.
func (q querier) query(ctx context.Context, expression string) (promql.Matrix, error) {
	expression = strings.NewReplacer("$cluster", ".*", "$__rate_interval", fmt.Sprintf("%dms", (4*q.interval).Milliseconds())).Replace(expression)
	query, err := q.engine.NewRangeQuery(ctx, q.db, nil, expression, q.from, q.to, q.to.Sub(q.from)/steps)
	if err != nil {
		return nil, err
	}
	defer query.Close()
	result := query.Exec(ctx)
	if result.Err != nil {
		return nil, result.Err
	}
	matrix, err := result.Matrix()
	if err != nil {
		return nil, err
	}
	return copyOf(matrix), nil
}

// copyOf keeps a result for longer than its query.
func copyOf(m promql.Matrix) promql.Matrix {
	kept := make(promql.Matrix, len(m))
	for i, s := range m {
		kept[i] = promql.Series{Metric: s.Metric.Copy(), Floats: append([]promql.FPoint(nil), s.Floats...)}
	}
	return kept
}
