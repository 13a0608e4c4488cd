package plot

import "math"

// axis maps numbers to places on the picture.
type axis struct {
	low, high float64 // at its ends
	from, to  float64 // where its ends are
	log       bool
	ticks     []float64
}

// newAxis spans all values, ends at round numbers, and has about n ticks. A linear
// one begins at 0 unless a value is below.
func newAxis(values []float64, log bool, n int) axis {
	low, high := math.Inf(1), math.Inf(-1)
	for _, v := range values {
		low, high = min(low, v), max(high, v)
	}
	if log {
		return logAxis(low, high)
	}
	return linearAxis(min(low, 0), max(high, 0), n)
}

func linearAxis(low, high float64, n int) axis {
	if low == high {
		high = low + 1
	}
	step := roundStep((high - low) / float64(n))
	a := axis{low: math.Floor(low/step-1e-9) * step, high: math.Ceil(high/step-1e-9) * step}
	if low == 0 {
		a.low = 0
	}
	for i := 0; ; i++ {
		tick := a.low + float64(i)*step
		if tick > a.high+step/2 {
			return a
		}
		a.ticks = append(a.ticks, clean(tick, step))
	}
}

// roundStep is the next 1, 2 or 5 times a power of ten.
func roundStep(v float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 5} {
		if v <= m*power*(1+1e-9) {
			return m * power
		}
	}
	return 10 * power
}

// clean takes off what binary fractions add: 0.30000000000000004.
func clean(v, step float64) float64 {
	digits := math.Pow(10, max(0, 1-math.Floor(math.Log10(step))))
	return math.Round(v*digits) / digits
}

// logAxis has ticks at 1, 2 and 5 times the powers of ten, or at these alone where
// that would be too many.
func logAxis(low, high float64) axis {
	steps := []float64{1, 2, 5}
	if math.Log10(high/low) > 3 {
		steps = []float64{1}
	}
	a := axis{log: true}
	for exponent := math.Floor(math.Log10(low)) - 1; ; exponent++ {
		for _, m := range steps {
			tick := m * math.Pow(10, exponent)
			if tick <= low*(1+1e-9) {
				a.ticks = a.ticks[:0] // it begins with the last one that is not above
			}
			a.ticks = append(a.ticks, tick)
			if tick >= high*(1-1e-9) && len(a.ticks) > 1 {
				a.low, a.high = a.ticks[0], tick
				return a
			}
		}
	}
}

// place is where a value is.
func (a axis) place(v float64) float64 {
	part := (v - a.low) / (a.high - a.low)
	if a.log {
		part = math.Log(v/a.low) / math.Log(a.high/a.low)
	}
	return a.from + part*(a.to-a.from)
}
