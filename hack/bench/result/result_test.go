package result

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func sample() *Result {
	return &Result{
		Name: "footprint", Taken: time.Date(2026, 11, 24, 18, 0, 0, 0, time.UTC), Commit: "0123456789ab",
		Machine: Machine{CPU: "A CPU", Cores: 2, Memory: 8 << 30, Kernel: "Linux 6.18", Go: "go1.26 linux/amd64"},
		Figures: []Figure{
			{Name: "binary", Value: 18.93, Unit: "MB", Goal: new(22.0)},
			{Name: "start", Value: 1.5, Unit: "s", Goal: new(1.0), Note: "busy"},
			{Name: "connections", Value: 2, Goal: new(1.0)},
			{Name: "threads", Value: 9},
		},
		Tables: []Table{{Title: "Growth", Columns: []string{"ENIs", "RSS"}, Rows: [][]string{{"1", "22 MiB"}, {"15", "23 MiB"}}}},
		Plots:  []Plot{{Title: "RSS", YLabel: "MiB", Categories: []string{"1", "15"}, Series: []Series{{Name: "RSS", Y: []float64{22, 23}}}}},
	}
}

func TestFigure(t *testing.T) {
	for _, test := range []struct {
		f    Figure
		met  bool
		text string
	}{
		{Figure{Name: "a", Value: 3}, true, "a: 3"},
		{Figure{Name: "a", Value: 22, Unit: "MB", Goal: new(22.0)}, true, "a: 22 MB (goal: at most 22 MB)"},
		{Figure{Name: "a", Value: 22.04, Unit: "MB", Goal: new(22.0)}, false, "a: 22 MB (goal: at most 22 MB) MISSED"},
	} {
		if test.f.Met() != test.met || test.f.String() != test.text {
			t.Errorf("%+v: met %v, %q; want %v, %q", test.f, test.f.Met(), test.f, test.met, test.text)
		}
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 3: "3", -3: "-3", 0.1234: "0.123", 0.5: "0.5", 1.239: "1.24", 18.93: "18.9", 190.4: "190",
		1234.5: "1,234", 1234567: "1,234,567", -1234567: "-1,234,567", 999.9: "1,000", 0.00123: "0.0012", 100: "100", 123456.7: "123,457",
	} {
		if got := Number(v); got != want {
			t.Errorf("Number(%v) = %q, want %q", v, got, want)
		}
	}
}

// Sizes and counts that miss their goal are errors, times are not.
func TestErr(t *testing.T) {
	r := sample()
	var names []string
	for _, f := range r.Figures {
		if !f.Met() {
			names = append(names, f.Name)
		}
	}
	if want := []string{"start", "connections"}; !slices.Equal(names, want) {
		t.Errorf("missed: %v, want %v", names, want)
	}
	err := r.Err()
	if err == nil || !strings.Contains(err.Error(), "connections: 2") || strings.Contains(err.Error(), "start") {
		t.Errorf("error: %v; want one about connections alone", err)
	}
	r.Figures[2].Value = 1
	if err := r.Err(); err != nil {
		t.Errorf("error: %v; want none for a time", err)
	}
}

func TestSaveAndLoad(t *testing.T) {
	dir := t.TempDir()
	if _, err := Load(dir, "footprint"); err == nil || !strings.Contains(err.Error(), "make bench-footprint") {
		t.Errorf("nothing there: %v", err)
	}
	want := sample()
	if err := want.Save(dir); err != nil {
		t.Fatal(err)
	}
	if got, err := Load(dir, "footprint"); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\n got %+v\nwant %+v", err, got, want)
	}
}

func TestLoadErrors(t *testing.T) {
	for name, test := range map[string]struct{ text, err string }{
		"no JSON":       {"x", "invalid character"},
		"unknown field": {`{"title2": "x"}`, `unknown field "title2"`},
		"other name":    {`{"name": "y"}`, `it holds the result "y"`},
		"bad table":     {`{"name": "x", "tables": [{"title": "T", "columns": ["a"], "rows": [["1", "2"]]}]}`, `table "T": row 1 has 2 cells for 1 columns`},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "x.json"), []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := Load(dir, "x"); err == nil || !strings.Contains(err.Error(), "x.json: ") || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%v; want the file's name and %q", err, test.err)
			}
		})
	}
}

func TestSaveErrors(t *testing.T) {
	for err, spoil := range map[string]func(*Result){
		"NaN":                        func(r *Result) { r.Figures[0].Value = math.NaN() },
		"+Inf":                       func(r *Result) { r.Plots[0].Series[0].Y[0] = math.Inf(1) },
		"has 1 values for 2 categor": func(r *Result) { r.Plots[0].Series[0].Y = []float64{1} },
		"has 3 cells for 2 columns":  func(r *Result) { r.Tables[0].Rows[1] = []string{"1", "2", "3"} },
	} {
		r := sample()
		spoil(r)
		if got := r.Save(t.TempDir()); got == nil || !strings.Contains(got.Error(), err) {
			t.Errorf("%v; want %q", got, err)
		}
	}
}

func TestPrint(t *testing.T) {
	var b strings.Builder
	sample().Print(&b)
	want := `footprint
2026-11-24 18:00 UTC, 0123456789ab
A CPU, 2 cores, 8.0 GiB, Linux 6.18, go1.26 linux/amd64

binary: 18.9 MB (goal: at most 22 MB)
start: 1.5 s (goal: at most 1 s) MISSED  busy
connections: 2 (goal: at most 1) MISSED
threads: 9

Growth
| ENIs | RSS |
|--:|--:|
| 1 | 22 MiB |
| 15 | 23 MiB |
`
	if b.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", b.String(), want)
	}
}

// newTree makes a tree with one commit, and goes there.
func newTree(t *testing.T) {
	t.Helper()
	t.Chdir(t.TempDir())
	for _, args := range [][]string{
		{"init", "--quiet"},
		{"-c", "user.name=x", "-c", "user.email=x@example.com", "commit", "--quiet", "--allow-empty", "--message=x"},
	} {
		if _, err := git(t.Context(), args...); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(Dir, 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestCommit(t *testing.T) {
	newTree(t)
	write := func(path string) {
		t.Helper()
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(Dir, "go.json"))
	write(Dir + ".md")
	if got, err := commit(t.Context()); err != nil || len(got) != 12 {
		t.Errorf("%q, %v; want twelve digits", got, err)
	}
	write("agent.go")
	if got, err := commit(t.Context()); err != nil || !strings.HasSuffix(got, " with changes") {
		t.Errorf("%q, %v; want it to say that there are changes", got, err)
	}
}

// What was measured is saved unless it was a short look, and is an error if a size or a
// count misses its goal.
func TestRun(t *testing.T) {
	newTree(t)
	for _, short := range []bool{true, false} {
		err := run(t.Context(), "go", short, func(b *Bench, r *Result) {
			r.Figures = sample().Figures
			b.Check(errors.New("it took too long"))
		})
		if err == nil || !strings.Contains(err.Error(), "it took too long") || !strings.Contains(err.Error(), "connections: 2") {
			t.Errorf("error: %v; want measure's and the missed goal", err)
		}
		if r, err := Load(Dir, "go"); (err == nil) == short || !short && len(r.Figures) != 4 {
			t.Errorf("short %v: saved %+v, %v", short, r, err)
		}
	}
}

// A result that is not complete, or empty, is not saved over an earlier one.
func TestRunThatFails(t *testing.T) {
	newTree(t)
	for name, measure := range map[string]func(*Bench, *Result){
		"half": func(b *Bench, r *Result) {
			r.Figures = sample().Figures
			b.Must(errors.New("it has ended"))
		},
		"nothing": func(b *Bench, _ *Result) { b.Check(errors.New("it has ended")) },
	} {
		if err := run(t.Context(), "go", false, measure); err == nil || err.Error() != "it has ended" {
			t.Errorf("%s: error: %v", name, err)
		}
		if r, err := Load(Dir, "go"); err == nil {
			t.Errorf("%s: saved %+v", name, r)
		}
	}
}

// A benchmark ends with its first error, and cleans up in reverse order.
func TestTry(t *testing.T) {
	var done []string
	err := Try(t.Context(), func(b *Bench) {
		b.Cleanup(func() { done = append(done, "first", fmt.Sprint(b.Context().Err())) })
		b.Cleanup(func() { done = append(done, "second") })
		b.Must(nil)
		b.Must(errors.New("it is too late"))
		done = append(done, "more")
	})
	if err == nil || err.Error() != "it is too late" {
		t.Errorf("error: %v", err)
	}
	if want := []string{"second", "first", "context canceled"}; !slices.Equal(done, want) {
		t.Errorf("done: %v, want %v", done, want)
	}
	if err := Try(t.Context(), func(*Bench) {}); err != nil {
		t.Errorf("error: %v", err)
	}
}

// Logs are of use only after errors.
func TestTempDir(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	for _, problem := range []error{nil, errors.New("it is too late")} {
		var dir string
		err := Try(t.Context(), func(b *Bench) {
			dir = b.TempDir()
			b.Must(problem)
		})
		_, gone := os.Stat(dir)
		if problem == nil && (err != nil || !os.IsNotExist(gone)) || problem != nil && (gone != nil || !strings.Contains(err.Error(), "logs are in "+dir)) {
			t.Errorf("after %v: error %v, %s: %v", problem, err, dir, gone)
		}
	}
}

func TestQuantile(t *testing.T) {
	var values []int
	for i := range 100 {
		values = append(values, 100-i)
	}
	for part, want := range map[float64]int{0: 1, 0.5: 50, 0.99: 99, 0.991: 100, 1: 100} {
		if got := Quantile(values, part); got != want {
			t.Errorf("quantile %v: %d, want %d", part, got, want)
		}
	}
	if got := Quantile([]int{1, 2, 3}, 0.5); got != 2 {
		t.Errorf("the median of three: %d, want 2", got)
	}
	if got := Quantile([]int(nil), 0.5); got != 0 {
		t.Errorf("of nothing: %d", got)
	}
}

// A figure, a table or a plot that is not there is an error that names it.
func TestFind(t *testing.T) {
	r := sample()
	if f, err := r.Figure("start"); err != nil || f.Value != 1.5 {
		t.Errorf("%+v, %v", f, err)
	}
	if p, err := r.Plot("RSS"); err != nil || p.YLabel != "MiB" {
		t.Errorf("%+v, %v", p, err)
	}
	if table, err := r.Table("RSS"); err == nil || err.Error() != `footprint.json has no "RSS"` {
		t.Errorf("%+v, %v", table, err)
	}
}

func TestThisMachine(t *testing.T) {
	if m, err := thisMachine(); err != nil || m.CPU == "" || m.Cores < 1 || m.Memory < 1<<20 || m.Kernel == "Linux" || !strings.HasPrefix(m.Go, "go1.") {
		t.Errorf("%+v, %v", m, err)
	}
}
