package main

import (
	"slices"
	"strings"
	"testing"
)

const output = `goos: linux
goarch: amd64
pkg: github.com/aws-multi-eni/aws-multi-eni/agent
cpu: A CPU
BenchmarkNext/enis=1-2         	   34666	      7379 ns/op	    1552 B/op	       6 allocs/op
BenchmarkNext/enis=1-2         	   34666	      5000 ns/op	    1552 B/op	       6 allocs/op
BenchmarkNext/enis=1-2         	   34666	      9000 ns/op	    1554 B/op	       7 allocs/op
BenchmarkPlan/nothing_to_do-2  	       1	      12.5 ns/op
PASS
ok  	github.com/aws-multi-eni/aws-multi-eni/agent	11.377s
goos: linux
goarch: amd64
pkg: github.com/aws-multi-eni/aws-multi-eni/agent/inventory
cpu: A CPU
BenchmarkNext/enis=1-2         	     100	   1234567 ns/op
PASS
ok  	github.com/aws-multi-eni/aws-multi-eni/agent/inventory	1.2s
`

// What is read becomes rows of the table.
func TestParse(t *testing.T) {
	all, err := parse(strings.NewReader(output))
	want := [][]string{
		{"agent", "Next/enis=1", "7.379µs", "1,552", "6"}, {"agent", "Plan/nothing_to_do", "12.50ns", "0", "0"},
		{"agent/inventory", "Next/enis=1", "1.235ms", "0", "0"},
	}
	if got := table(all).Rows; err != nil || !slices.EqualFunc(got, want, slices.Equal[[]string]) {
		t.Errorf("%v\n got %v\nwant %v", err, got, want)
	}
	for name, text := range map[string]string{
		"nothing": "PASS\n",
		"damaged": "BenchmarkX 1 one ns/op\n",
	} {
		if got, err := parse(strings.NewReader(text)); err == nil {
			t.Errorf("%s: no error but %+v", name, got)
		}
	}
}

// A figure whose benchmark has another name is not just left out.
func TestFigures(t *testing.T) {
	if _, err := figures([]benchmark{{name: "Another"}}); err == nil {
		t.Error("no error")
	}
}
