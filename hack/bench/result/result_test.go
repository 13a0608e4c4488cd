package result

import (
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
		Name: "footprint", Title: "Footprint", Command: "make bench-footprint",
		Taken: time.Date(2026, 11, 24, 18, 0, 0, 0, time.UTC), Commit: "0123456789ab",
		Machine: Machine{CPU: "A CPU", Cores: 2, Memory: 8 << 30, Kernel: "Linux 6.18", Go: "go1.26 linux/amd64"},
		Figures: []Figure{
			{Name: "binary", Value: 18.93, Unit: "MB", Goal: Goal(22)},
			{Name: "start", Value: 1.5, Unit: "s", Goal: Goal(1), Note: "busy"},
			{Name: "fairness", Value: 0.5, Goal: Goal(0.9), AtLeast: true},
			{Name: "threads", Value: 9},
		},
		Tables: []Table{{Title: "Growth", Columns: []string{"ENIs", "RSS"}, Rows: [][]string{{"1", "22 MiB"}, {"15", "23 MiB"}}, Note: "Idle."}},
		Plots: []Plot{{
			File: "footprint-rss.svg", Title: "RSS", Kind: Line, LogX: true,
			Series: []Series{{Name: "RSS", X: []float64{1, 15}, Y: []float64{22, 23}}},
		}},
	}
}

func TestFigure(t *testing.T) {
	for _, test := range []struct {
		f    Figure
		met  bool
		text string
	}{
		{Figure{Name: "a", Value: 3}, true, "a: 3"},
		{Figure{Name: "a", Value: 22, Unit: "MB", Goal: Goal(22)}, true, "a: 22 MB (goal: at most 22 MB)"},
		{Figure{Name: "a", Value: 22.04, Unit: "MB", Goal: Goal(22)}, false, "a: 22 MB (goal: at most 22 MB) MISSED"},
		{Figure{Name: "a", Value: 1.2, Unit: "×", Goal: Goal(1.25), AtLeast: true}, false, "a: 1.2× (goal: at least 1.25×) MISSED"},
		{Figure{Name: "a", Value: 1.25, Unit: "×", Goal: Goal(1.25), AtLeast: true}, true, "a: 1.25× (goal: at least 1.25×)"},
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
	for _, f := range r.Missed() {
		names = append(names, f.Name)
	}
	if want := []string{"start", "fairness"}; !slices.Equal(names, want) {
		t.Errorf("missed: %v, want %v", names, want)
	}
	err := r.Err()
	if err == nil || !strings.Contains(err.Error(), "fairness: 0.5") || strings.Contains(err.Error(), "start") {
		t.Errorf("error: %v; want one about fairness alone", err)
	}
	r.Figures[2].Value = 1
	if err := r.Err(); err != nil {
		t.Errorf("error: %v; want none for a time", err)
	}
}

func TestSaveAndLoad(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	if all, err := Load(dir); err != nil || len(all) > 0 {
		t.Errorf("nothing there: %v, %v", all, err)
	}
	want := []*Result{}
	for _, name := range []string{"scale", "footprint", "another"} {
		r := sample()
		r.Name = name
		if err := r.Save(dir); err != nil {
			t.Fatal(err)
		}
		want = append(want, r)
	}
	got, err := Load(dir)
	if err != nil || !reflect.DeepEqual(got, want) {
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
			if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "x.json: ") || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%v; want the file's name and %q", err, test.err)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	for err, spoil := range map[string]func(*Result){
		"letters a-z":              func(r *Result) { r.Name = "../x" },
		"NaN is no number":         func(r *Result) { r.Figures[0].Value = math.NaN() },
		"its file is named":        func(r *Result) { r.Plots[0].File = "a/b.svg" },
		`its kind is "pie"`:        func(r *Result) { r.Plots[0].Kind = "pie" },
		"no series":                func(r *Result) { r.Plots[0].Series = nil },
		"has 2 values for 1 place": func(r *Result) { r.Plots[0].Series[0].X = []float64{1} },
		"0 is not on its x axis":   func(r *Result) { r.Plots[0].Series[0].X[0] = 0 },
		"+Inf is not on its y":     func(r *Result) { r.Plots[0].Series[0].Y[0] = math.Inf(1) },
		"would not add up":         func(r *Result) { r.Plots[0].Kind, r.Plots[0].LogY = Stack, true },
		"2 values for 0 places":    func(r *Result) { r.Plots[0].Kind = Bar },
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
	want := `Footprint
2026-11-24 18:00 UTC, 0123456789ab
A CPU, 2 cores, 8.0 GiB, Linux 6.18, go1.26 linux/amd64

  binary    18.9 MB  at most 22 MB
  start     1.5 s    at most 1 s    MISSED  busy
  fairness  0.5      at least 0.9   MISSED
  threads   9

Growth
  ENIs  RSS
  1     22 MiB
  15    23 MiB
Idle.

2 of 4 figures miss their goal.
`
	if b.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", b.String(), want)
	}
}

func TestCommit(t *testing.T) {
	tree := t.TempDir()
	t.Chdir(tree)
	write := func(path string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{
		{"init", "--quiet"},
		{"-c", "user.name=x", "-c", "user.email=x@example.com", "commit", "--quiet", "--allow-empty", "--message=x"},
	} {
		if _, err := git(t.Context(), args...); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(Dir, "go.json"))
	write(Dir + ".md")
	if r, err := New(t.Context(), "go", "Go"); err != nil || len(r.Commit) != 12 || r.Command != "make bench-go" {
		t.Errorf("%+v, %v; want twelve digits", r, err)
	}
	write("agent.go")
	if got, err := commit(t.Context()); err != nil || !strings.HasSuffix(got, " with changes") {
		t.Errorf("%q, %v; want it to say that there are changes", got, err)
	}
}

func TestThisMachine(t *testing.T) {
	if m := ThisMachine(); m.Cores < 1 || m.Memory < 1<<20 || m.Kernel == "Linux" || !strings.HasPrefix(m.Go, "go1.") {
		t.Errorf("%+v", m)
	}
}
