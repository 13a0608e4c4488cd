// Package draw makes choices from the bytes that a fuzzer comes up with, so that a
// fuzz test can build what it needs, and small changes of the bytes make small
// changes of what is built.
package draw

import (
	"math/rand/v2"
	"testing"
)

// Choices are the bytes that are left. When they are used up, every choice is the
// first one.
type Choices struct{ left []byte }

// From makes choices from data.
func From(data []byte) *Choices { return &Choices{data} }

// More says whether there are bytes left.
func (c *Choices) More() bool { return len(c.left) > 0 }

// N is a number from 0 up to, but without, n, which is at most 256.
func (c *Choices) N(n int) int {
	if len(c.left) == 0 {
		return 0
	}
	b := c.left[0]
	c.left = c.left[1:]
	return int(b) % n
}

// Bool is false or true.
func (c *Choices) Bool() bool { return c.N(2) == 1 }

// Rarely is true once in n times.
func (c *Choices) Rarely(n int) bool { return c.N(n) == n-1 }

// Of is one of the options.
func Of[T any](c *Choices, options ...T) T { return options[c.N(len(options))] }

// Some are any of the options, in their order: none, one, or several.
func Some[T any](c *Choices, options ...T) []T {
	var some []T
	for _, o := range options {
		if c.Bool() {
			some = append(some, o)
		}
	}
	return some
}

// Fuzz runs a fuzz test on choices, beginning with those of that many Seeds.
func Fuzz(f *testing.F, seeds int, test func(*testing.T, *Choices)) {
	for _, seed := range Seeds(seeds) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) { test(t, From(data)) })
}

// Seeds are that many inputs to begin with, the first of them empty; they are the
// same every time.
func Seeds(n int) [][]byte {
	random := rand.New(rand.NewPCG(uint64(n), 0))
	seeds := make([][]byte, n)
	for i := range seeds {
		for range 100 * i / n {
			seeds[i] = append(seeds[i], byte(random.Uint32()))
		}
	}
	return seeds
}
