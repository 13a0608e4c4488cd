package main

import (
	"math"
	"strconv"
	"time"
)

// unit formats a value; step is the distance between the values of an axis, 0 for a
// value alone.
type unit func(value, step float64) string

// units are Grafana's, as far as the dashboard uses them above lastRow.
var units = map[string]unit{
	"none": decimals,
	"ops":  func(v, step float64) string { return decimals(v, step) + " ops/s" },
	"s": func(v, step float64) string {
		switch {
		case v == 0:
			return "0 s"
		case step > 0 && step < .1:
			return decimals(v*1000, step*1000) + " ms"
		}
		return decimals(v, step) + " s"
	},
}

// decimals has as many as tell the values of an axis apart.
func decimals(v, step float64) string {
	digits := 0
	if step > 0 && step < 1 {
		digits = int(math.Ceil(-math.Log10(step) - 1e-9))
	}
	return strconv.FormatFloat(v, 'f', digits, 64)
}

// tick is the distance between the values of an axis that reaches to top: 1, 2 or 5
// times a power of ten, so that there are three to six of them.
func tick(top float64) float64 {
	if top <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(top/4)))
	for _, n := range []float64{1, 2, 5} {
		if top/(n*power) <= 5 {
			return n * power
		}
	}
	return 10 * power
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
