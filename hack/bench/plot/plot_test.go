package plot

import (
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/aws-multi-eni/aws-multi-eni/hack/bench/result"
)

var update = flag.Bool("update", false, "write the pictures in testdata anew; look at them")

var samples = map[string]result.Plot{
	"line": {
		Title: "Ready <and> well", XLabel: "nodes", YLabel: "seconds", LogX: true, Kind: result.Line,
		Series: []result.Series{
			{Name: "all Ready", X: []float64{10, 100, 1000}, Y: []float64{3, 12.5, 204}},
			{Name: "EC2's bound", X: []float64{50, 1000}, Y: []float64{0, 190}, Dashed: true},
		},
	},
	"bar": {
		Title: "Idle", YLabel: "MiB", Kind: result.Bar, Categories: []string{"agent", "coordinator"},
		Series: []result.Series{{Name: "RSS", Y: []float64{22.3, 30}}, {Name: "PSS", Y: []float64{12, 20}}},
	},
	"stack": {
		Title: "Phases", YLabel: "ms", Kind: result.Stack, Categories: []string{"p50", "p99"},
		Series: []result.Series{{Name: "create", Y: []float64{300, 310}}, {Name: "nothing", Y: []float64{0, 0}}, {Name: "attach", Y: []float64{700, 790}}},
	},
}

func TestGolden(t *testing.T) {
	for name, p := range samples {
		t.Run(name, func(t *testing.T) {
			got := string(SVG(p))
			if again := string(SVG(p)); again != got {
				t.Error("the same plot gives another picture")
			}
			file := "testdata/" + name + ".svg"
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("%s is another picture; see it, and run this test with -update if it is right:\n%s", file, got)
			}
		})
	}
}

// Every picture can be read as XML, shows all that the plot names, and draws each
// series in each place.
func TestSVG(t *testing.T) {
	for name, p := range samples {
		t.Run(name, func(t *testing.T) {
			picture := string(SVG(p))
			texts := parse(t, picture)
			for _, s := range p.Series {
				if !texts[s.Name] {
					t.Errorf("series %q is not named", s.Name)
				}
			}
			for _, text := range append(p.Categories, p.Title, p.YLabel) {
				if !texts[text] {
					t.Errorf("%q is not there", text)
				}
			}
			marks := map[string]int{"line": 3, "bar": 4 + 2, "stack": 4 + 3} // with the legend's
			if got := len(regexp.MustCompile(`<(circle|rect) [^>]*class="(dot )?fill`).FindAllString(picture, -1)); got != marks[name] {
				t.Errorf("%d marks, want %d", got, marks[name])
			}
		})
	}
}

func parse(t *testing.T, picture string) map[string]bool {
	t.Helper()
	texts := map[string]bool{}
	for d := xml.NewDecoder(strings.NewReader(picture)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return texts
		}
		if err != nil {
			t.Fatal(err)
		}
		if text, ok := token.(xml.CharData); ok {
			texts[string(text)] = true
		}
	}
}

func TestAxis(t *testing.T) {
	for _, test := range []struct {
		values []float64
		log    bool
		want   []float64
	}{
		{[]float64{3, 204}, false, []float64{0, 50, 100, 150, 200, 250}},
		{[]float64{100}, false, []float64{0, 20, 40, 60, 80, 100}},
		{[]float64{0.31, 0.1}, false, []float64{0, 0.1, 0.2, 0.3, 0.4}},
		{[]float64{0}, false, []float64{0, 0.2, 0.4, 0.6, 0.8, 1}},
		{[]float64{-3, 10}, false, []float64{-5, 0, 5, 10}},
		{[]float64{10, 5000}, true, []float64{10, 20, 50, 100, 200, 500, 1000, 2000, 5000}},
		{[]float64{3, 700}, true, []float64{2, 5, 10, 20, 50, 100, 200, 500, 1000}},
		{[]float64{7, 70000}, true, []float64{1, 10, 100, 1000, 10000, 100000}},
		{[]float64{10}, true, []float64{10, 20}},
		{[]float64{0.02, 0.3}, true, []float64{0.02, 0.05, 0.1, 0.2, 0.5}},
	} {
		got := newAxis(test.values, test.log, 5)
		if !reflect.DeepEqual(rounded(got.ticks), test.want) {
			t.Errorf("%v (log %v): ticks %v, want %v", test.values, test.log, got.ticks, test.want)
		}
		for _, v := range test.values {
			got.from, got.to = 100, 200
			if at := got.place(v); at < 100 || at > 200 {
				t.Errorf("%v (log %v): %v is at %v, out of the picture", test.values, test.log, v, at)
			}
		}
	}
}

func rounded(ticks []float64) []float64 {
	var all []float64
	for _, t := range ticks {
		all = append(all, clean(t, 1e-6))
	}
	return all
}

func TestPlace(t *testing.T) {
	linear := axis{low: 0, high: 10, from: 300, to: 100}
	log := axis{low: 1, high: 100, from: 0, to: 200, log: true}
	for _, test := range []struct {
		a       axis
		v, want float64
	}{{linear, 0, 300}, {linear, 2.5, 250}, {linear, 10, 100}, {log, 1, 0}, {log, 10, 100}, {log, 100, 200}} {
		if got := test.a.place(test.v); px(got) != px(test.want) {
			t.Errorf("%v is at %v, want %v", test.v, got, test.want)
		}
	}
}
